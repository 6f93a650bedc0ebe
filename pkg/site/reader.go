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

// reader gathers what the answers of one attempt say.
type reader struct {
	profile *Profile
	id      contract.CaseID
	record  *contract.Record
	// source is the index of the exchange that showed the case first.
	source int
	// empty are the calls that said, well-formed, that there is no such case; proven, that one of them is proof by itself.
	empty  []string
	proven bool
	notes  []string
	// answers counts what calls were answered with, the pages of one as one; always are those of the calls that are made
	// always, when all of them are needed.
	answers int
	always  []string
	// others says that a page before the case's own had rows of other cases.
	others bool
	// call is the name of the last one that was read, so how far its pages were, inputs the last page's hidden inputs.
	call   string
	so     progress
	inputs [][2]string
	// stale says that the last answer was none because the hidden inputs were too old; wasted counts those.
	stale  bool
	wasted int
}

// take reads the exchange of that index, or says by which rule it is not usable. It leaves aside what only led to another
// one: redirects, the page with the hidden inputs, and the first answer that these were too old.
func (r *reader) take(exchanges []contract.Exchange, index int) *trouble {
	exchange := exchanges[index]
	if exchange.Error != "" {
		return &trouble{"exchange", errors.New(exchange.Error)}
	}
	if followed(exchanges, index) {
		return nil
	}
	if r.profile.tokens != nil && exchange.Call == tokensCall {
		_, why := r.profile.tokens.harvest(exchange)
		return why
	}
	c := r.profile.callNamed(exchange.Call)
	if c == nil {
		return &trouble{"call", fmt.Errorf("the profile %s has no such call", r.profile.Name)}
	}
	if r.call != c.name {
		if why := r.unfinished(); why != nil {
			return why
		}
		r.call = c.name
	}
	if r.so.more == "" { // the last call is answered whole
		r.so = progress{}
	}
	t, why := c.read(r.id, exchange, r.so)
	if why != nil {
		return r.worn(c, exchange, why)
	}
	r.stale, r.so, r.inputs = false, t.so, t.inputs
	return r.table(c, t, index, exchange)
}

// worn looks whether an answer is no answer because the hidden inputs were too old; why is what else is wrong with it.
func (r *reader) worn(c *call, exchange contract.Exchange, why *trouble) *trouble {
	rule, worn := r.profile.tokens.worn(exchange)
	if !worn || c.method != http.MethodPost {
		return why
	}
	r.stale, r.inputs = true, nil
	if r.wasted++; r.wasted > 1 {
		return &trouble{"token", fmt.Errorf("stale twice: %s", rule)}
	}
	return nil
}

// unfinished says what the last call that was read still lacks.
func (r *reader) unfinished() *trouble {
	switch {
	case r.stale:
		return &trouble{"token", errors.New("stale, and not asked again")}
	case r.so.more != "":
		return &trouble{"pages", fmt.Errorf("not on the first %d pages, and there are more", r.so.pages)}
	default:
		return nil
	}
}

// table takes the rows of a call, or of one of its pages.
func (r *reader) table(c *call, t table, index int, exchange contract.Exchange) *trouble {
	if len(t.others) > 0 {
		r.note("other-rows", t.whose())
	}
	if len(t.own) == 0 && t.strangers && c.gives != givesParty {
		return &trouble{"other-rows", fmt.Errorf("rows of other cases alone: %.100q", t.whose())}
	}
	if t.so.more != "" {
		r.others = r.others || len(t.others) > 0
		return nil
	}
	r.answers++
	if r.profile.agree && c.when == always {
		r.always = append(r.always, c.name)
	}
	switch {
	case c.gives == givesParty:
		r.parties(c, t)
	case len(t.own) > 0:
		if c.other != nil && slices.Contains(r.empty, c.name) {
			r.note("other-query", c.name)
		}
		r.rows(c, t, index, exchange)
	case !slices.Contains(r.empty, c.name):
		r.empty, r.proven = append(r.empty, c.name), r.proven || c.proves
	}
	return nil
}

// rows puts the case's rows into the record.
func (r *reader) rows(c *call, t table, index int, exchange contract.Exchange) {
	if r.record == nil {
		r.source = index
		r.record = &contract.Record{
			Version: contract.RecordVersion, CaseID: r.id, Docket: []contract.DocketEntry{},
			FetchedAt: exchange.StartedAt.UTC(), Source: exchange.URL,
		}
	}
	x := extraction{zone: r.profile.zone}
	if c.gives == givesEntry {
		r.record.Docket = slices.Grow(r.record.Docket, len(t.own))
	}
	for _, row := range t.own {
		x.header(&r.record.Header, c.header, row)
		if c.gives != givesEntry {
			continue
		}
		if entry := x.entry(c.entry, row); entry.Entry != 0 || entry.Text != "" || entry.Document != 0 {
			r.record.Docket = append(r.record.Docket, entry)
		}
	}
	if len(t.others) > 0 || r.others {
		r.flag("other-rows")
	}
	if c.page != nil && c.gives == givesHeader && len(t.own) > 1 { // nothing on a page says what tells them apart
		r.flag("several-rows")
		r.note("several-rows", strconv.Itoa(len(t.own)))
	}
	if divisions := c.divisions(t); len(divisions) > 1 {
		r.flag("several-divisions")
		r.note("several-divisions", strings.Join(divisions, " "))
	}
	r.badValues(x)
}

func (r *reader) parties(c *call, t table) {
	if r.record == nil {
		return
	}
	x := extraction{zone: r.profile.zone}
	for _, row := range t.own {
		if party := x.party(c.party, row); party.Name != "" {
			r.record.Parties = append(r.record.Parties, party)
		}
	}
	r.badValues(x)
}

// finish puts the docket in order and says what is odd about it.
func (r *reader) finish() {
	docket := settled(r.record.Docket)
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

// badValues flags the fields whose value was left out because it made no sense, and notes the value.
func (r *reader) badValues(x extraction) {
	for _, bad := range x.bad {
		r.flag("bad-value:" + bad.field)
		r.note("bad-value:"+bad.field, bad.value)
	}
}

// note says what is odd in a form that fits a line of the attempts.
func (r *reader) note(name, value string) {
	if value != "" {
		name += fmt.Sprintf(": %.200q", value)
	}
	if !slices.Contains(r.notes, name) {
		r.notes = append(r.notes, name)
	}
}

// flag marks the record.
func (r *reader) flag(name string) {
	if !slices.Contains(r.record.Flags, name) {
		r.record.Flags = append(r.record.Flags, name)
	}
}
