package site

import (
	"context"
	"net/http"
	"sync/atomic"
)

// session is one visit at a site: its cookies, and the hidden inputs that belong to them. The two halves of a token are of
// one session, so that a session is given up whole.
type session struct {
	http   *http.Client
	inputs atomic.Pointer[[][2]string] // those of the last page; the ones before it stay good until they go stale
}

// newSession is one without cookies.
func (c *Client) newSession() *session {
	return &session{http: &http.Client{Transport: c.Transport, Jar: newJar(c.Origin), CheckRedirect: keepRedirect}}
}

// setInputs takes the hidden inputs of a page that came in this session; a page without any changes nothing.
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

// sessions are a client's: one at a time, shared by all who ask, and one new one at a time.
type sessions struct {
	current  atomic.Pointer[session] // nil before the first
	creating chan struct{}
}

// currentUnless is the current session if it is not the one that has gone stale; else nil.
func (s *sessions) currentUnless(worn *session) *session {
	if current := s.current.Load(); current != worn {
		return current
	}
	return nil
}

// lock waits until nobody else begins a session.
func (s *sessions) lock(ctx context.Context) (end func(), err error) {
	select {
	case s.creating <- struct{}{}:
		return func() { <-s.creating }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
