package site

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// attempt is what one try of a case has brought so far.
type attempt struct {
	exchanges []contract.Exchange
	// doubtful says that the call that proves a no-record is made first.
	doubtful bool
	// seen says that an answer showed the case; over, that the last one was not usable or that nothing is left to ask.
	seen, over bool
	// again is a call that is to be made once more: for its next page, or because its hidden inputs were stale.
	again *call
	// worn is the session whose hidden inputs were stale.
	worn *session
	// empty is a call that showed nothing in the form in which it was made, and is to be made in its other form if the case
	// exists.
	empty *call
	// shown says that the last answer had rows of the case.
	shown bool
	// reader reads the pages as they come, as Read does after all of them; nil before the first.
	reader *reader
}

// next is the call that is to be made now; nil when the answers say all there is to say.
func (a *attempt) next(c *Client) *call {
	if a.over {
		return nil
	}
	if a.again != nil {
		return a.again
	}
	if first := c.Profile.proving(); a.doubtful && first != nil && !a.made(first) {
		return first
	}
	if a.seen && a.empty != nil {
		return a.empty
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

// page is the number of the page that is asked for; empty for the first.
func (a *attempt) page() string {
	if a.reader == nil {
		return ""
	}
	return a.reader.so.more
}

// add takes what came of a call: the last exchange. With no call left after it that depends on more, an answer that holds
// the case's number is not parsed: if it turns out unusable, the attempt is transient all the same.
func (a *attempt) add(c *Client, made *call, s *session, id contract.CaseID, x contract.Exchange) {
	if made.page != nil {
		a.turn(c, made, s, id, x)
		return
	}
	a.shown = false
	if x.Error != "" || !answers(x.Status) || x.Guard != "" {
		a.over = true
		return
	}
	if !c.Parties && made.holds(id, x.Body) {
		a.seen, a.shown = true, true
		return
	}
	t, why := made.read(id, x, progress{})
	empty := why == nil && made.gives != givesParty && len(t.own) == 0
	a.over = why != nil || t.strangers && len(t.own) == 0 || empty && made.proves && !a.seen
	a.shown = why == nil && made.gives != givesParty && len(t.own) > 0
	a.seen = a.seen || a.shown
}

// turn takes a page.
func (a *attempt) turn(c *Client, made *call, s *session, id contract.CaseID, x contract.Exchange) {
	if a.reader == nil {
		a.reader = &reader{profile: c.Profile, id: id}
	}
	a.again = nil
	_, blocked := c.Profile.blockedBy(id, x)
	if blocked || a.reader.take(a.exchanges, len(a.exchanges)-1) != nil {
		a.over = true
		return
	}
	s.renew(a.reader.inputs)
	switch {
	case a.reader.stale:
		a.worn, a.again = s, made
	case a.reader.so.more != "":
		a.over, a.again = a.reader.so.pages == maxPages, made
	}
	a.seen = a.reader.record != nil
}

// cutShort ends an attempt between two of its requests. What it brought is not the whole answer, and says so; a request
// that was never made is none.
func (a *attempt) cutShort(why string) []contract.Exchange {
	a.exchanges[len(a.exchanges)-1].Error = why
	return a.exchanges
}
