package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// errJob says that a case took too long.
var errJob = errors.New("job_timeout")

// Ask makes the requests of one attempt, as far as they are needed, and calls before ahead of each of them; before says
// how long ago the last request started. Trouble with the site is an exchange with an error. The error of Ask is that of
// before or of ctx; the exchanges that were made come with it.
func (c *Client) Ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return c.ask(ctx, id, before, &attempt{})
}

// AskDoubtful is Ask for a case that probably does not exist: the call that proves so by itself is made first, which
// spares the others. A case that does exist takes one request more.
func (c *Client) AskDoubtful(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return c.ask(ctx, id, before, &attempt{doubtful: true})
}

func (c *Client) ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error), a *attempt) ([]contract.Exchange, error) {
	job, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for next := a.next(c); next != nil; next = a.next(c) {
		gap, err := before(job)
		if err == nil {
			err = context.Cause(job)
		}
		switch {
		case err == nil:
		case errors.Is(context.Cause(job), errJob):
			return a.cutShort(c.timedOut()), nil
		default:
			return a.exchanges, err
		}
		if len(a.exchanges) == 0 {
			timer := time.AfterFunc(c.JobTimeout, func() { cancel(errJob) })
			defer timer.Stop()
		}
		a.add(c, next, id, c.exchange(job, next, id, gap))
		if ctx.Err() != nil {
			return a.exchanges, context.Cause(ctx)
		}
	}
	return a.exchanges, nil
}

func (c *Client) timedOut() string { return fmt.Sprintf("%s: longer than %s", errJob, c.JobTimeout) }

// attempt is what one try of a case has brought so far.
type attempt struct {
	exchanges []contract.Exchange
	// doubtful says that the call that proves a no-record is made first.
	doubtful bool
	// seen says that an answer showed the case; over, that the last one was not usable or that nothing is left to ask.
	seen, over bool
}

// next is the call that is to be made now; nil when the answers say all there is to say.
func (a *attempt) next(c *Client) *call {
	if a.over {
		return nil
	}
	if first := c.Profile.proving(); a.doubtful && first != nil && !a.made(first) {
		return first
	}
	for i := range c.Profile.calls {
		next := &c.Profile.calls[i]
		if !a.made(next) && (next.when == always || next.when == unseen && !a.seen || next.when == parties && a.seen && c.Parties) {
			return next
		}
	}
	return nil
}

func (a *attempt) made(c *call) bool {
	return slices.ContainsFunc(a.exchanges, func(x contract.Exchange) bool { return x.Call == c.name })
}

// add takes what came of a call. With no call left after it that depends on more, an answer that holds the case's number
// is not parsed: if it turns out unusable, the attempt is transient all the same.
func (a *attempt) add(c *Client, made *call, id contract.CaseID, x contract.Exchange) {
	a.exchanges = append(a.exchanges, x)
	if x.Error != "" || x.Status != http.StatusOK || x.Guard != "" {
		a.over = true
		return
	}
	if !c.Parties && made.holds(id, x.Body) {
		a.seen = true
		return
	}
	t, why := made.read(id, x)
	empty := why == nil && made.gives != givesParty && len(t.own) == 0
	a.over = why != nil || t.strangers && len(t.own) == 0 || empty && made.proves && !a.seen
	a.seen = a.seen || why == nil && made.gives != givesParty && len(t.own) > 0
}

// cutShort ends an attempt between two of its requests. What it brought is not the whole answer, and says so; a request
// that was never made is none.
func (a *attempt) cutShort(why string) []contract.Exchange {
	a.exchanges[len(a.exchanges)-1].Error = why
	return a.exchanges
}
