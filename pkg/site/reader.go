package site

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
)

// caseReader gathers what the answers of one attempt say.
type caseReader struct {
	profile *Profile
	id      contract.CaseID
	record  *contract.Record
	// source is the index of the exchange that showed the case first.
	source int
	// empty are the calls that said, well-formed, that there is no such case; proven, that one of them is proof by itself.
	empty    []string
	hasProof bool
	notes    []string
	// answered counts what calls were answered with, the pages of one as one; always are those of the calls that are made
	// always, when all of them are needed.
	answered       int
	answeredAlways []string
	// foreignRows says that a page before the case's own had rows of other cases.
	foreignRows bool
	// lastCall is the name of the last one that was read, so how far its pages were, inputs the last page's hidden inputs.
	lastCall string
	paging   paging
	inputs   [][2]string
	// stale says that the last answer was none because the hidden inputs were too old; wasted counts those.
	stale        bool
	staleAnswers int
}

// add reads the exchange of that index, or says by which rule it is not usable. It leaves aside what only led to another
// one: redirects, the page with the hidden inputs, and the first answer that these were too old.
func (r *caseReader) add(exchanges []contract.Exchange, index int) *answerError {
	exchange := exchanges[index]
	if exchange.Error != "" {
		return &answerError{"exchange", errors.New(exchange.Error)}
	}
	if wasFollowed(exchanges, index) {
		return nil
	}
	if r.profile.tokens != nil && exchange.Call == tokensCall {
		_, why := r.profile.tokens.readInputs(exchange)
		return why
	}
	c := r.profile.callByName(exchange.Call)
	if c == nil {
		return &answerError{"call", fmt.Errorf("the profile %s has no such call", r.profile.Name)}
	}
	if r.lastCall != c.name {
		if why := r.incomplete(); why != nil {
			return why
		}
		r.lastCall = c.name
	}
	if r.paging.next == "" { // the last call is answered whole
		r.paging = paging{}
	}
	t, why := c.read(r.id, exchange, r.paging)
	if why != nil {
		return r.checkStale(c, exchange, why)
	}
	r.stale, r.paging, r.inputs = false, t.paging, t.inputs
	return r.addTable(c, t, index, exchange)
}

// checkStale looks whether an answer is no answer because the hidden inputs were too old; why is what else is wrong with it.
func (r *caseReader) checkStale(c *call, exchange contract.Exchange, why *answerError) *answerError {
	rule, worn := r.profile.tokens.findStale(exchange)
	if !worn || c.method != http.MethodPost {
		return why
	}
	r.stale, r.inputs = true, nil
	if r.staleAnswers++; r.staleAnswers > 1 {
		return &answerError{"token", fmt.Errorf("stale twice: %s", rule)}
	}
	return nil
}

// incomplete says what the last call that was read still lacks.
func (r *caseReader) incomplete() *answerError {
	switch {
	case r.stale:
		return &answerError{"token", errors.New("stale, and not asked again")}
	case r.paging.next != "":
		return &answerError{"pages", fmt.Errorf("not on the first %d pages, and there are more", r.paging.pages)}
	default:
		return nil
	}
}

// addTable takes the rows of a call, or of one of its pages.
func (r *caseReader) addTable(c *call, t table, index int, exchange contract.Exchange) *answerError {
	if len(t.foreign) > 0 {
		r.note("other-rows", t.foreignCases())
	}
	if len(t.rows) == 0 && t.unrelated && c.gives != partyRows {
		return &answerError{"other-rows", fmt.Errorf("rows of other cases alone: %.100q", t.foreignCases())}
	}
	if t.paging.next != "" {
		r.foreignRows = r.foreignRows || len(t.foreign) > 0
		return nil
	}
	r.answered++
	if r.profile.agree && c.when == whenAlways {
		r.answeredAlways = append(r.answeredAlways, c.name)
	}
	switch {
	case c.gives == partyRows:
		r.addParties(c, t)
	case len(t.rows) > 0:
		if c.otherQuery != nil && slices.Contains(r.empty, c.name) {
			r.note("other-query", c.name)
		}
		r.addRows(c, t, index, exchange)
	case !slices.Contains(r.empty, c.name):
		r.empty, r.hasProof = append(r.empty, c.name), r.hasProof || c.proves
	}
	return nil
}

// addRows puts the case's rows into the record.
func (r *caseReader) addRows(c *call, t table, index int, exchange contract.Exchange) {
	if r.record == nil {
		r.source = index
		r.record = &contract.Record{
			Version: contract.RecordVersion, CaseID: r.id, Docket: []contract.DocketEntry{},
			FetchedAt: exchange.StartedAt.UTC(), Source: exchange.URL,
		}
	}
	x := extraction{zone: r.profile.zone}
	if c.gives == entryRows {
		r.record.Docket = slices.Grow(r.record.Docket, len(t.rows))
	}
	for _, row := range t.rows {
		x.header(&r.record.Header, c.header, row)
		if c.gives != entryRows {
			continue
		}
		if entry := x.entry(c.entry, row); entry.Entry != 0 || entry.Text != "" || entry.Document != 0 {
			r.record.Docket = append(r.record.Docket, entry)
		}
	}
	if len(t.foreign) > 0 || r.foreignRows {
		r.flag("other-rows")
	}
	if c.page != nil && c.gives == headerRows && len(t.rows) > 1 { // nothing on a page says what tells them apart
		r.flag("several-rows")
		r.note("several-rows", strconv.Itoa(len(t.rows)))
	}
	if divisions := c.divisions(t); len(divisions) > 1 {
		r.flag("several-divisions")
		r.note("several-divisions", strings.Join(divisions, " "))
	}
	r.addBadValues(x)
}

func (r *caseReader) addParties(c *call, t table) {
	if r.record == nil {
		return
	}
	x := extraction{zone: r.profile.zone}
	for _, row := range t.rows {
		if party := x.party(c.party, row); party.Name != "" {
			r.record.Parties = append(r.record.Parties, party)
		}
	}
	r.addBadValues(x)
}

// finish puts the docket in order and says what is odd about it.
func (r *caseReader) finish() {
	docket := sortedUnique(r.record.Docket)
	if len(docket) < len(r.record.Docket) {
		r.flag("duplicate-rows")
		r.note("duplicate-rows", strconv.Itoa(len(r.record.Docket)-len(docket)))
	}
	r.record.Docket, r.record.Entries = docket, len(docket)
	if len(docket) == 0 {
		r.flag(contract.FlagHeaderOnly)
		r.note(contract.FlagHeaderOnly, "")
	}
}

// addBadValues flags the fields whose value was left out because it made no sense, and notes the value.
func (r *caseReader) addBadValues(x extraction) {
	for _, bad := range x.bad {
		r.flag("bad-value:" + bad.field)
		r.note("bad-value:"+bad.field, bad.value)
	}
}

// note says what is odd in a form that fits a line of the attempts.
func (r *caseReader) note(name, value string) {
	if value != "" {
		name += fmt.Sprintf(": %.200q", value)
	}
	if !slices.Contains(r.notes, name) {
		r.notes = append(r.notes, name)
	}
}

// flag marks the record.
func (r *caseReader) flag(name string) {
	if !slices.Contains(r.record.Flags, name) {
		r.record.Flags = append(r.record.Flags, name)
	}
}
