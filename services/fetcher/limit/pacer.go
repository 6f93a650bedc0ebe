package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/forecast"
	"fct-scraper/pkg/sanitize"
)

// Pace limits how often requests are sent to a site. The zero Pace makes no pause.
type Pace struct {
	// Min and Max bound the pause between the starts of two requests, drawn uniformly.
	Min, Max time.Duration
	// RestEvery is the number of requests after which a rest of RestFor replaces the pause; 0 means
	// never.
	RestEvery int
	RestFor   time.Duration
	// Quiet are the hours of the day in which no request is sent.
	Quiet Hours
}

// pauseMarginDivisor and maxPauseMargin raise the shortest pause a little above Min: a request
// leaves the machine some time after it was permitted. The smallest gap measured at a site was 0.99
// of the configured pause. A margin of one hundredth keeps 99 % of the rate.
const (
	pauseMarginDivisor = 100
	maxPauseMargin     = 10 * time.Millisecond
)

// pause returns the wait after request number n (1 is the first). draw, in [0, 1), is the random
// number that selects it.
func (p Pace) pause(n int, draw float64) time.Duration {
	least := p.minPause()
	drawn := least + time.Duration(draw*float64(max(0, p.Max-least)))
	if p.restsAfter(n) {
		drawn = max(drawn, p.RestFor)
	}
	return drawn
}

// restsAfter reports whether a rest follows request number n.
func (p Pace) restsAfter(n int) bool { return p.RestEvery > 0 && n%p.RestEvery == 0 }

func (p Pace) unlimited() bool { return p.Max == 0 && p.RestEvery == 0 }

func (p Pace) minPause() time.Duration { return p.Min + min(p.Min/pauseMarginDivisor, maxPauseMargin) }

// Forecast returns the pace for a forecast, with so many requests in flight at most, each of that
// latency.
func (p Pace) Forecast(concurrency int, latency time.Duration) forecast.Pace {
	return forecast.Pace{Min: p.minPause(), Max: p.Max, RestEvery: p.RestEvery, RestFor: p.RestFor,
		Quiet: forecast.Hours(p.Quiet), Concurrency: concurrency, Latency: latency}
}

// pacer enforces a Pace for all requests of one process. It is safe for concurrent use. Cases that
// have sent a request go before those that have not; within each kind, callers are served in the
// order in which they came.
type pacer struct {
	pace atomic.Pointer[Pace]
	// siteDelay is the crawl delay that robots.txt sets, in nanoseconds.
	siteDelay atomic.Int64
	// sharedTurn is the turn of all processes that send requests to the site; nil if there is no
	// other.
	sharedTurn *siteTurn
	// state holds the one paceState. The goroutine that has received it is the only one that waits
	// for the clock.
	state chan paceState
	// firstRequest is held by the one case without a request yet that may wait for the turn. So a
	// case under way, whose job timeout runs, has at most one such case before it.
	firstRequest chan struct{}
	// sent counts the requests as the rests do, those of all processes if there are others.
	sent atomic.Int64
	// currentWait is why the next request is held beyond its pause; nil while it is not.
	currentWait atomic.Pointer[Wait]
}

// Wait is why no request is sent now, if that is worth a report. A recurring one comes with each
// request and is logged once.
type Wait struct {
	contract.Wait
	recurring bool
}

// EndsAfter reports whether the wait lasts noticeably longer than one with the same reason that was
// logged with the end until.
func (w Wait) EndsAfter(until time.Time) bool {
	return !w.recurring && w.Until.Sub(until) > minReportedWait
}

// minReportedWait is the shortest wait that is reported: without a report, a run that waits longer
// seems to hang.
const minReportedWait = 5 * time.Second

// holdFunc returns for how much longer no request may be sent, and why.
type holdFunc func() (left time.Duration, why string)

// sendPermit is the right to start one request.
type sendPermit struct {
	// Gap is the time since the start of the previous request, by the monotonic clock; 0 for the
	// first.
	Gap time.Duration
	// Waited is how long the request was held beyond its pause, where that was reported. Slowed is
	// how long its hold held it.
	Waited, Slowed time.Duration
	// Started starts the pause to the next request. Call it when the request has left the machine,
	// or will never be sent.
	Started func()
}

type paceState struct {
	started  time.Time // start of the last request, or of the process
	pause    time.Duration
	rest     bool // the pause is a rest
	requests int
}

// newPacer returns a pacer that starts with one pause: an earlier process may have sent a request
// just now.
func newPacer(pace Pace) *pacer {
	p := &pacer{state: make(chan paceState, 1), firstRequest: make(chan struct{}, 1)}
	p.pace.Store(&pace)
	p.state <- paceState{started: time.Now(), pause: pace.pause(1, rand.Float64()), rest: pace.restsAfter(1)}
	return p
}

// wait returns when the next request may start. The pause to the next one starts when Started is
// called, which must be soon: so two requests are never too close, however long one takes to leave
// the machine. started says that the case has sent a request before; such a case goes first. hold,
// which may be nil, is a further reason to wait. If ctx ends first, wait returns its cause and uses
// no turn.
func (p *pacer) wait(ctx context.Context, started bool, hold holdFunc) (permit sendPermit, err error) {
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
	shared, err := p.waitTurn(ctx, state, hold, &permit)
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
		if shared == nil {
			state.pause, state.rest = p.drawPause(state.requests)
		} else {
			state.pause, state.rest = p.drawPause(shared.taken)
			shared.pass(state.pause)
		}
		state.started = time.Now()
		p.state <- state
	})
	if p.pace.Load().unlimited() && p.crawlDelay() == 0 {
		permit.Started() // without a pause, no request waits for the start of another
	}
	return permit, nil
}

// drawPause returns the wait after request number n, and whether it is a rest.
func (p *pacer) drawPause(n int) (pause time.Duration, rest bool) {
	p.sent.Store(int64(n))
	pace := p.pace.Load()
	return max(pace.pause(n, rand.Float64()), p.crawlDelay()), pace.restsAfter(n)
}

func (p *pacer) crawlDelay() time.Duration { return time.Duration(p.siteDelay.Load()) }

// SetCrawlDelay sets the crawl delay of robots.txt, which applies if it is longer than the pause.
func (p *pacer) SetCrawlDelay(pause time.Duration) { p.siteDelay.Store(int64(pause)) }

// CurrentWait returns why the next request is held beyond its pause; nil while it is not, or not
// for long.
func (p *pacer) CurrentWait() *Wait { return p.currentWait.Load() }

// waitTurn waits until this process may send a request and neither the hour nor the site forbids
// it. It adds up in permit how long it waited for what. The turn is nil if there is no other
// process.
func (p *pacer) waitTurn(
	ctx context.Context, state paceState, hold holdFunc, permit *sendPermit,
) (*turn, error) {
	if p.sharedTurn == nil || p.pace.Load().unlimited() {
		if err := p.waitPause(ctx, state, p.drawnPause, permit); err != nil {
			return nil, err
		}
		return nil, p.waitHold(ctx, hold, permit)
	}
	// The drawn pause is in the delay of the shared turn. Waiting for the shortest one here keeps a
	// step of the server's clock from shortening it.
	if err := p.waitPause(ctx, state, p.shortestPause, permit); err != nil {
		return nil, err
	}
	for {
		if err := p.waitHold(ctx, hold, permit); err != nil {
			return nil, err
		}
		shared, err := p.sharedTurn.take(ctx)
		if err != nil {
			return nil, err
		}
		if left, _ := p.holdLeft(hold); left <= 0 && ctx.Err() == nil {
			return shared, nil
		}
		// Another process may have a request to send. If this one kept the turn without sending,
		// the turn would never come back.
		shared.pass(0)
	}
}

// shortestPause returns the shortest pause that may follow the last start: a rest, if it is one.
func (p *pacer) shortestPause(state paceState) time.Duration {
	shortest := max(p.pace.Load().minPause(), p.crawlDelay())
	if state.rest {
		shortest = max(shortest, state.pause)
	}
	return shortest
}

// drawnPause returns the pause that was drawn at the last start, within the bounds of the pace, which
// may have changed since.
func (p *pacer) drawnPause(state paceState) time.Duration {
	return max(min(state.pause, p.pace.Load().Max), p.shortestPause(state))
}

// waitPause waits until the pause since the last start is over. It checks a long one again every
// recheckInterval.
func (p *pacer) waitPause(
	ctx context.Context, state paceState, pause func(paceState) time.Duration, permit *sendPermit,
) error {
	left, crawl := pause(state)-time.Since(state.started), p.crawlDelay()
	switch {
	case state.rest:
		p.reportWait(contract.WaitRest+sanitize.Plural(p.pace.Load().RestEvery, "request"), left, false)
	case crawl > p.pace.Load().Max:
		p.reportWait(fmt.Sprintf("crawl delay of robots.txt: %s", crawl), left, true)
	}
	for ; left > 0; left = pause(state) - time.Since(state.started) {
		if err := p.sleepAndCount(ctx, min(left, recheckInterval), permit); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// waitHold waits until neither the hour nor the state of the site forbids a request. It checks a
// long wait again every recheckInterval.
func (p *pacer) waitHold(ctx context.Context, hold holdFunc, permit *sendPermit) error {
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
		if reason != contract.WaitQuietHours {
			permit.Slowed += time.Since(start)
		}
	}
}

// reportWait publishes why no request is sent, if the wait is long enough.
func (p *pacer) reportWait(reason string, left time.Duration, repeats bool) {
	if left > minReportedWait {
		p.currentWait.Store(&Wait{contract.Wait{Reason: reason, Until: time.Now().Add(left)}, repeats})
	}
}

// sleepAndCount waits for d, and adds it to Waited if the wait was reported.
func (p *pacer) sleepAndCount(ctx context.Context, d time.Duration, permit *sendPermit) error {
	start := time.Now()
	err := delay.Sleep(ctx, d)
	if p.currentWait.Load() != nil {
		permit.Waited += time.Since(start)
	}
	return err
}

// holdLeft returns for how much longer the hour or the state of the site forbids a request, and
// why.
func (p *pacer) holdLeft(hold holdFunc) (left time.Duration, reason string) {
	left, reason = p.pace.Load().Quiet.left(time.Now()), contract.WaitQuietHours
	if hold != nil {
		if held, reason := hold(); held > left {
			return held, reason
		}
	}
	return left, reason
}

// recheckInterval is how often a long wait is checked again: it may have become shorter or longer,
// and the wall clock may have been set.
const recheckInterval = 10 * time.Second

// Hours are hours of the day in the machine's time zone, each as the time since midnight. They span
// midnight if To is before From. The zero Hours are empty.
type Hours struct{ From, To time.Duration }

// left returns how long the hours continue from at; 0 outside of them. It uses the wall clock,
// since that is what people mean by an hour: setting the clock moves the hours.
func (h Hours) left(at time.Time) time.Duration {
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
