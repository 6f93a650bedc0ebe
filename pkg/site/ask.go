package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	q := asking{Client: c, attempt: a, id: id, before: before, ctx: ctx, job: job, cancel: cancel}
	defer q.stop()
	for next := a.next(c); next != nil; next = a.next(c) {
		err := q.make(next)
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.Is(context.Cause(job), errJob):
			return a.cutShort(c.timedOut(ctx)), nil
		default:
			return a.exchanges, err
		}
	}
	return a.exchanges, nil
}

func (c *Client) timedOut(ctx context.Context) string {
	return fmt.Sprintf("%s: longer than %s", errJob, c.timeouts(ctx).job)
}

// asking is one attempt while it is under way.
type asking struct {
	*Client
	*attempt
	id     contract.CaseID
	before func(context.Context) (time.Duration, error)
	// job is ctx, and ends when the case has taken too long; that time begins with the first request.
	ctx, job context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
}

func (q *asking) stop() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// make makes a call and takes what came of it.
func (q *asking) make(next *call) error {
	s, err := q.session()
	if err != nil || s == nil {
		return err
	}
	other := q.form(q.Client, next, q.id)
	r := request{call: next.name, method: next.method, url: q.Profile.url(q.Origin, next, q.id, other)}
	if next.method == http.MethodPost {
		r.form = q.Profile.posted(q.Origin, next, q.id, q.page(), s.hidden())
	}
	x, err := q.follow(r, s)
	if err == nil {
		q.add(q.Client, next, s, q.id, x)
		q.learn(q.Client, next, q.id, other)
	}
	return err
}

// session is the one to ask in. A site with hidden inputs is asked for a new one when there is none yet or the last one
// went stale; nil when that failed, which ends the attempt.
func (q *asking) session() (*session, error) {
	if s := q.sessions.other(q.worn); s != nil {
		return s, nil
	}
	end, err := q.sessions.turn(q.job)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := q.sessions.other(q.worn); s != nil {
		return s, nil
	}
	s := q.newSession()
	x, err := q.follow(request{call: tokensCall, method: http.MethodGet, url: q.Origin + q.Profile.tokens.path}, s)
	if err != nil {
		return nil, err
	}
	inputs, why := q.Profile.tokens.harvest(x)
	if _, blocked := q.Profile.blockedBy(q.id, x); blocked || why != nil {
		q.over = true
		return nil, nil
	}
	s.renew(inputs)
	q.sessions.current.Store(s)
	return s, nil
}

// follow makes a request, and those to which the site leads it; each of them is an exchange. After a block none is made.
func (q *asking) follow(r request, s *session) (contract.Exchange, error) {
	for hops := 0; ; hops++ {
		x, location, err := q.send(r, s)
		next, leads := q.hop(r, x, location)
		if err != nil || !leads || hops == maxHops {
			return x, err
		}
		if _, blocked := q.Profile.blockedBy(q.id, x); blocked {
			return x, nil
		}
		r = next
	}
}

// send waits until the request may go and makes it. Its error is that of before, or says that ctx or the case's time ended.
func (q *asking) send(r request, s *session) (x contract.Exchange, location string, err error) {
	gap, err := q.before(q.job)
	if err == nil {
		err = context.Cause(q.job)
	}
	if err != nil {
		return x, "", err
	}
	if q.timer == nil {
		cancel := q.cancel
		q.timer = time.AfterFunc(q.timeouts(q.ctx).job, func() { cancel(errJob) })
	}
	x, location = q.exchange(q.job, r, s, q.id, gap)
	q.exchanges = append(q.exchanges, x)
	return x, location, context.Cause(q.ctx)
}
