// Package fetcher turns one job into one answer, at the pace that the run promised.
package fetcher

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/delay"
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
	if p.RestEvery > 0 && n%p.RestEvery == 0 {
		pause = max(pause, p.RestFor)
	}
	return pause
}

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
	requests int
}

// NewPacer begins with one pause: a process that was here before may have asked just now.
func NewPacer(pace Pace) *Pacer {
	p := &Pacer{pace: pace, turn: make(chan turn, 1), fresh: make(chan struct{}, 1)}
	p.turn <- turn{started: time.Now(), pause: pace.Pause(1, rand.Float64())}
	return p
}

// Wait returns when the next request may start, and the gap to the start of the one before by the monotonic clock;
// the gap is 0 for the first request. The pause to the next one begins when started is called, which must be soon: however long
// it takes until a request leaves the machine, two are never too close to each other. A case that is under way goes
// before those that are not. hold, which may be nil, is how much longer nobody may ask for another reason. When ctx ends first its
// error is returned and no turn is used up.
func (p *Pacer) Wait(ctx context.Context, underWay bool, hold func() time.Duration) (gap time.Duration, started func(), err error) {
	if !underWay {
		select {
		case p.fresh <- struct{}{}:
			defer func() { <-p.fresh }()
		case <-ctx.Done():
			return 0, nil, context.Cause(ctx)
		}
	}
	var now turn
	select {
	case now = <-p.turn:
	case <-ctx.Done():
		return 0, nil, context.Cause(ctx)
	}
	giveOn, err := p.sleep(ctx, now, hold)
	if err != nil {
		p.turn <- now
		return 0, nil, err
	}
	if now.requests > 0 {
		gap = time.Since(now.started)
	}
	now.requests++
	started = sync.OnceFunc(func() {
		giveOn(p.pause)
		now.started, now.pause = time.Now(), p.pause(now.requests)
		p.turn <- now
	})
	if p.pace.none() && p.crawlDelay() == 0 {
		started() // where there is no pause, nobody waits for another's start
	}
	return gap, started, nil
}

// pause is the wait after request number n.
func (p *Pacer) pause(n int) time.Duration {
	return max(p.pace.Pause(n, rand.Float64()), p.crawlDelay())
}

func (p *Pacer) crawlDelay() time.Duration { return time.Duration(p.asked.Load()) }

// slow keeps the pause that the site itself asks for, when it is longer than the one that was promised.
func (p *Pacer) slow(pause time.Duration) { p.asked.Store(int64(pause)) }

// sleep waits until this process may ask, and until the site may be asked at all.
func (p *Pacer) sleep(ctx context.Context, now turn, hold func() time.Duration) (giveOn func(func(int) time.Duration), err error) {
	if p.shared == nil {
		if err := delay.For(ctx, max(now.pause, p.crawlDelay())-time.Since(now.started)); err != nil {
			return nil, err
		}
		return func(func(int) time.Duration) {}, p.sleepOut(ctx, hold)
	}
	// The pause that was drawn is in the shared turn. What stays is that no clock but the monotonic one can shorten it.
	if err := delay.For(ctx, max(p.pace.least(), p.crawlDelay())-time.Since(now.started)); err != nil {
		return nil, err
	}
	for {
		if err := p.sleepOut(ctx, hold); err != nil {
			return nil, err
		}
		giveOn, err := p.shared.take(ctx)
		if err != nil {
			return nil, err
		}
		if p.left(hold) <= 0 && ctx.Err() == nil {
			return giveOn, nil
		}
		// Another process may have something else to ask. Kept by one who does not ask any more, the turn would never come again.
		giveOn(func(int) time.Duration { return 0 })
	}
}

// sleepOut waits until neither the hour nor the state of the site forbids a request.
func (p *Pacer) sleepOut(ctx context.Context, hold func() time.Duration) error {
	for wait := p.left(hold); wait > 0; wait = p.left(hold) {
		if err := delay.For(ctx, min(wait, lookAgain)); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (p *Pacer) left(hold func() time.Duration) time.Duration {
	wait := p.pace.Quiet.Left(time.Now())
	if hold != nil {
		wait = max(wait, hold())
	}
	return wait
}

// lookAgain is after how long a long wait is looked at anew: it may have become shorter or longer, and a wall clock may
// have been set.
const lookAgain = 10 * time.Second
