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
	guardDivisor = 100
	maxGuard     = 10 * time.Millisecond
)

// Pause is the wait after request number n (1 is the first) when draw, in [0, 1), is the chance drawn for it.
func (p Pace) Pause(n int, draw float64) time.Duration {
	least := p.minPause()
	pause := least + time.Duration(draw*float64(max(0, p.Max-least)))
	if p.restsAfter(n) {
		pause = max(pause, p.RestFor)
	}
	return pause
}

// restsAfter says whether a rest follows request number n.
func (p Pace) restsAfter(n int) bool { return p.RestEvery > 0 && n%p.RestEvery == 0 }

// unlimited says that no pause is made.
func (p Pace) unlimited() bool { return p.Max == 0 && p.RestEvery == 0 }

// minPause is the shortest pause that is made.
func (p Pace) minPause() time.Duration { return p.Min + min(p.Min/guardDivisor, maxGuard) }

// Pacer keeps a Pace for all requests of one process. It is used by many goroutines; those of a kind are let through in
// the order in which they came.
type Pacer struct {
	pace Pace
	// siteDelay is the pause that the site itself asks for, in nanoseconds.
	siteDelay atomic.Int64
	// sharedTurn is the turn of all processes that ask the site; nil when there is no other.
	sharedTurn turnSource
	// state holds the one state; who has received it is the only one who waits for the clock.
	state chan paceState
	// firstRequest is held by the one case without a request yet that may wait for the turn: those under way, whose time runs,
	// have only that one before them.
	firstRequest chan struct{}
	// currentWait is why the next request is held beyond its pause; nil while it is not.
	currentWait atomic.Pointer[reportedWait]
}

// reportedWait is a wait that people are told of. One that repeats comes with each request and is told once for all.
type reportedWait struct {
	contract.Wait
	recurring bool
}

// minReportedWait is the shortest wait that people are told of: without a word, a run that waits longer seems to hang.
const minReportedWait = 5 * time.Second

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

// turnSource is the right to start the next request, of which there is one for all processes.
type turnSource interface {
	// take waits for the right. Who has it gives it on when the request has started, to be taken again after a pause that
	// is drawn for n, how often it was taken.
	take(ctx context.Context) (passOn func(pause func(n int) time.Duration), err error)
}

type paceState struct {
	started  time.Time // the last request's start, or when the process began
	pause    time.Duration
	rest     bool // the pause is a rest
	requests int
}

// NewPacer begins with one pause: a process that was here before may have asked just now.
func NewPacer(pace Pace) *Pacer {
	p := &Pacer{pace: pace, state: make(chan paceState, 1), firstRequest: make(chan struct{}, 1)}
	p.state <- paceState{started: time.Now(), pause: pace.Pause(1, rand.Float64())}
	return p
}

// Wait returns when the next request may start. The pause to the next one begins when Started is called, which must be soon:
// however long it takes until a request leaves the machine, two are never too close to each other. A case that is under way goes
// before those that are not. hold, which may be nil, is how much longer nobody may ask for another reason. When ctx ends first its
// error is returned and no turn is used up.
func (p *Pacer) Wait(ctx context.Context, started bool, hold Hold) (permit Permit, err error) {
	if !started {
		select {
		case p.firstRequest <- struct{}{}:
			defer func() { <-p.firstRequest }()
		case <-ctx.Done():
			return permit, context.Cause(ctx)
		}
	}
	var state paceState
	select {
	case state = <-p.state:
	case <-ctx.Done():
		return permit, context.Cause(ctx)
	}
	passOn, err := p.waitTurn(ctx, state, hold, &permit)
	p.currentWait.Store(nil)
	if err != nil {
		p.state <- state
		return permit, err
	}
	if state.requests > 0 {
		permit.Gap = time.Since(state.started)
	}
	state.requests++
	permit.Started = sync.OnceFunc(func() {
		state.pause, state.rest = p.drawPause(state.requests)
		passOn(func(n int) time.Duration {
			state.pause, state.rest = p.drawPause(n)
			return state.pause
		})
		state.started = time.Now()
		p.state <- state
	})
	if p.pace.unlimited() && p.crawlDelay() == 0 {
		permit.Started() // where there is no pause, nobody waits for another's start
	}
	return permit, nil
}

// CurrentWait is why the next request is held beyond its pause; nil while it is not, or not for long.
func (p *Pacer) CurrentWait() *contract.Wait {
	if now := p.currentWait.Load(); now != nil {
		return &now.Wait
	}
	return nil
}

// drawPause is the wait after request number n, and whether it is a rest.
func (p *Pacer) drawPause(n int) (pause time.Duration, rest bool) {
	return max(p.pace.Pause(n, rand.Float64()), p.crawlDelay()), p.pace.restsAfter(n)
}

func (p *Pacer) crawlDelay() time.Duration { return time.Duration(p.siteDelay.Load()) }

// setCrawlDelay keeps the pause that the site itself asks for, when it is longer than the one that was promised.
func (p *Pacer) setCrawlDelay(pause time.Duration) { p.siteDelay.Store(int64(pause)) }

// waitTurn waits until this process may ask, and until the site may be asked at all. It adds up in permit how long it waited for what.
func (p *Pacer) waitTurn(ctx context.Context, state paceState, hold Hold, permit *Permit) (passOn func(func(int) time.Duration), err error) {
	if p.sharedTurn == nil {
		if err := p.waitPause(ctx, state, max(state.pause, p.crawlDelay()), permit); err != nil {
			return nil, err
		}
		return func(func(int) time.Duration) {}, p.waitHold(ctx, hold, permit)
	}
	// The pause that was drawn is in the shared turn. What stays is that no clock but the monotonic one can shorten it.
	minPause := max(p.pace.minPause(), p.crawlDelay())
	if state.rest {
		minPause = max(minPause, state.pause)
	}
	if err := p.waitPause(ctx, state, minPause, permit); err != nil {
		return nil, err
	}
	for {
		if err := p.waitHold(ctx, hold, permit); err != nil {
			return nil, err
		}
		passOn, err := p.sharedTurn.take(ctx)
		if err != nil {
			return nil, err
		}
		if left, _ := p.holdLeft(hold); left <= 0 && ctx.Err() == nil {
			return passOn, nil
		}
		// Another process may have something else to ask. Kept by one who does not ask any more, the turn would never come again.
		passOn(func(int) time.Duration { return 0 })
	}
}

// waitPause waits until a pause since the last start is over.
func (p *Pacer) waitPause(ctx context.Context, state paceState, pause time.Duration, permit *Permit) error {
	left, crawl := pause-time.Since(state.started), p.crawlDelay()
	switch {
	case state.rest:
		p.reportWait("rest after "+sanitize.Plural(p.pace.RestEvery, "request"), left, false)
	case crawl > p.pace.Max:
		p.reportWait(fmt.Sprintf("crawl delay of robots.txt: %s", crawl), left, true)
	}
	return p.sleepAndCount(ctx, left, permit)
}

// waitHold waits until neither the hour nor the state of the site forbids a request. A long wait is looked at anew every lookAgain.
func (p *Pacer) waitHold(ctx context.Context, hold Hold, permit *Permit) error {
	for {
		left, reason := p.holdLeft(hold)
		if left <= 0 {
			return context.Cause(ctx)
		}
		p.reportWait(reason, left, false)
		start := time.Now()
		if err := p.sleepAndCount(ctx, min(left, recheckInterval), permit); err != nil {
			return err
		}
		if reason != quietHours {
			permit.Slowed += time.Since(start)
		}
	}
}

// reportWait shows why nothing is asked for so long, if that is long enough.
func (p *Pacer) reportWait(reason string, left time.Duration, repeats bool) {
	if left > minReportedWait {
		p.currentWait.Store(&reportedWait{contract.Wait{Reason: reason, Until: time.Now().Add(left)}, repeats})
	}
}

// sleepAndCount waits for d, and adds it up if people were told of it.
func (p *Pacer) sleepAndCount(ctx context.Context, d time.Duration, permit *Permit) error {
	start := time.Now()
	err := delay.Sleep(ctx, d)
	if p.currentWait.Load() != nil {
		permit.Waited += time.Since(start)
	}
	return err
}

// quietHours is the reason of a wait for the hours in which nothing is asked.
const quietHours = "quiet hours"

// holdLeft is how much longer the hour or the state of the site forbids a request, and why.
func (p *Pacer) holdLeft(hold Hold) (left time.Duration, reason string) {
	left, reason = p.pace.Quiet.Left(time.Now()), quietHours
	if hold != nil {
		if held, reason := hold(); held > left {
			return held, reason
		}
	}
	return left, reason
}

// recheckInterval is after how long a long wait is looked at anew: it may have become shorter or longer, and a wall clock may
// have been set.
const recheckInterval = 10 * time.Second

// Hours are hours of the day in the machine's time zone, each as the time since midnight. To before From goes over midnight;
// the zero Hours are none.
type Hours struct{ From, To time.Duration }

// Left is how long the hours go on from at; 0 outside of them. The clock of the wall is what people mean by an hour, so a
// clock that is set moves them.
func (h Hours) Left(at time.Time) time.Duration {
	if h.From == h.To {
		return 0
	}
	hour, minute, second := at.Clock()
	now := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second +
		time.Duration(at.Nanosecond())
	const day = 24 * time.Hour
	since := (now - h.From + day) % day
	return max(0, (h.To-h.From+day)%day-since)
}
