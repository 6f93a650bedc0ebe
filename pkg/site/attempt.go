package site

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// attempt is what one try of a case has brought so far.
type attempt struct {
	exchanges []contract.Exchange
	// proofFirst says that the call that proves a no-record is made first.
	proofFirst bool
	// found says that an answer showed the case; over, that the last one was not usable or that nothing is left to ask.
	found, done bool
	// repeat is a call that is to be made once more: for its next page, or because its hidden inputs were stale.
	repeat *call
	// staleSession is the session whose hidden inputs were stale.
	staleSession *session
	// emptyCall is a call that showed nothing in the form in which it was made, and is to be made in its other form if the case
	// exists.
	emptyCall *call
	// lastHadRows says that the last answer had rows of the case.
	lastHadRows bool
	// reader reads the pages as they come, as Read does after all of them; nil before the first.
	reader *caseReader
}

// nextCall is the call that is to be made now; nil when the answers say all there is to say.
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

// nextPage is the number of the page that is asked for; empty for the first.
func (a *attempt) nextPage() string {
	if a.reader == nil {
		return ""
	}
	return a.reader.paging.next
}

// addAnswer takes what came of a call: the last exchange. With no call left after it that depends on more, an answer that holds
// the case's number is not parsed: if it turns out unusable, the attempt is transient all the same.
func (a *attempt) addAnswer(c *Client, made *call, s *session, id contract.CaseID, x contract.Exchange) {
	if made.page != nil {
		a.addPage(c, made, s, id, x)
		return
	}
	a.lastHadRows = false
	if x.Error != "" || !isOK(x.Status) || x.Guard != "" {
		a.done = true
		return
	}
	if !c.Parties && made.containsCase(id, x.Body) {
		a.found, a.lastHadRows = true, true
		return
	}
	t, why := made.read(id, x, paging{})
	empty := why == nil && made.gives != partyRows && len(t.rows) == 0
	a.done = why != nil || t.unrelated && len(t.rows) == 0 || empty && made.proves && !a.found
	a.lastHadRows = why == nil && made.gives != partyRows && len(t.rows) > 0
	a.found = a.found || a.lastHadRows
}

// addPage takes a page.
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

// withError ends an attempt between two of its requests. What it brought is not the whole answer, and says so; a request
// that was never made is none.
func (a *attempt) withError(why string) []contract.Exchange {
	a.exchanges[len(a.exchanges)-1].Error = why
	return a.exchanges
}
