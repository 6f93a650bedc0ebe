package facts

import (
	"slices"
	"strconv"
)

// Entry holds the facts of one docket entry. A fact that the entry does not state is nil.
type Entry struct {
	// Number is the court's number of the entry, nil if it gave none; Position is its place in the
	// record, from 1.
	Number   *int    `json:"entry_number"`
	Position int     `json:"position"`
	Day      *string `json:"entered_on"`
	Kind     string  `json:"kind"`
	// Final reports that the entry is marked as a final decision.
	Final bool `json:"final"`
	// Judge and Officer are the names of who decided or heard, as the text writes them.
	Judge   *string `json:"judge"`
	Officer *string `json:"officer"`
	// Outcome is granted, dismissed or other; nil for an entry that is no order, judgment or hearing.
	Outcome *string  `json:"outcome"`
	About   []string `json:"about"`
	// Motion is the document number of the motion that an order or a hearing refers to.
	Motion    *int    `json:"motion"`
	DecidedOn *string `json:"decided_on"`
	// Rules names the rule of each fact; those of About and of the milestones have the value after
	// a dot, such as "about.leave".
	Rules map[string]string `json:"rules"`

	// document is the court's number of the document, 0 if it gave none.
	document int
	// leave, review and milestones are what the entry says about its case; of a motion, review is what it
	// asks for.
	leave, review string
	milestones    []milestoneFact
	// disputed are the values that a second rule gave for a compared fact.
	disputed []Finding
	// found are the facts in the order in which they were found, with the text that gave them.
	found []Finding
}

// Finding is one fact of an entry, the rule that gave it and the text that the rule matched.
type Finding struct {
	Fact, Value, Rule, Text string
}

// Findings returns the facts of the entry in the order in which rules gave them.
func (e *Entry) Findings() []Finding { return e.found }

type milestoneFact struct{ name, rule, scheduledOn, scheduledAt string }

const (
	// maxText is how much of a text the rules read, in bytes: whole dockets have up to some 150 kB.
	maxText = 256 << 10
	// maxPlaces limits the places that are tried one by one: a try costs some microseconds.
	maxPlaces = 8
)

// Reader derives facts. It reuses memory from one entry to the next: each goroutine needs its own.
type Reader struct {
	rules *Rules
	// KeepText makes findings hold the text that a rule matched.
	KeepText bool
	text     folded
	found    literalSet // the literals in text
	places   []begun    // the literals in text with which expressions begin
	sections []sectionText
}

// sectionText is a section of the current entry.
type sectionText struct {
	known      bool
	start, end int    // in the folded text
	masked     []byte // the section with masked parts blanked, if it has masks
	isMasked   bool
}

// NewReader returns a reader of facts by these rules.
func (r *Rules) NewReader() *Reader {

	return &Reader{rules: r, found: r.literals.newSet(), sections: make([]sectionText, len(r.sections))}

}

// match returns the first match of an expression in a part of the current text that begins at offset.
// masked reports that the part is not as in the text.
func (r *Reader) match(e *expression, part []byte, offset int, masked bool) []int {
	if !e.possible(r.found) {
		return nil
	}
	if e.begins == nil || masked {
		return e.re().FindSubmatchIndex(part)
	}
	return r.matchAtPlaces(e, part, offset)
}

// matchAtPlaces returns the first match of an expression in a part of the current text. It tries the first
// places of the literals with which the expression begins, and then the part as a whole.
func (r *Reader) matchAtPlaces(e *expression, part []byte, offset int) []int {
	from := 0
	for range maxPlaces {
		at := len(part)
		for _, place := range r.places {
			if i := place.at - offset; i >= from && i < at && e.begins.has(place.literal) {
				at = i
			}
		}
		if at == len(part) {
			return nil
		}
		if at == 0 {
			if found := e.first().FindSubmatchIndex(part); found != nil {
				return found
			}
		} else if found := e.second().FindSubmatchIndex(part[at-1:]); found != nil {
			for i := range found {
				if found[i] >= 0 {
					found[i] += at - 1
				}
			}
			found[0]++
			return found
		}
		from = at + 1
	}
	return e.re().FindSubmatchIndex(part)
}

// load makes text the one that rules read, up to its first maxText bytes.
func (r *Reader) load(text string) {
	r.text.fold(text[:min(len(text), maxText)])
	r.places = r.rules.literals.find(r.text.text, r.found, r.places[:0])
	for i := range r.sections {
		r.sections[i].known = false
	}
}

// section returns the folded text of a section, and its offset in the folded text.
func (r *Reader) section(index int) (text []byte, offset int) {
	if index == 0 {
		return r.text.text, 0
	}
	s := &r.sections[index]
	if !s.known {
		r.find(index, s)
	}
	if s.isMasked {
		return s.masked, s.start
	}
	return r.text.text[s.start:s.end], s.start
}

// find finds a section in the current text.
func (r *Reader) find(index int, s *sectionText) {
	*s = sectionText{known: true, masked: s.masked[:0]}
	spec := &r.rules.sections[index]
	text := r.text.text
	for _, from := range spec.from {
		at := r.match(from, text, 0, false)
		if at == nil {
			continue
		}
		s.start, s.end = at[1], len(text)
		for _, to := range spec.to {
			if at := r.match(to, text[s.start:s.end], s.start, false); at != nil {
				s.end = s.start + at[0]
			}
		}
		break
	}
	if !spec.hasMasks || s.start == s.end {
		return
	}
	for i := range r.rules.masks {
		m := &r.rules.masks[i]
		if m.sections&(1<<index) == 0 {
			continue
		}
		for _, e := range m.exprs {
			part := text[s.start:s.end]
			if s.isMasked {
				part = s.masked
			}
			if !e.possible(r.found) || !s.isMasked && e.begins != nil && r.matchAtPlaces(e, part, s.start) == nil {
				continue
			}
			for _, at := range e.re().FindAllIndex(part, -1) {
				if !s.isMasked {
					s.masked, s.isMasked = append(s.masked, part...), true
				}
				for i := at[0]; i < at[1]; i++ {
					s.masked[i] = ' '
				}
			}
		}
	}
}

// hit is one match of a rule: its value and the matched part of the folded text.
type hit struct {
	value      string
	rule       *rule
	start, end int
	extra      map[string]string
}

// apply returns the value that a rule gives for the current text, false if it does not match.
func (r *Reader) apply(one *rule) (hit, bool) {
	text, offset := r.section(one.section)
	if one.within > 0 && one.within < len(text) {
		text = text[:one.within]
	}
	if len(text) == 0 && (one.section != 0 || len(one.exprs) > 0) {
		return hit{}, false
	}
	masked := one.section != 0 && r.sections[one.section].isMasked
	excluded := func() bool {
		return slices.ContainsFunc(one.unless, func(e *expression) bool {
			return r.match(e, text, offset, masked) != nil
		})
	}
	if len(one.exprs) == 0 {
		return hit{value: one.value, rule: one}, !excluded()
	}
	for _, e := range one.exprs {
		at := r.match(e, text, offset, masked)
		if at == nil {
			continue
		}
		if excluded() { // tried last: most rules do not match
			return hit{}, false
		}
		h := hit{value: one.value, rule: one, start: offset + at[0], end: offset + at[1]}
		for i, group := range e.groups {
			if group == "" || at[2*i] < 0 {
				continue
			}
			start, end := at[2*i], at[2*i+1]
			switch group {
			case "name":
				h.value = r.rules.names.clean(r.text.slice(offset+start, offset+end))
			case "number":
				h.value = string(text[start:end])
			case "day":
				h.value = parseDate(string(text[start:end]))
			case "scheduled_on", "scheduled_at":
				if h.extra == nil {
					h.extra = map[string]string{}
				}
				h.extra[group] = string(text[start:end])
			default:
				if h.value == "" {
					h.value = group
				}
			}
		}
		if h.value != "" {
			return h, true
		}
	}
	return hit{}, false
}

// entry derives the facts of one entry.
func (r *Reader) entry(d docketEntry, position int) *Entry {
	e := &Entry{Position: position, document: d.document, Kind: KindOther, Rules: make(map[string]string, 4)}
	if d.number != 0 {
		e.Number = new(d.number)
	}
	if d.day != "" {
		e.Day = new(d.day)
	}
	r.load(d.text)
	var kind, about uint64
	for i := range r.rules.specs {
		fact := &r.rules.specs[i]
		if fact.ofCase {
			continue
		}
		given := ""
		for _, one := range r.rules.byFact[i] {
			if one.kinds != 0 && one.kinds&kind == 0 || one.about != 0 && one.about&about == 0 || one.final &&
				!e.Final {
				continue
			}
			if fact.many && one.value != "" && e.Rules[fact.name+"."+one.value] != "" {
				continue
			}
			h, found := r.apply(one)
			if found && given != "" { // only compared facts come here again
				if h.value != given {
					e.disputed = append(e.disputed, Finding{Fact: fact.name, Value: h.value, Rule: one.name})
				}
				continue
			}
			if !found || !r.set(e, fact, h) {
				continue
			}
			if fact.compared {
				given = h.value
			} else if !fact.many {
				break
			}
		}
		switch fact.name {
		case factKind:
			kind = 1 << slices.Index(r.rules.kinds, e.Kind)
		case factAbout:
			for _, value := range e.About {
				about |= 1 << slices.Index(r.rules.abouts, value)
			}
		}
	}
	r.complete(e)
	return e
}

// decides reports whether a kind of entry has an outcome.
func decides(kind string) bool {
	return kind == KindOrder || kind == KindJudgment || kind == KindHearing
}

// set stores a fact. It returns false if the value is not usable, so that the next rule is tried.
func (r *Reader) set(e *Entry, fact *factSpec, h hit) bool {
	key := fact.name
	switch fact.name {
	case factKind:
		e.Kind = h.value
	case factFinal:
		e.Final = true
	case factJudge:
		e.Judge = new(h.value)
	case factOfficer:
		e.Officer = new(h.value)
	case factAbout:
		key += "." + h.value
		if e.Rules[key] != "" {
			return true
		}
		e.About = append(e.About, h.value)
	case factOutcome:
		if !decides(e.Kind) {
			return false
		}
		e.Outcome = new(h.value)
	case factMotion:
		number, err := strconv.Atoi(h.value)
		if err != nil || number == 0 {
			return false
		}
		e.Motion = &number
	case factDecidedOn:
		e.DecidedOn = new(h.value)
	case factLeave:
		e.leave = h.value
	case factReview:
		e.review = h.value
	case factMilestone:
		key += "." + h.value
		if e.Rules[key] != "" {
			return true
		}
		e.milestones = append(e.milestones, milestoneFact{h.value, h.rule.name, parseDate(h.extra["scheduled_on"]),
			h.extra["scheduled_at"]})
	}
	e.Rules[key] = h.rule.name
	found := Finding{Fact: fact.name, Value: h.value, Rule: h.rule.name}
	if r.KeepText {
		found.Text = r.text.slice(h.start, h.end)
	}
	e.found = append(e.found, found)
	return true
}

// complete adds what follows from the facts of an entry: the outcome of an order about leave or
// about judicial review is that of the case.
func (r *Reader) complete(e *Entry) {
	if e.Outcome == nil || *e.Outcome == OutcomeOther || e.Kind == KindHearing {
		return
	}
	has := func(about string) bool { return slices.Contains(e.About, about) }
	if e.leave == "" && has(AboutLeave) && !has(AboutMotion) {
		e.leave = *e.Outcome
		e.Rules[factLeave] = e.Rules[factOutcome]
	}
	if e.review == "" && has(AboutReview) && !has(AboutLeave) {
		e.review = *e.Outcome
		e.Rules[factReview] = e.Rules[factOutcome]
	}
}
