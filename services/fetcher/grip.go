package fetcher

import (
	"errors"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// errSlipped says that a message has been given to somebody else: this process stood still for longer than its ack-wait.
var errSlipped = errors.New("held for too long without a word")

// A message slips from who has given no word of it for so long. It is a little less than its ack-wait, which a process that was
// frozen does not notice: what it finds waiting then may be others' by now.
const (
	slipShared = 5 * time.Second  // of turn and slots, whose ack-wait is 6 s
	slipJob    = 12 * time.Second // of jobs, whose ack-wait is 15 s
)

// grip is the hold on a message: it is said to be worked on until the grip is let go or has slipped.
type grip struct {
	msg   jetstream.Msg
	slips time.Duration
	// silence ends the beats.
	silence func()

	mu sync.Mutex
	// last is when the server was asked for the message, or told of it last: its ack-wait cannot have begun earlier.
	last    time.Time
	slipped bool
}

// grasp holds a message that was asked for at an instant.
func grasp(msg jetstream.Msg, asked time.Time, every, slips time.Duration) *grip {
	g := &grip{msg: msg, slips: slips, last: asked}
	g.silence = delay.Every(every, g.beat)
	return g
}

// graspShared holds a turn or a slot, which may have slipped on its way here. It says so at once: until then a server that takes the
// lead of a cluster, or is started again, believes it to have been held since the day it was made, and lets the next one have it
// within a second.
func graspShared(msg jetstream.Msg, asked time.Time) (held *grip, kept bool) {
	held = grasp(msg, asked, holding, slipShared)
	if !held.kept() {
		held.letGo()
		return nil, false
	}
	held.beat()
	return held, true
}

func (g *grip) beat() {
	now := time.Now()
	if g.kept() && g.msg.InProgress() == nil { // a lost one is made good by the next
		g.mu.Lock()
		g.last = now
		g.mu.Unlock()
	}
}

// kept says whether the message is still this process's.
func (g *grip) kept() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.slipped = g.slipped || time.Since(g.last) > g.slips
	return !g.slipped
}

// letGo ends the grip and says whether it was kept until then: else what becomes of the message is for others to say.
func (g *grip) letGo() bool {
	g.silence()
	return g.kept()
}
