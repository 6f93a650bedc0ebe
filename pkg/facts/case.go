// Package facts derives facts from a record: who decided what, when, and how the case ended. The
// rules are data: a TOML file with regular expressions and word lists, in English and French. Every
// fact names the rule and the entry that gave it. Nothing is requested from a site.
package facts

import (
	"cmp"
	"slices"
	"strconv"

	"fct-scraper/pkg/contract"
)

// Case holds the facts of one case. A fact that the record does not show is nil.
type Case struct {
	CaseID string `json:"case_id"`
	// CaseType is what the case is about, such as refugee_protection.
	CaseType *string `json:"case_type"`
	// Status is where the case stands in the record: see the Status constants.
	Status string `json:"status"`
	// Leave and Review are granted or dismissed, by the last decision of the docket.
	Leave       *string `json:"leave"`
	LeaveOn     *string `json:"leave_on"`
	LeaveJudge  *string `json:"leave_judge"`
	Review      *string `json:"review"`
	ReviewOn    *string `json:"review_on"`
	ReviewJudge *string `json:"review_judge"`
	// StayMotions is the number of motions for a stay of removal; StayOutcome is that of the last
	// decision about one.
	StayMotions int     `json:"stay_motions"`
	StayOutcome *string `json:"stay_outcome"`
	VisaOffice  *string `json:"visa_office"`
	// Rule9Days is the number of days from the first request under Rule 9 to the answer.
	Rule9Days *int `json:"rule9_days"`
	// FiledOn is the day on which the case was filed. ClosedOn is the day of the entry that closed it.
	FiledOn     *string `json:"filed_on"`
	ClosedOn    *string `json:"closed_on"`
	DaysToClose *int    `json:"days_to_close"`
	// AgeDays is the age of an open case on the day on which the record was fetched.
	AgeDays     *int        `json:"age_days"`
	LastEntryOn *string     `json:"last_entry_on"`
	Entries     int         `json:"entries"`
	Milestones  []Milestone `json:"milestones"`
	// Conflict lists facts for which entries or rules disagree; empty if none do.
	Conflict []Conflict `json:"conflict"`
	// Sources names the rule and the entry of each fact of the case.
	Sources map[string]Source `json:"sources"`
	// EntryFacts are the facts of the entries in the order of the docket.
	EntryFacts []*Entry `json:"entry_facts"`
}

// Value returns a fact as text by its name in JSON; "" for one that the record does not show or that
// is no single value.
func (c *Case) Value(name string) string {
	switch name {
	case "status":
		return c.Status
	case "stay_motions":
		return strconv.Itoa(c.StayMotions)
	case "rule9_days":
		if c.Rule9Days != nil {
			return strconv.Itoa(*c.Rule9Days)
		}
	}
	return deref(map[string]*string{
		"case_type": c.CaseType, "leave": c.Leave, "leave_on": c.LeaveOn, "leave_judge": c.LeaveJudge,
		"review":    c.Review,
		"review_on": c.ReviewOn, "review_judge": c.ReviewJudge, "stay_outcome": c.StayOutcome,
		"visa_office": c.VisaOffice,
		"closed_on":   c.ClosedOn,
	}[name])
}

// Source says which rule gave a fact, and from which entry. Entry is nil if the court gave the entry
// no number; both Entry and Position are nil if the fact comes from the header.
type Source struct {
	Rule     string `json:"rule"`
	Entry    *int   `json:"entry"`
	Position *int   `json:"position"`
}

// Milestone is one step of a case.
type Milestone struct {
	Name string `json:"milestone"`
	// Day is the day of the decision or of the entry.
	Day *string `json:"day"`
	// ScheduledOn and ScheduledAt are day and time of a hearing that was scheduled.
	ScheduledOn *string `json:"scheduled_on,omitempty"`
	ScheduledAt *string `json:"scheduled_at,omitempty"`
	Source
}

// Conflict is a fact with more than one value.
type Conflict struct {
	Fact   string          `json:"fact"`
	Values []ConflictValue `json:"values"`
}

// ConflictValue is one value of a conflict.
type ConflictValue struct {
	Value string `json:"value"`
	Source
}

// Of returns the facts of a record.
func (r *Reader) Of(record *contract.Record) *Case {
	d := read(record)
	c := &Case{
		CaseID: d.caseID, FiledOn: known(d.filedOn), Entries: len(d.entries), Milestones: []Milestone{},
		Conflict: []Conflict{}, Sources: make(map[string]Source, 8), EntryFacts: make([]*Entry, len(d.entries)),
	}
	for i, entry := range d.entries {
		e := r.entry(entry, i+1)
		if e.About == nil {
			e.About = []string{}
		}
		c.EntryFacts[i] = e
	}
	b := caseBuilder{c: c, inTime: slices.Clone(c.EntryFacts)}
	slices.SortStableFunc(b.inTime, compareInTime)
	b.resolveMotions()
	b.decisions()
	b.stays()
	b.rule9()
	needsLeave := r.header(c, d)
	b.status(needsLeave)
	b.ages(d)
	b.milestones()
	return c
}

// compareInTime orders entries by day, then by the court's number.
func compareInTime(a, b *Entry) int {
	return cmp.Or(cmp.Compare(deref(a.Day), deref(b.Day)), cmp.Compare(deref(a.Number), deref(b.Number)))
}

// header derives the facts that the header and the opening entry state. It reports whether the case
// needs leave.
func (r *Reader) header(c *Case, d docket) (needsLeave bool) {
	type place struct {
		text string
		of   *Entry
	}
	places := []place{{d.header, nil}}
	for i, e := range c.EntryFacts {
		if e.Kind == KindApplication {
			places = append(places, place{d.entries[i].text, e})
			needsLeave = true
			break
		}
	}
	for i := range r.rules.specs {
		fact := &r.rules.specs[i]
		if !fact.ofCase {
			continue
		}
		r.firstOf(c, fact, r.rules.byFact[i], len(places),
			func(at int) (string, *Entry) { return places[at].text, places[at].of }, &needsLeave)
	}
	return needsLeave
}

// firstOf sets a fact by the first rule that matches: all rules on the first text, then on the next.
func (r *Reader) firstOf(c *Case, fact *factSpec, rules []*rule, places int, at func(int) (string, *Entry),
	needsLeave *bool) {
	for i := range places {
		text, of := at(i)
		if text == "" {
			continue
		}
		r.load(text)
		for _, one := range rules {
			h, found := r.apply(one)
			if !found {
				continue
			}
			switch fact.name {
			case factCaseType:
				c.CaseType = new(h.value)
			case factVisaOffice:
				c.VisaOffice = new(h.value)
			case factNeedsLeave:
				*needsLeave = true
				return
			}
			c.Sources[fact.name] = sourceOf(of, h.rule.name)
			return
		}
	}
}

// caseBuilder derives the facts of a case from those of its entries.
type caseBuilder struct {
	c *Case
	// inTime are the entries, oldest first.
	inTime       []*Entry
	discontinued *Entry
	closing      *Entry // the last decision that is marked final
	leave        *Entry
	review       *Entry
	// motions are the motions to which orders, judgments and hearings refer by number.
	motions map[*Entry]*Entry
}

// resolveMotions finds the motions that decisions name by the number of their document. A final decision
// that grants a motion and says no more decides what the motion asks for.
func (b *caseBuilder) resolveMotions() {
	var byDocument map[int]*Entry
	for _, e := range b.inTime {
		if e.Kind == KindMotion && e.document != 0 {
			if byDocument == nil {
				byDocument = map[int]*Entry{}
			}
			byDocument[e.document] = e
		}
	}
	if byDocument == nil {
		return
	}
	b.motions = map[*Entry]*Entry{}
	for _, e := range b.inTime {
		if e.Motion == nil || byDocument[*e.Motion] == nil {
			continue
		}
		motion := byDocument[*e.Motion]
		b.motions[e] = motion
		if e.Final && e.leave == "" && e.review == "" && motion.review != "" && deref(e.Outcome) == OutcomeGranted {
			e.review, e.Rules[factReview] = motion.review, motion.Rules[factReview]
		}
	}
}

// isAbout reports whether an entry, or the motion that it names by number, is about something.
func (b *caseBuilder) isAbout(e *Entry, about string) bool {
	motion := b.motions[e]
	return slices.Contains(e.About, about) || motion != nil && slices.Contains(motion.About, about)
}

func (b *caseBuilder) decisions() {
	var leaves, reviews []*Entry
	for _, e := range b.inTime {
		if e.leave != "" {
			leaves = append(leaves, e)
		}
		if e.review != "" && e.Kind != KindMotion {
			reviews = append(reviews, e)
		}
		if e.Kind == KindDiscontinuance {
			b.discontinued = e
		}
		if e.Final && (e.Kind == KindOrder || e.Kind == KindJudgment) {
			b.closing = e
		}
	}
	for _, e := range b.inTime {
		for _, other := range e.disputed {
			value := map[string]string{factLeave: e.leave, factReview: e.review}[other.Fact]
			b.c.Conflict = append(b.c.Conflict, Conflict{Fact: other.Fact, Values: []ConflictValue{
				{value, sourceOf(e, e.Rules[other.Fact])}, {other.Value, sourceOf(e, other.Rule)},
			}})
		}
	}
	b.leave = b.last(factLeave, leaves, func(e *Entry) string { return e.leave })
	b.review = b.last(factReview, reviews, func(e *Entry) string { return e.review })
	if e := b.leave; e != nil {
		b.c.Leave, b.c.LeaveOn, b.c.LeaveJudge = known(e.leave), e.decided(), decider(e)
		b.source(factLeave, e)
		b.sourceWhen(e.DecidedOn != nil, "leave_on", e, factDecidedOn)
		b.sourceWhen(e.Judge != nil, "leave_judge", e, factJudge)
	}
	if e := b.review; e != nil {
		b.c.Review, b.c.ReviewOn, b.c.ReviewJudge = known(e.review), e.decided(), decider(e)
		b.source(factReview, e)
		b.sourceWhen(e.DecidedOn != nil, "review_on", e, factDecidedOn)
		b.sourceWhen(e.Judge != nil, "review_judge", e, factJudge)
	}
}

func decider(e *Entry) *string { return e.Judge }

// decided returns the day of a decision: the one in its text, else that of the entry.
func (e *Entry) decided() *string {
	if e.DecidedOn != nil {
		return e.DecidedOn
	}
	return e.Day
}

// last returns the last of several decisions, and records a conflict if they differ.
func (b *caseBuilder) last(fact string, all []*Entry, value func(*Entry) string) *Entry {
	if len(all) == 0 {
		return nil
	}
	last := all[len(all)-1]
	if slices.ContainsFunc(all, func(e *Entry) bool { return value(e) != value(last) }) {
		conflict := Conflict{Fact: fact}
		for _, e := range all {
			conflict.Values = append(conflict.Values, ConflictValue{value(e), sourceOf(e, e.Rules[fact])})
		}
		b.c.Conflict = append(b.c.Conflict, conflict)
	}
	return last
}

func (b *caseBuilder) source(fact string, e *Entry) { b.c.Sources[fact] = sourceOf(e, e.Rules[fact]) }

func (b *caseBuilder) sourceWhen(is bool, key string, e *Entry, fact string) {
	if is {
		b.c.Sources[key] = sourceOf(e, e.Rules[fact])
	}
}

func sourceOf(e *Entry, rule string) Source {
	if e == nil {
		return Source{Rule: rule}
	}
	return Source{rule, e.Number, &e.Position}
}

// stays counts the motions for a stay of removal and finds the last decision about one. A decision
// that names only the number of a motion is about that motion.
func (b *caseBuilder) stays() {
	for _, e := range b.inTime {
		about := b.isAbout(e, AboutStayOfRemoval)
		switch {
		case e.Kind == KindMotion && about:
			b.c.StayMotions++
			b.c.Sources["stay_motions"] = sourceOf(e, e.Rules["about."+AboutStayOfRemoval])
		case decides(e.Kind) && e.Kind != KindHearing && about && *e.Outcome != OutcomeOther:
			b.c.StayOutcome = e.Outcome
			b.c.Sources["stay_outcome"] = sourceOf(e, e.Rules[factOutcome])
		}
	}
}

// rule9 measures the wait for the answer to the first request under Rule 9.
func (b *caseBuilder) rule9() {
	var asked *Entry
	for _, e := range b.inTime {
		switch {
		case e.Kind == KindRule9Request && asked == nil:
			asked = e
		case e.Kind == KindRule9Record && asked != nil:
			if days, ok := daysBetween(deref(asked.Day), deref(e.Day)); ok {
				b.c.Rule9Days = &days
				b.c.Sources["rule9_days"] = sourceOf(e, e.Rules[factKind])
			}
			return
		}
	}
}

// status decides where the case stands. A discontinuance counts unless a decision ended the case
// before it.
func (b *caseBuilder) status(needsLeave bool) {
	c := b.c
	var by *Entry
	fact := factKind
	switch {
	case b.review != nil && !(b.discontinued != nil && compareInTime(b.review, b.discontinued) < 0 &&
		deref(c.Review) == ""):
		by, fact = b.review, factReview
		c.Status = map[string]string{OutcomeGranted: StatusGranted, OutcomeDismissed: StatusDismissed}[*c.Review]
		if *c.Review == OutcomeGranted && b.isAbout(by, AboutConsent) {
			c.Status = StatusOnConsent
		}
	case deref(c.Leave) == OutcomeDismissed:
		by, fact, c.Status = b.leave, factLeave, StatusLeaveDismissed
	case b.discontinued != nil:
		by, c.Status = b.discontinued, StatusDiscontinued
	case b.closing != nil && (b.leave == nil || compareInTime(b.closing, b.leave) > 0):
		by, fact, c.Status = b.closing, factFinal, StatusClosedOther
	case deref(c.Leave) == OutcomeGranted:
		c.Status = StatusActive
		b.c.Sources["status"] = sourceOf(b.leave, b.leave.Rules[factLeave])
	case needsLeave:
		c.Status = StatusAwaitingLeave
	default:
		c.Status = StatusActive
	}
	if by == nil {
		return
	}
	c.Sources["status"] = sourceOf(by, by.Rules[fact])
	c.ClosedOn = by.decided()
	c.Sources["closed_on"] = c.Sources["status"]
	if b.discontinued != nil && b.discontinued != by {
		c.Conflict = append(c.Conflict, Conflict{Fact: "status", Values: []ConflictValue{
			{c.Status, c.Sources["status"]}, {StatusDiscontinued,
				sourceOf(b.discontinued, b.discontinued.Rules[factKind])},
		}})
	}
}

func (b *caseBuilder) ages(d docket) {
	c := b.c
	if n := len(b.inTime); n > 0 {
		c.LastEntryOn = b.inTime[n-1].Day
	}
	if c.ClosedOn != nil {
		if days, ok := daysBetween(d.filedOn, *c.ClosedOn); ok && days >= 0 {
			c.DaysToClose = &days
		}
	} else if days, ok := daysBetween(d.filedOn, d.fetchedOn); ok && days >= 0 {
		c.AgeDays = &days
	}
}

// milestones lists the steps of the case, oldest first. Of steps that happen once, such as a filed
// record, each entry that states one is listed.
func (b *caseBuilder) milestones() {
	for _, e := range b.inTime {
		for _, m := range e.milestones {
			b.c.Milestones = append(b.c.Milestones,
				Milestone{m.name, e.Day, known(m.scheduledOn), known(m.scheduledAt), sourceOf(e, m.rule)})
		}
		if e.leave != "" {
			b.c.Milestones = append(b.c.Milestones,
				Milestone{Name: "leave_decision", Day: e.decided(), Source: sourceOf(e, e.Rules[factLeave])})
		}
		if e.review != "" && e.Kind != KindMotion {
			b.c.Milestones = append(b.c.Milestones,
				Milestone{Name: "review_decision", Day: e.decided(), Source: sourceOf(e, e.Rules[factReview])})
		}
	}
}

// known returns a pointer to a text, nil if it is empty.
func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
