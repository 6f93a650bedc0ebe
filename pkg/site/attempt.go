package site

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
)

// errJobTimeout is the cause of a context that ended because a case took too long.
var errJobTimeout = errors.New("job_timeout")

// Fetch makes the requests of one attempt, as many as are needed, and calls before ahead of each. A
// failure of the site is an exchange with an error. The error of Fetch is that of before or of ctx,
// and comes with the exchanges made so far.
func (c *Client) Fetch(ctx context.Context, id contract.CaseID, before BeforeRequest) ([]contract.Exchange, error) {
	a := attempt{client: c, id: id, before: before, header: ctx.Value(headerKey{}) != nil}
	return a.run(ctx)
}

// FetchProofFirst is Fetch for a case that probably does not exist. It makes the proving call
// first, which saves the other calls. A case that does exist takes one more request.
func (c *Client) FetchProofFirst(
	ctx context.Context, id contract.CaseID, before BeforeRequest,
) ([]contract.Exchange, error) {
	a := attempt{client: c, id: id, before: before, header: ctx.Value(headerKey{}) != nil, proofFirst: true}
	return a.run(ctx)
}

// attempt is one try to fetch a case.
type attempt struct {
	client *Client
	id     contract.CaseID
	before BeforeRequest
	// startTimer starts the job timeout at its first call, which is the first request.
	startTimer func()
	exchanges  []contract.Exchange
	// proofFirst makes the proving call the first one; header makes the calls for the header of a case
	// that was found.
	proofFirst, header bool
	// found is set once a response showed the case. done is set if the last response was unusable
	// or nothing is left to request.
	found, done bool
	// repeat is a call to make again: for its next page, or because its hidden inputs were stale.
	repeat *call
	// staleSession is the session whose hidden inputs were stale.
	staleSession *session
	// emptyCall is a call that found nothing with one query form, to be made in the other form if
	// the case turns out to exist.
	emptyCall *call
	// lastHadRows is set if the last response had rows of the case.
	lastHadRows bool
	// reader reads pages as they arrive, in the same way as Read does later; nil before the first
	// page.
	reader *caseReader
}

func (a *attempt) run(ctx context.Context) ([]contract.Exchange, error) {
	job, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var timer *time.Timer
	a.startTimer = func() {
		if timer == nil {
			timer = time.AfterFunc(a.client.timeouts(ctx).job, func() { cancel(errJobTimeout) })
		}
	}
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for next := a.nextCall(); next != nil; next = a.nextCall() {
		err := a.makeCall(job, next)
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.Is(context.Cause(job), errJobTimeout):
			return a.withError(a.client.jobTimeoutText(ctx)), nil
		default:
			return a.exchanges, err
		}
	}
	return a.exchanges, nil
}

func (c *Client) jobTimeoutText(ctx context.Context) string {
	return fmt.Sprintf("%s: longer than %s", errJobTimeout, c.timeouts(ctx).job)
}

func (a *attempt) makeCall(ctx context.Context, next *call) error {
	s, err := a.currentSession(ctx)
	if err != nil || s == nil {
		return err
	}
	other := a.useOtherQuery(next)
	r := request{call: next.name, method: next.method, url: a.client.Profile.callURL(a.client.Origin, next, a.id, other)}
	if next.method == http.MethodPost {
		r.form = a.client.Profile.formBody(a.client.Origin, next, a.id, a.nextPage(), s.hiddenInputs())
	}
	x, err := a.follow(ctx, r, s)
	if err == nil {
		a.addResponse(next, s, x)
		a.learnQueryForm(next, other)
	}
	return err
}

// currentSession returns the session to use. If the site has hidden inputs and there is no session
// yet or the last one went stale, it creates one. It returns nil if that failed, which ends the
// attempt.
func (a *attempt) currentSession(ctx context.Context) (*session, error) {
	if s := a.client.sessions.currentUnless(a.staleSession); s != nil {
		return s, nil
	}
	end, err := a.client.sessions.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := a.client.sessions.currentUnless(a.staleSession); s != nil {
		return s, nil
	}
	s := a.client.newSession()
	page := a.client.Origin + a.client.Profile.tokens.path
	x, err := a.follow(ctx, request{call: tokensCall, method: http.MethodGet, url: page}, s)
	if err != nil {
		return nil, err
	}
	inputs, failure := a.client.Profile.tokens.readInputs(x)
	if _, blocked := a.client.Profile.findBlock(a.id, x); blocked || failure != nil {
		a.done = true
		return nil, nil
	}
	s.setInputs(inputs)
	a.client.sessions.current.Store(s)
	return s, nil
}

// follow sends a request and follows the redirects of the response; each request is an exchange. It
// stops at a block.
func (a *attempt) follow(ctx context.Context, r request, s *session) (contract.Exchange, error) {
	for hops := 0; ; hops++ {
		x, location, err := a.send(ctx, r, s)
		next, leads := a.client.redirectTarget(r, x, location)
		if err != nil || !leads || hops == maxRedirects {
			return x, err
		}
		if _, blocked := a.client.Profile.findBlock(a.id, x); blocked {
			return x, nil
		}
		r = next
	}
}

// send waits until the request may be sent, and sends it. Its error is that of before, or the cause
// of the end of ctx; a job timeout is the error of the exchange.
func (a *attempt) send(
	ctx context.Context, r request, s *session,
) (x contract.Exchange, location string, err error) {
	gap, err := a.before(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return x, "", err
	}
	a.startTimer()
	x, location = a.client.exchange(ctx, r, s, a.id, gap)
	a.exchanges = append(a.exchanges, x)
	if err := context.Cause(ctx); !errors.Is(err, errJobTimeout) { // the exchange tells of that one
		return x, location, err
	}
	return x, location, nil
}

// nextCall returns the call to make now, or nil if the attempt is complete.
func (a *attempt) nextCall() *call {
	if a.done {
		return nil
	}
	if a.repeat != nil {
		return a.repeat
	}
	if first := a.client.Profile.provingCall(); a.proofFirst && first != nil && !a.hasMade(first) {
		return first
	}
	if a.found && a.emptyCall != nil {
		return a.emptyCall
	}
	for i := range a.client.Profile.calls {
		next := &a.client.Profile.calls[i]
		if !a.hasMade(next) && a.wants(next) {
			return next
		}
	}
	return nil
}

// wants reports whether the condition of a call holds.
func (a *attempt) wants(c *call) bool {
	switch c.when {
	case whenUnseen:
		return !a.found || a.header && c.gives == headerRows
	case whenParties:
		return a.found && a.client.Parties
	default:
		return true
	}
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

// addResponse adds the response to a call, which is the last exchange. If no later call depends on
// it, a response that contains the case's number is not parsed: should it turn out unusable, Read
// makes the attempt transient anyway.
func (a *attempt) addResponse(made *call, s *session, x contract.Exchange) {
	if made.page != nil {
		a.addPage(made, s, x)
		return
	}
	a.lastHadRows = false
	if x.Error != "" || !isOK(x.Status) || x.BlockHeader != "" {
		a.done = true
		return
	}
	if !a.client.Parties && !a.header && made.containsCase(a.id, x.Body) {
		a.found, a.lastHadRows = true, true
		return
	}
	parser := a.client.Profile.parser()
	defer a.client.Profile.release(parser)
	t, failure := made.read(parser, a.id, x, paging{})
	empty := failure == nil && made.gives != partyRows && len(t.rows) == 0
	a.done = failure != nil || t.unrelated && len(t.rows) == 0 || empty && made.proves && !a.found
	a.lastHadRows = failure == nil && made.gives != partyRows && len(t.rows) > 0
	a.found = a.found || a.lastHadRows
}

func (a *attempt) addPage(made *call, s *session, x contract.Exchange) {
	if a.reader == nil {
		a.reader = &caseReader{profile: a.client.Profile, id: a.id}
	}
	a.repeat = nil
	_, blocked := a.client.Profile.findBlock(a.id, x)
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
func (a *attempt) useOtherQuery(next *call) bool {
	if next.otherQuery == nil {
		return false
	}
	other, _ := a.client.queryForms.get(a.id.Series)
	return other != (a.emptyCall == next)
}

// learnQueryForm updates the query forms from the last response.
func (a *attempt) learnQueryForm(made *call, other bool) {
	if made.otherQuery == nil || a.done {
		return
	}
	again := a.emptyCall == made
	a.emptyCall = nil
	_, known := a.client.queryForms.get(a.id.Series)
	switch {
	case a.lastHadRows && (again || !known):
		a.client.queryForms.set(a.id.Series, other)
	case !a.lastHadRows && !again && !known:
		a.emptyCall = made
	}
}

// session holds the cookies of a site and the hidden inputs that belong to them. A verification
// token has one half in each, so both are replaced together.
type session struct {
	http   *http.Client
	inputs atomic.Pointer[[][2]string] // of the last page
}

func (c *Client) newSession() *session {
	return &session{http: &http.Client{Transport: c.Transport, Jar: newJar(c.Origin), CheckRedirect: keepRedirect}}
}

// setInputs replaces the hidden inputs by those of a newer page; without any it changes nothing.
func (s *session) setInputs(inputs [][2]string) {
	if len(inputs) > 0 {
		s.inputs.Store(&inputs)
	}
}

func (s *session) hiddenInputs() [][2]string {
	if inputs := s.inputs.Load(); inputs != nil {
		return *inputs
	}
	return nil
}

// sessions holds the client's current session, shared by all attempts, and allows one attempt at a
// time to create a new one.
type sessions struct {
	current  atomic.Pointer[session] // nil at first
	creating chan struct{}
}

// currentUnless returns the current session, or nil if it is the stale one.
func (s *sessions) currentUnless(stale *session) *session {
	if current := s.current.Load(); current != stale {
		return current
	}
	return nil
}

// lock waits until no other attempt creates a session.
func (s *sessions) lock(ctx context.Context) (end func(), err error) {
	select {
	case s.creating <- struct{}{}:
		return func() { <-s.creating }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Limits of the cookies that a site may set.
const (
	maxCookies = 32
	maxCookie  = 4 << 10 // bytes, of name, value and path together
	// maxCookieAge is the longest Max-Age, in seconds: 400 days, as in browsers. The library adds
	// it to the time without a check for an overflow.
	maxCookieAge = 400 * 24 * 60 * 60
)

// jar stores the cookies of one origin and sends them to that origin only, also those for a parent
// domain. It is safe for concurrent use.
type jar struct {
	origin string
	mu     sync.Mutex
	stored *cookiejar.Jar
	// expires is the expiry of each stored cookie, by name and path; zero for a session cookie.
	expires map[string]time.Time
}

func newJar(origin string) *jar {
	stored, _ := cookiejar.New(nil) // New returns no error
	return &jar{origin: parseOrigin(origin), stored: stored, expires: make(map[string]time.Time)}
}

// SetCookies stores the origin's cookies: at most 32, of at most 4 KiB each. It drops larger ones,
// those over the limit, and those of another origin or domain.
func (j *jar) SetCookies(from *url.URL, cookies []*http.Cookie) {
	if canonicalOrigin(from) != j.origin {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(j.expires, func(_ string, at time.Time) bool { return !at.IsZero() && !at.After(now) })
	for _, c := range cookies {
		limited := *c //nolint:gosec // a site's cookie, not one that this program sets
		limited.MaxAge = min(c.MaxAge, maxCookieAge)
		if !strings.HasPrefix(c.Path, "/") { // the default of RFC 6265, section 5.1.4
			limited.Path = path.Dir("/" + from.Path)
		}
		key := c.Name + ";" + limited.Path
		if _, known := j.expires[key]; !known && len(j.expires) >= maxCookies || len(c.Value)+len(key) > maxCookie+1 {
			continue
		}
		j.stored.SetCookies(from, []*http.Cookie{&limited})
		switch j.expires[key] = c.Expires; {
		case c.MaxAge < 0:
			delete(j.expires, key)
		case c.MaxAge > 0:
			j.expires[key] = now.Add(time.Duration(limited.MaxAge) * time.Second)
		}
	}
}

// Cookies returns the cookies for a URL of the origin, longest path first.
func (j *jar) Cookies(to *url.URL) []*http.Cookie {
	if canonicalOrigin(to) != j.origin {
		return nil
	}
	return j.stored.Cookies(to)
}
