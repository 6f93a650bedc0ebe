package site

import (
	"errors"
	"fmt"
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
}

// take reads the exchange of that index, or says by which rule it is not usable.
func (r *reader) take(index int, exchange contract.Exchange) *trouble {
	if exchange.Error != "" {
		return &trouble{"exchange", errors.New(exchange.Error)}
	}
	c := r.profile.callNamed(exchange.Call)
	if c == nil {
		return &trouble{"call", fmt.Errorf("the profile %s has no such call", r.profile.Name)}
	}
	t, why := c.read(r.id, exchange)
	if why != nil {
		return why
	}
	if len(t.others) > 0 {
		r.note("other-rows", t.whose())
	}
	switch {
	case c.gives == givesParty:
		r.parties(c, t)
	case len(t.own) > 0:
		r.rows(c, t, index, exchange)
	case t.strangers:
		return &trouble{"other-rows", fmt.Errorf("rows of other cases alone: %.100q", t.whose())}
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
	if len(t.others) > 0 {
		r.flag("other-rows")
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
		r.flag("header-only")
		r.note("header-only", "")
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
