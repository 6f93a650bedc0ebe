package fetcher

import (
	"errors"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// errLeaseExpired says that a message has been given to somebody else: this process stood still for longer than its ack-wait.
var errLeaseExpired = errors.New("held for too long without a word")

// A message slips from who has given no word of it for so long. It is a little less than its ack-wait, which a process that was
// frozen does not notice: what it finds waiting then may be others' by now.
const (
	sharedExpiry = 5 * time.Second  // of turn and slots, whose ack-wait is 6 s
	jobExpiry    = 12 * time.Second // of jobs, whose ack-wait is 15 s
)

// messageLease is the hold on a message: it is said to be worked on until the grip is let go or has slipped.
type messageLease struct {
	msg    jetstream.Msg
	expiry time.Duration
	// stopHeartbeat ends the beats.
	stopHeartbeat func()

	mu sync.Mutex
	// lastRenewed is when the server was asked for the message, or told of it last: its ack-wait cannot have begun earlier.
	lastRenewed time.Time
	expired     bool
}

// acquireLease holds a message that was asked for at an instant.
func acquireLease(msg jetstream.Msg, requestedAt time.Time, interval, expiry time.Duration) *messageLease {
	l := &messageLease{msg: msg, expiry: expiry, lastRenewed: requestedAt}
	l.stopHeartbeat = delay.Every(interval, l.renew)
	return l
}

// acquireSharedLease holds a turn or a slot, which may have slipped on its way here. It says so at once: until then a server that takes the
// lead of a cluster, or is started again, believes it to have been held since the day it was made, and lets the next one have it
// within a second.
func acquireSharedLease(msg jetstream.Msg, requestedAt time.Time) (lease *messageLease, ok bool) {
	lease = acquireLease(msg, requestedAt, sharedHeartbeat, sharedExpiry)
	if !lease.valid() {
		lease.release()
		return nil, false
	}
	lease.renew()
	return lease, true
}

func (l *messageLease) renew() {
	now := time.Now()
	if l.valid() && l.msg.InProgress() == nil { // a lost one is made good by the next
		l.mu.Lock()
		l.lastRenewed = now
		l.mu.Unlock()
	}
}

// valid says whether the message is still this process's.
func (l *messageLease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = l.expired || time.Since(l.lastRenewed) > l.expiry
	return !l.expired
}

// release ends the grip and says whether it was kept until then: else what becomes of the message is for others to say.
func (l *messageLease) release() bool {
	l.stopHeartbeat()
	return l.valid()
}
