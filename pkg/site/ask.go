package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"fct-scraper/pkg/contract"
)

// errJobTimeout says that a case took too long.
var errJobTimeout = errors.New("job_timeout")

// Fetch makes the requests of one attempt, as far as they are needed, and calls before ahead of each of them; before says
// how long ago the last request started. Trouble with the site is an exchange with an error. The error of Fetch is that of
// before or of ctx; the exchanges that were made come with it.
func (c *Client) Fetch(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return c.runAttempt(ctx, id, before, &attempt{})
}

// FetchProofFirst is Fetch for a case that probably does not exist: the call that proves so by itself is made first, which
// spares the others. A case that does exist takes one request more.
func (c *Client) FetchProofFirst(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return c.runAttempt(ctx, id, before, &attempt{proofFirst: true})
}

func (c *Client) runAttempt(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error), a *attempt) ([]contract.Exchange, error) {
	job, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := runningAttempt{Client: c, attempt: a, id: id, before: before, ctx: ctx, job: job, cancel: cancel}
	defer q.stopTimer()
	for next := a.nextCall(c); next != nil; next = a.nextCall(c) {
		err := q.makeCall(next)
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.Is(context.Cause(job), errJobTimeout):
			return a.withError(c.jobTimeoutText(ctx)), nil
		default:
			return a.exchanges, err
		}
	}
	return a.exchanges, nil
}

func (c *Client) jobTimeoutText(ctx context.Context) string {
	return fmt.Sprintf("%s: longer than %s", errJobTimeout, c.timeouts(ctx).job)
}

// runningAttempt is one attempt while it is under way.
type runningAttempt struct {
	*Client
	*attempt
	id     contract.CaseID
	before func(context.Context) (time.Duration, error)
	// job is ctx, and ends when the case has taken too long; that time begins with the first request.
	ctx, job context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
}

func (q *runningAttempt) stopTimer() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// makeCall makes a call and takes what came of it.
func (q *runningAttempt) makeCall(next *call) error {
	s, err := q.currentSession()
	if err != nil || s == nil {
		return err
	}
	other := q.useOtherQuery(q.Client, next, q.id)
	r := request{call: next.name, method: next.method, url: q.Profile.callURL(q.Origin, next, q.id, other)}
	if next.method == http.MethodPost {
		r.form = q.Profile.formBody(q.Origin, next, q.id, q.nextPage(), s.hiddenInputs())
	}
	x, err := q.follow(r, s)
	if err == nil {
		q.addAnswer(q.Client, next, s, q.id, x)
		q.learnQueryForm(q.Client, next, q.id, other)
	}
	return err
}

// currentSession is the one to ask in. A site with hidden inputs is asked for a new one when there is none yet or the last one
// went stale; nil when that failed, which ends the attempt.
func (q *runningAttempt) currentSession() (*session, error) {
	if s := q.sessions.currentUnless(q.staleSession); s != nil {
		return s, nil
	}
	end, err := q.sessions.lock(q.job)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := q.sessions.currentUnless(q.staleSession); s != nil {
		return s, nil
	}
	s := q.newSession()
	x, err := q.follow(request{call: tokensCall, method: http.MethodGet, url: q.Origin + q.Profile.tokens.path}, s)
	if err != nil {
		return nil, err
	}
	inputs, why := q.Profile.tokens.readInputs(x)
	if _, blocked := q.Profile.findBlock(q.id, x); blocked || why != nil {
		q.done = true
		return nil, nil
	}
	s.setInputs(inputs)
	q.sessions.current.Store(s)
	return s, nil
}

// follow makes a request, and those to which the site leads it; each of them is an exchange. After a block none is made.
func (q *runningAttempt) follow(r request, s *session) (contract.Exchange, error) {
	for hops := 0; ; hops++ {
		x, location, err := q.send(r, s)
		next, leads := q.redirectTarget(r, x, location)
		if err != nil || !leads || hops == maxRedirects {
			return x, err
		}
		if _, blocked := q.Profile.findBlock(q.id, x); blocked {
			return x, nil
		}
		r = next
	}
}

// send waits until the request may go and makes it. Its error is that of before, or says that ctx or the case's time ended.
func (q *runningAttempt) send(r request, s *session) (x contract.Exchange, location string, err error) {
	gap, err := q.before(q.job)
	if err == nil {
		err = context.Cause(q.job)
	}
	if err != nil {
		return x, "", err
	}
	if q.timer == nil {
		cancel := q.cancel
		q.timer = time.AfterFunc(q.timeouts(q.ctx).job, func() { cancel(errJobTimeout) })
	}
	x, location = q.exchange(q.job, r, s, q.id, gap)
	q.exchanges = append(q.exchanges, x)
	return x, location, context.Cause(q.ctx)
}
