package site

import (
	"sync"

	"fct-scraper/pkg/contract"
)

// forms are the forms of a query in which a site has shown dockets, by series, for as long as the
// client is used. One that has shown none yet is asked in the first form, and for a case that
// exists and has no docket in the other one too.
type forms struct {
	mu sync.Mutex
	// other is by series: whether it was the other form that had a docket.
	other map[string]bool
}

func (f *forms) get(series string) (other, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	other, known = f.other[series]
	return other, known
}

func (f *forms) set(series string, other bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.other == nil {
		f.other = make(map[string]bool)
	}
	f.other[series] = other
}

// form says whether a call is to be made in its other form.
func (a *attempt) form(c *Client, next *call, id contract.CaseID) bool {
	if next.other == nil {
		return false
	}
	other, _ := c.forms.get(id.Series)
	return other != (a.empty == next)
}

// learn keeps what the last answer says of the form in which its call was made.
func (a *attempt) learn(c *Client, made *call, id contract.CaseID, other bool) {
	if made.other == nil || a.over {
		return
	}
	again := a.empty == made
	a.empty = nil
	_, known := c.forms.get(id.Series)
	switch {
	case a.shown && (again || !known):
		c.forms.set(id.Series, other)
	case !a.shown && !again && !known:
		a.empty = made
	}
}
