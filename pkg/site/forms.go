package site

import (
	"sync"

	"fct-scraper/pkg/contract"
)

// queryForms are the forms of a query in which a site has shown dockets, by series, for as long as the
// client is used. One that has shown none yet is asked in the first form, and for a case that
// exists and has no docket in the other one too.
type queryForms struct {
	mu sync.Mutex
	// useOther is by series: whether it was the other form that had a docket.
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

// useOtherQuery says whether a call is to be made in its other form.
func (a *attempt) useOtherQuery(c *Client, next *call, id contract.CaseID) bool {
	if next.otherQuery == nil {
		return false
	}
	other, _ := c.queryForms.get(id.Series)
	return other != (a.emptyCall == next)
}

// learnQueryForm keeps what the last answer says of the form in which its call was made.
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
