package site

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// Read says what the exchanges of one attempt mean. The list is closed: what is not positively a record, a proven
// no-record or a block is transient. It depends on its arguments alone.
func (p *Profile) Read(id contract.CaseID, exchanges []contract.Exchange) contract.Reading {
	r := reader{profile: p, id: id}
	for i, exchange := range exchanges {
		if rule, blocked := p.blockedBy(id, exchange); blocked {
			return contract.Reading{
				Verdict: contract.VerdictBlocked, Rule: rule, Raw: i, RawType: rawType(exchange.Body),
				Error: fmt.Sprintf("%s call: blocked: %s, status %d", exchange.Call, rule, exchange.Status),
			}
		}
		if rule, err := r.take(exchange); err != nil {
			return contract.Reading{
				Verdict: contract.VerdictTransient, Rule: rule, Raw: i, RawType: rawType(exchange.Body),
				Error: fmt.Sprintf("%s call: %s", exchange.Call, err), Notes: r.notes,
			}
		}
	}
	return r.reading(exchanges)
}

// rawType is the kind of file that a raw answer makes.
func rawType(body []byte) string {
	if text := strings.TrimSpace(string(body[:min(len(body), 64)])); strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return "json"
	}
	return "html"
}

// reader gathers what the answers of one attempt say.
type reader struct {
	profile *Profile
	id      contract.CaseID
	record  *contract.Record
	// source is the index of the exchange that showed the case first.
	source  int
	taken   int
	empties int
	notes   []string
}

// take reads one exchange, or says by which rule it is not usable.
func (r *reader) take(exchange contract.Exchange) (string, error) {
	defer func() { r.taken++ }()
	if exchange.Error != "" {
		return "exchange", errors.New(exchange.Error)
	}
	c := r.profile.callNamed(exchange.Call)
	if c == nil {
		return "call", fmt.Errorf("the profile %s has no such call", r.profile.Name)
	}
	t, err := c.read(r.id, exchange)
	var why trouble
	if errors.As(err, &why) {
		return why.rule, err
	}
	if len(t.others) > 0 {
		slices.Sort(t.others)
		others := slices.Compact(t.others)
		r.notes = append(r.notes, fmt.Sprintf("other-rows: %.200q", strings.Join(others, " ")))
	}
	switch {
	case c.gives == givesParty:
		r.parties(c, t)
	case len(t.own) > 0:
		r.rows(c, t, exchange)
	case t.strangers:
		return "other-rows", fmt.Errorf("rows of other cases alone: %.100q", strings.Join(t.others, " "))
	default:
		r.empties++
	}
	return "", nil
}

// rows puts the case's rows into the record.
func (r *reader) rows(c *call, t table, exchange contract.Exchange) {
	if r.record == nil {
		r.source = r.taken
		r.record = &contract.Record{
			Version: contract.RecordVersion, CaseID: r.id, Docket: []contract.DocketEntry{},
			FetchedAt: exchange.StartedAt.UTC(), Source: exchange.URL,
		}
	}
	x := extraction{zone: r.profile.zone}
	divisions := make(map[string]bool)
	for _, row := range t.own {
		var own contract.Header
		x.header(&own, c.header, row)
		divisions[own.Division] = true
		x.header(&r.record.Header, c.header, row)
		if c.gives == givesEntry {
			if entry := x.entry(c.entry, row); entry.Entry != 0 || entry.Text != "" || entry.Document != 0 {
				r.record.Docket = append(r.record.Docket, entry)
			}
		}
	}
	if len(t.others) > 0 {
		r.flag("other-rows")
	}
	if delete(divisions, ""); len(divisions) > 1 {
		r.flag("several-divisions")
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

// badValues flags the fields whose value was left out because it made no sense.
func (r *reader) badValues(x extraction) {
	slices.Sort(x.bad)
	for _, field := range slices.Compact(x.bad) {
		r.flag("bad-value:" + field)
	}
}

func (r *reader) flag(name string) {
	if !slices.Contains(r.record.Flags, name) {
		r.record.Flags = append(r.record.Flags, name)
	}
}

// reading is what all the answers together say.
func (r *reader) reading(exchanges []contract.Exchange) contract.Reading {
	last := len(exchanges) - 1
	reading := contract.Reading{Notes: r.notes, Raw: last}
	if last < 0 {
		reading.Verdict, reading.Rule, reading.Error = contract.VerdictTransient, "exchange", "nothing was asked"
		return reading
	}
	switch {
	case r.record != nil:
		r.settleDocket()
		reading.Verdict, reading.Rule, reading.Record, reading.Raw = contract.VerdictSuccess, "record", r.record, r.source
		reading.Notes = append(reading.Notes, r.record.Flags...)
	case r.empties >= r.profile.proof && r.empties == r.taken:
		reading.Verdict, reading.Rule = contract.VerdictNoRecord, "proof"
	default:
		reading.Verdict, reading.Rule = contract.VerdictTransient, "proof"
		reading.Error = fmt.Sprintf("not there in %d of the %d answers that prove it", r.empties, r.profile.proof)
	}
	reading.RawType = rawType(exchanges[reading.Raw].Body)
	return reading
}

// settleDocket puts the docket into the court's order, without the rows that were there twice.
func (r *reader) settleDocket() {
	docket := r.record.Docket
	slices.SortStableFunc(docket, func(a, b contract.DocketEntry) int { return a.Entry - b.Entry })
	unique := make([]contract.DocketEntry, 0, len(docket))
	for i, entry := range docket {
		from := i
		for from > 0 && docket[from-1].Entry == entry.Entry {
			from--
		}
		if !slices.Contains(docket[from:i], entry) {
			unique = append(unique, entry)
		}
	}
	if len(unique) < len(docket) {
		r.flag("duplicate-rows")
	}
	r.record.Docket, r.record.Entries = unique, len(unique)
	if len(unique) == 0 {
		r.flag("header-only")
	}
}
