package courtsim

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

const (
	sessionCookie      = "ASP.NET_SessionId"
	verificationCookie = "__RequestVerificationToken"
	viewState          = "__VIEWSTATE"
	viewStateGenerator = "__VIEWSTATEGENERATOR"
	eventValidation    = "__EVENTVALIDATION"
	generatorOfPage    = "CA0B0334" // WebForms derives it from the page's path, so it is always the same
)

// sessions issues the sessions and form tokens of the HTML page. A token encodes its own session,
// so that only counters are stored. It is safe for concurrent use.
type sessions struct {
	seed uint64
	life int // posts that the tokens of one page are valid for; 0 means any number

	mu     sync.Mutex
	issued uint64         // sessions
	pages  uint64         // pages sent
	serial uint64         // sets of tokens
	posts  map[uint64]int // by page, if life is set
}

// tokens are the hidden inputs of one form.
type tokens struct{ ViewState, Generator, Validation, Verification string }

// tokenContents identifies a set of tokens: its session, the page it comes from, and its serial
// number.
type tokenContents struct{ session, page, serial uint64 }

func newSessions(seed uint64, life int) *sessions {
	return &sessions{seed: seed, life: life, posts: make(map[uint64]int)}
}

// tokenState is the result of checking the tokens of a post.
type tokenState int

const (
	tokensValid tokenState = iota
	tokensForged
	cookieMissing
	sessionExpired
)

// start returns fresh tokens for a page and sets the cookies that the client lacks. It continues an
// existing session.
func (s *sessions) start(w http.ResponseWriter, r *http.Request) tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, known := s.sessionOf(r)
	if !known {
		s.issued++
		session = s.issued
		setCookie(w, sessionCookie, s.sessionID(session))
	}
	if !known || !s.hasVerification(r, session) {
		setCookie(w, verificationCookie, s.verificationCookie(session))
	}
	s.pages++
	return s.issue(tokenContents{session: session, page: s.pages})
}

// checkPost checks the tokens of a post and returns the tokens for its response.
func (s *sessions) checkPost(r *http.Request) (tokens, tokenState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, known := s.sessionOf(r)
	if !known {
		return tokens{}, sessionExpired
	}
	if !s.hasVerification(r, session) {
		return tokens{}, cookieMissing
	}
	held, ours := s.parseTokens(r.PostForm)
	if !ours || held.session != session {
		return tokens{}, tokensForged
	}
	if s.life > 0 {
		s.posts[held.page]++
		if s.posts[held.page] > s.life {
			return tokens{}, tokenState(held.page%3 + 1) // pages expire in different ways
		}
	}
	return s.issue(tokenContents{session: session, page: held.page}), tokensValid
}

func (s *sessions) sessionOf(r *http.Request) (uint64, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || len(cookie.Value) < 8 {
		return 0, false
	}
	session, err := strconv.ParseUint(cookie.Value[:8], 16, 64)
	return session, err == nil && session > 0 && session <= s.issued && cookie.Value == s.sessionID(session)
}

func (s *sessions) hasVerification(r *http.Request, session uint64) bool {
	cookie, err := r.Cookie(verificationCookie)
	return err == nil && cookie.Value == s.verificationCookie(session)
}

func (s *sessions) sessionID(session uint64) string {
	return fmt.Sprintf("%08x%016x", session, uint64(newRandom(s.seed, saltSession, session)))
}

func (s *sessions) verificationCookie(session uint64) string {
	return base64.RawURLEncoding.EncodeToString(s.derive(saltCookie, tokenContents{session: session}, 48))
}

func (s *sessions) issue(t tokenContents) tokens {
	s.serial++
	t.serial = s.serial
	return s.tokensOf(t)
}

func (s *sessions) tokensOf(t tokenContents) tokens {
	state := binary.BigEndian.AppendUint64(nil, t.session)
	state = binary.BigEndian.AppendUint64(state, t.page)
	state = binary.BigEndian.AppendUint64(state, t.serial)
	return tokens{
		ViewState:    base64.StdEncoding.EncodeToString(append(state, s.derive(saltState, t, 200)...)),
		Generator:    generatorOfPage,
		Validation:   base64.StdEncoding.EncodeToString(s.derive(saltValidation, t, 64)),
		Verification: base64.RawURLEncoding.EncodeToString(s.derive(saltVerification, t, 80)),
	}
}

// parseTokens returns the contents of a form's tokens; false if they were not issued together.
func (s *sessions) parseTokens(form url.Values) (tokenContents, bool) {
	state, err := base64.StdEncoding.DecodeString(form.Get(viewState))
	if err != nil || len(state) < 24 {
		return tokenContents{}, false
	}
	t := tokenContents{binary.BigEndian.Uint64(state), binary.BigEndian.Uint64(state[8:]), binary.BigEndian.Uint64(state[16:])}
	sent := tokens{form.Get(viewState), form.Get(viewStateGenerator), form.Get(eventValidation), form.Get(verificationCookie)}
	return t, t.serial > 0 && t.serial <= s.serial && sent == s.tokensOf(t)
}

// derive returns size pseudorandom bytes, a multiple of 8, that depend on the seed.
func (s *sessions) derive(salt uint64, t tokenContents, size int) []byte {
	d := newRandom(s.seed, salt, t.session, t.page, t.serial)
	b := make([]byte, 0, size)
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, d.next())
	}
	return b
}

// setCookie sets a cookie as the real site does, but without Secure, which would exclude plain
// HTTP.
func setCookie(w http.ResponseWriter, name, value string) {
	w.Header().Add("Set-Cookie", name+"="+value+"; path=/; HttpOnly")
}

// stalePage returns the page that is sent instead of results.
func stalePage(how tokenState) (status int, text string) {
	const head = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Server Error in '/' Application.</h1><h2>"
	switch how {
	case tokensForged:
		return http.StatusInternalServerError, head + "Validation of viewstate MAC failed. If this application is hosted by a Web Farm or cluster, " +
			"ensure that &lt;machineKey&gt; configuration specifies the same validationKey and validation algorithm.</h2></body></html>"
	case cookieMissing:
		return http.StatusBadRequest, head + "The required anti-forgery cookie &quot;__RequestVerificationToken&quot; is not present.</h2></body></html>"
	default:
		return http.StatusOK, "<!DOCTYPE html><html><head><title>Session expired</title></head><body><h1>Session expired</h1>" +
			"<p>The state information is invalid for this page and might be corrupted.</p></body></html>"
	}
}
