package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

// errJobTimeout is the cause of a context that ended because a case took too long.
var errJobTimeout = errors.New("job_timeout")

// Fetch makes the requests of one attempt, as many as are needed. It calls before ahead of each
// request; before waits until the request may be sent and returns the time since the previous
// request started. A failure of the site is an exchange with an error. The error of Fetch is that
// of before or of ctx, and comes with the exchanges made so far.
func (c *Client) Fetch(
	ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error),
) ([]contract.Exchange, error) {
	return c.runAttempt(ctx, id, before, &attempt{})
}

// FetchProofFirst is Fetch for a case that probably does not exist. It makes the proving call
// first, which saves the other calls. A case that does exist takes one more request.
func (c *Client) FetchProofFirst(
	ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error),
) ([]contract.Exchange, error) {
	return c.runAttempt(ctx, id, before, &attempt{proofFirst: true})
}

func (c *Client) runAttempt(
	ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error), a *attempt,
) ([]contract.Exchange, error) {
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

// runningAttempt is an attempt in progress.
type runningAttempt struct {
	*Client
	*attempt
	id     contract.CaseID
	before func(context.Context) (time.Duration, error)
	// job is ctx with the job timeout, which starts at the first request.
	ctx, job context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
}

func (q *runningAttempt) stopTimer() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// makeCall makes a call and adds its answer to the attempt.
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

// currentSession returns the session to use. If the site has hidden inputs and there is no session
// yet or the last one went stale, it creates one. It returns nil if that failed, which ends the
// attempt.
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
	inputs, failure := q.Profile.tokens.readInputs(x)
	if _, blocked := q.Profile.findBlock(q.id, x); blocked || failure != nil {
		q.done = true
		return nil, nil
	}
	s.setInputs(inputs)
	q.sessions.current.Store(s)
	return s, nil
}

// follow sends a request and follows the redirects of the answer; each request is an exchange. It
// stops at a block.
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

// send waits until the request may be sent, and sends it. Its error is that of before, or the cause
// of the end of ctx or of the job.
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

// attempt is the state of one try to fetch a case.
type attempt struct {
	exchanges []contract.Exchange
	// proofFirst makes the proving call the first one.
	proofFirst bool
	// found is set once an answer showed the case. done is set if the last answer was unusable or
	// nothing is left to request.
	found, done bool
	// repeat is a call to make again: for its next page, or because its hidden inputs were stale.
	repeat *call
	// staleSession is the session whose hidden inputs were stale.
	staleSession *session
	// emptyCall is a call that found nothing with one query form, to be made in the other form if
	// the case turns out to exist.
	emptyCall *call
	// lastHadRows is set if the last answer had rows of the case.
	lastHadRows bool
	// reader reads pages as they arrive, in the same way as Read does later; nil before the first
	// page.
	reader *caseReader
}

// nextCall returns the call to make now, or nil if the attempt is complete.
func (a *attempt) nextCall(c *Client) *call {
	if a.done {
		return nil
	}
	if a.repeat != nil {
		return a.repeat
	}
	if first := c.Profile.provingCall(); a.proofFirst && first != nil && !a.hasMade(first) {
		return first
	}
	if a.found && a.emptyCall != nil {
		return a.emptyCall
	}
	for i := range c.Profile.calls {
		next := &c.Profile.calls[i]
		if !a.hasMade(next) && (next.when == whenAlways || next.when == whenUnseen && !a.found || next.when == whenParties && a.found && c.Parties) {
			return next
		}
	}
	return nil
}

func (a *attempt) hasMade(c *call) bool {
	return slices.ContainsFunc(a.exchanges, func(x contract.Exchange) bool { return x.Call == c.name })
}

// nextPage returns the number of the page to request; empty for the first page.
func (a *attempt) nextPage() string {
	if a.reader == nil {
		return ""
	}
	return a.reader.paging.next
}

// addAnswer adds the answer of a call, which is the last exchange. If no later call depends on it,
// an answer that contains the case's number is not parsed: should it turn out unusable, Read makes
// the attempt transient anyway.
func (a *attempt) addAnswer(c *Client, made *call, s *session, id contract.CaseID, x contract.Exchange) {
	if made.page != nil {
		a.addPage(c, made, s, id, x)
		return
	}
	a.lastHadRows = false
	if x.Error != "" || !isOK(x.Status) || x.BlockHeader != "" {
		a.done = true
		return
	}
	if !c.Parties && made.containsCase(id, x.Body) {
		a.found, a.lastHadRows = true, true
		return
	}
	t, failure := made.read(id, x, paging{})
	empty := failure == nil && made.gives != partyRows && len(t.rows) == 0
	a.done = failure != nil || t.unrelated && len(t.rows) == 0 || empty && made.proves && !a.found
	a.lastHadRows = failure == nil && made.gives != partyRows && len(t.rows) > 0
	a.found = a.found || a.lastHadRows
}

// addPage adds an HTML answer.
func (a *attempt) addPage(c *Client, made *call, s *session, id contract.CaseID, x contract.Exchange) {
	if a.reader == nil {
		a.reader = &caseReader{profile: c.Profile, id: id}
	}
	a.repeat = nil
	_, blocked := c.Profile.findBlock(id, x)
	if blocked || a.reader.add(a.exchanges, len(a.exchanges)-1) != nil {
		a.done = true
		return
	}
	s.setInputs(a.reader.inputs)
	switch {
	case a.reader.stale:
		a.staleSession, a.repeat = s, made
	case a.reader.paging.next != "":
		a.done, a.repeat = a.reader.paging.pages == maxPages, made
	}
	a.found = a.reader.record != nil
}

// withError ends an attempt between two requests. Its exchanges are incomplete, so the last one
// gets the error.
func (a *attempt) withError(failure string) []contract.Exchange {
	a.exchanges[len(a.exchanges)-1].Error = failure
	return a.exchanges
}

// queryForms remembers by series which query form has returned dockets, for the life of the client.
// A series without an entry is requested in the first form, and in the other form too for a case
// that exists without a docket.
type queryForms struct {
	mu sync.Mutex
	// useOther is, by series, whether the other form returned a docket.
	useOther map[string]bool
}

func (f *queryForms) get(series string) (other, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	other, known = f.useOther[series]
	return other, known
}

func (f *queryForms) set(series string, other bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.useOther == nil {
		f.useOther = make(map[string]bool)
	}
	f.useOther[series] = other
}

// useOtherQuery reports whether to make a call with its other query form.
func (a *attempt) useOtherQuery(c *Client, next *call, id contract.CaseID) bool {
	if next.otherQuery == nil {
		return false
	}
	other, _ := c.queryForms.get(id.Series)
	return other != (a.emptyCall == next)
}

// learnQueryForm updates the query forms from the last answer.
func (a *attempt) learnQueryForm(c *Client, made *call, id contract.CaseID, other bool) {
	if made.otherQuery == nil || a.done {
		return
	}
	again := a.emptyCall == made
	a.emptyCall = nil
	_, known := c.queryForms.get(id.Series)
	switch {
	case a.lastHadRows && (again || !known):
		c.queryForms.set(id.Series, other)
	case !a.lastHadRows && !again && !known:
		a.emptyCall = made
	}
}
