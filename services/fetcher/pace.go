// Package fetcher turns one job into one answer, at the pace that the run promised.
package fetcher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/sanitize"
)

// Pace is the promise how often a site is asked. The zero Pace makes no pause.
type Pace struct {
	// Min and Max bound the pause between the starts of two requests, drawn uniformly.
	Min, Max time.Duration
	// RestEvery is after how many requests a rest of RestFor is taken instead; 0 is never.
	RestEvery int
	RestFor   time.Duration
	// Quiet are the hours of the day in which nothing is asked.
	Quiet Hours
}

// guardShare and guardLimit keep a little above Min: a request leaves the machine some time after its start was
// allowed, and the smallest gap measured at a site was 0.99 of the pause asked for. A hundredth keeps 99 % of the rate.
const (
	guardShare = 100
	guardLimit = 10 * time.Millisecond
)

// Pause is the wait after request number n (1 is the first) when draw, in [0, 1), is the chance drawn for it.
func (p Pace) Pause(n int, draw float64) time.Duration {
	least := p.least()
	pause := least + time.Duration(draw*float64(max(0, p.Max-least)))
	if p.rests(n) {
		pause = max(pause, p.RestFor)
	}
	return pause
}

// rests says whether a rest follows request number n.
func (p Pace) rests(n int) bool { return p.RestEvery > 0 && n%p.RestEvery == 0 }

// none says that no pause is made.
func (p Pace) none() bool { return p.Max == 0 && p.RestEvery == 0 }

// least is the shortest pause that is made.
func (p Pace) least() time.Duration { return p.Min + min(p.Min/guardShare, guardLimit) }

// Pacer keeps a Pace for all requests of one process. It is used by many goroutines; those of a kind are let through in
// the order in which they came.
type Pacer struct {
	pace Pace
	// asked is the pause that the site itself asks for, in nanoseconds.
	asked atomic.Int64
	// shared is the turn of all processes that ask the site; nil when there is no other.
	shared turns
	// turn holds the one state; who has received it is the only one who waits for the clock.
	turn chan turn
	// fresh is held by the one case without a request yet that may wait for the turn: those under way, whose time runs,
	// have only that one before them.
	fresh chan struct{}
	// waiting is why the next request is held beyond its pause; nil while it is not.
	waiting atomic.Pointer[wait]
}

// wait is a wait that people are told of. One that repeats comes with each request and is told once for all.
type wait struct {
	contract.Wait
	repeats bool
}

// tellFrom is the shortest wait that people are told of: without a word, a run that waits longer seems to hang.
const tellFrom = 5 * time.Second

// Hold is how much longer nobody may ask, and why.
type Hold func() (left time.Duration, why string)

// Permit is the right to start one request.
type Permit struct {
	// Gap is the time since the start of the request before, by the monotonic clock; 0 for the first one.
	Gap time.Duration
	// Waited is for how long the request was held beyond its pause, where that was told to people; Slowed is for how long
	// it was held by its Hold.
	Waited, Slowed time.Duration
	// Started begins the pause to the next request. It is to be called when the request has left the machine, or never will.
	Started func()
}

// turns is the right to start the next request, of which there is one for all processes.
type turns interface {
	// take waits for the right. Who has it gives it on when the request has started, to be taken again after a pause that
	// is drawn for n, how often it was taken.
	take(ctx context.Context) (giveOn func(pause func(n int) time.Duration), err error)
}

type turn struct {
	started  time.Time // the last request's start, or when the process began
	pause    time.Duration
	rest     bool // the pause is a rest
	requests int
}

// NewPacer begins with one pause: a process that was here before may have asked just now.
func NewPacer(pace Pace) *Pacer {
	p := &Pacer{pace: pace, turn: make(chan turn, 1), fresh: make(chan struct{}, 1)}
	p.turn <- turn{started: time.Now(), pause: pace.Pause(1, rand.Float64())}
	return p
}

// Wait returns when the next request may start. The pause to the next one begins when Started is called, which must be soon:
// however long it takes until a request leaves the machine, two are never too close to each other. A case that is under way goes
// before those that are not. hold, which may be nil, is how much longer nobody may ask for another reason. When ctx ends first its
// error is returned and no turn is used up.
func (p *Pacer) Wait(ctx context.Context, underWay bool, hold Hold) (permit Permit, err error) {
	if !underWay {
		select {
		case p.fresh <- struct{}{}:
			defer func() { <-p.fresh }()
		case <-ctx.Done():
			return permit, context.Cause(ctx)
		}
	}
	var now turn
	select {
	case now = <-p.turn:
	case <-ctx.Done():
		return permit, context.Cause(ctx)
	}
	giveOn, err := p.sleep(ctx, now, hold, &permit)
	p.waiting.Store(nil)
	if err != nil {
		p.turn <- now
		return permit, err
	}
	if now.requests > 0 {
		permit.Gap = time.Since(now.started)
	}
	now.requests++
	permit.Started = sync.OnceFunc(func() {
		now.pause, now.rest = p.pause(now.requests)
		giveOn(func(n int) time.Duration {
			now.pause, now.rest = p.pause(n)
			return now.pause
		})
		now.started = time.Now()
		p.turn <- now
	})
	if p.pace.none() && p.crawlDelay() == 0 {
		permit.Started() // where there is no pause, nobody waits for another's start
	}
	return permit, nil
}

// Waiting is why the next request is held beyond its pause; nil while it is not, or not for long.
func (p *Pacer) Waiting() *contract.Wait {
	if now := p.waiting.Load(); now != nil {
		return &now.Wait
	}
	return nil
}

// pause is the wait after request number n, and whether it is a rest.
func (p *Pacer) pause(n int) (pause time.Duration, rest bool) {
	return max(p.pace.Pause(n, rand.Float64()), p.crawlDelay()), p.pace.rests(n)
}

func (p *Pacer) crawlDelay() time.Duration { return time.Duration(p.asked.Load()) }

// slow keeps the pause that the site itself asks for, when it is longer than the one that was promised.
func (p *Pacer) slow(pause time.Duration) { p.asked.Store(int64(pause)) }

// sleep waits until this process may ask, and until the site may be asked at all. It adds up in permit how long it waited for what.
func (p *Pacer) sleep(ctx context.Context, now turn, hold Hold, permit *Permit) (giveOn func(func(int) time.Duration), err error) {
	if p.shared == nil {
		if err := p.sleepPause(ctx, now, max(now.pause, p.crawlDelay()), permit); err != nil {
			return nil, err
		}
		return func(func(int) time.Duration) {}, p.sleepOut(ctx, hold, permit)
	}
	// The pause that was drawn is in the shared turn. What stays is that no clock but the monotonic one can shorten it.
	least := max(p.pace.least(), p.crawlDelay())
	if now.rest {
		least = max(least, now.pause)
	}
	if err := p.sleepPause(ctx, now, least, permit); err != nil {
		return nil, err
	}
	for {
		if err := p.sleepOut(ctx, hold, permit); err != nil {
			return nil, err
		}
		giveOn, err := p.shared.take(ctx)
		if err != nil {
			return nil, err
		}
		if left, _ := p.left(hold); left <= 0 && ctx.Err() == nil {
			return giveOn, nil
		}
		// Another process may have something else to ask. Kept by one who does not ask any more, the turn would never come again.
		giveOn(func(int) time.Duration { return 0 })
	}
}

// sleepPause waits until a pause since the last start is over.
func (p *Pacer) sleepPause(ctx context.Context, now turn, pause time.Duration, permit *Permit) error {
	left, crawl := pause-time.Since(now.started), p.crawlDelay()
	switch {
	case now.rest:
		p.tell("rest after "+sanitize.Plural(p.pace.RestEvery, "request"), left, false)
	case crawl > p.pace.Max:
		p.tell(fmt.Sprintf("crawl delay of robots.txt: %s", crawl), left, true)
	}
	return p.sleepFor(ctx, left, permit)
}

// sleepOut waits until neither the hour nor the state of the site forbids a request. A long wait is looked at anew every lookAgain.
func (p *Pacer) sleepOut(ctx context.Context, hold Hold, permit *Permit) error {
	for {
		left, why := p.left(hold)
		if left <= 0 {
			return context.Cause(ctx)
		}
		p.tell(why, left, false)
		begun := time.Now()
		if err := p.sleepFor(ctx, min(left, lookAgain), permit); err != nil {
			return err
		}
		if why != quietHours {
			permit.Slowed += time.Since(begun)
		}
	}
}

// tell shows why nothing is asked for so long, if that is long enough.
func (p *Pacer) tell(why string, left time.Duration, repeats bool) {
	if left > tellFrom {
		p.waiting.Store(&wait{contract.Wait{Reason: why, Until: time.Now().Add(left)}, repeats})
	}
}

// sleepFor waits for d, and adds it up if people were told of it.
func (p *Pacer) sleepFor(ctx context.Context, d time.Duration, permit *Permit) error {
	begun := time.Now()
	err := delay.Sleep(ctx, d)
	if p.waiting.Load() != nil {
		permit.Waited += time.Since(begun)
	}
	return err
}

// quietHours is the reason of a wait for the hours in which nothing is asked.
const quietHours = "quiet hours"

// left is how much longer the hour or the state of the site forbids a request, and why.
func (p *Pacer) left(hold Hold) (left time.Duration, why string) {
	left, why = p.pace.Quiet.Left(time.Now()), quietHours
	if hold != nil {
		if held, reason := hold(); held > left {
			return held, reason
		}
	}
	return left, why
}

// lookAgain is after how long a long wait is looked at anew: it may have become shorter or longer, and a wall clock may
// have been set.
const lookAgain = 10 * time.Second
