// Package analysis counts records and their facts and presents them: tables, and one HTML page of
// charts that needs nothing else. The memory grows with the number of days, judges and offices, not
// with that of records.
package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/stats"
)

// ErrTwice marks a case of which a second record was added.
var ErrTwice = errors.New("case with two records")

// Analysis collects what tallies count. It is safe for concurrent use.
type Analysis struct {
	mu      sync.Mutex
	numbers map[seriesYear]*numbers
	tallies []*Tally
	// coverage is set if the state of numbers without a record is known.
	coverage bool
}

// New returns an analysis of nothing.
func New() *Analysis { return &Analysis{numbers: map[seriesYear]*numbers{}} }

type seriesYear struct{ series, year string }

// numbers is what is known about the numbers of a series and year.
type numbers struct {
	// state holds a state for each number, by number.
	state []state
}

// state says how a number stands.
type state uint8

const (
	unseen state = iota
	recorded
	noRecord
	unconfirmed
	failed
	pending // requested, without an outcome
	states
)

// set notes the state of a number. It returns false if the number has a record already.
func (a *Analysis) set(id contract.CaseID, s state) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := seriesYear{id.Series, id.Year}
	n := a.numbers[key]
	if n == nil {
		n = &numbers{}
		a.numbers[key] = n
	}
	if id.Number >= len(n.state) {
		n.state = append(n.state, make([]state, id.Number+1-len(n.state))...)
	}
	if n.state[id.Number] == recorded {
		return s != recorded
	}
	n.state[id.Number] = s
	return true
}

// AddNumber notes how a number stands in the store. A number with a record counts as such, whatever
// the outcome of a later request.
func (a *Analysis) AddNumber(id contract.CaseID, outcome contract.Outcome, isUnconfirmed bool) {
	s := pending
	switch {
	case outcome == contract.Failed:
		s = failed
	case outcome == contract.NoRecord && isUnconfirmed:
		s = unconfirmed
	case outcome == contract.NoRecord:
		s = noRecord
	case outcome == contract.Success:
		return // its record is added
	}
	a.mu.Lock()
	a.coverage = true
	a.mu.Unlock()
	a.set(id, s)
}

// CoverageKnown says that AddNumber was or will be called for each number without a record.
func (a *Analysis) CoverageKnown() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.coverage = true
}

// Tally counts records. Each goroutine needs its own.
type Tally struct {
	of *Analysis

	cases    int
	statuses map[string]int
	// months holds the statuses of the cases filed in a month, YYYY-MM.
	months map[string]map[string]int
	// toClose holds the days from filing to closing by status.
	toClose map[string]stats.Sample
	// decided and undecided are the days to the first decision, and those without one until the case was
	// discontinued or fetched.
	decided, undecided stats.Sample
	discontinued       int // of undecided
	offices, visas     map[string]*office
	judges             map[string]*judge
	// answered and unanswered are the days from a request under Rule 9 to its answer, and those without
	// one until the case was closed or fetched.
	answered, unanswered stats.Sample
	flags, conflicts     map[string]int
	conflicting          int // cases
	hosts                map[string]int
	oldest, newest       time.Time
	notFiled, noDay      int // cases without a day of filing; closed ones without a day of closing
	disorder             int // cases with a day before that of filing or after that of fetching
	rule9Disorder        int
}

// office counts the cases of a court office or of a visa office.
type office struct {
	cases, open        int
	decisions, granted int // on leave
	toClose            stats.Sample
}

// judge counts decisions on leave.
type judge struct {
	spellings          map[string]int
	decisions, granted int
}

// NewTally returns a tally of the analysis.
func (a *Analysis) NewTally() *Tally {
	t := newTally()
	t.of = a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tallies = append(a.tallies, t)
	return t
}

func newTally() *Tally {
	return &Tally{
		statuses: map[string]int{}, months: map[string]map[string]int{}, toClose: map[string]stats.Sample{},
		decided: stats.Sample{}, undecided: stats.Sample{}, offices: map[string]*office{}, visas: map[string]*office{},
		judges: map[string]*judge{}, answered: stats.Sample{}, unanswered: stats.Sample{}, flags: map[string]int{},
		conflicts: map[string]int{}, hosts: map[string]int{},
	}
}

// Add counts a record and its facts. A second record of a case is an error that wraps ErrTwice.
func (t *Tally) Add(record *contract.Record, c *facts.Case) error {
	if !t.of.set(record.CaseID, recorded) {
		return fmt.Errorf("%w: %s: allowed is one record of each case", ErrTwice, record.CaseID)
	}
	t.cases++
	t.statuses[c.Status]++
	for _, flag := range record.Flags {
		t.flags[flag]++
	}
	if len(c.Conflict) > 0 {
		t.conflicting++
	}
	for fact := range conflictingFacts(c) {
		t.conflicts[fact]++
	}
	t.provenance(record)
	t.volume(c)
	toClose, closed := t.durations(record, c)
	t.leave(c)
	t.places(record, c, toClose, closed)
	t.rule9(record, c)
	return nil
}

// conflictingFacts returns the facts of which a case has several values.
func conflictingFacts(c *facts.Case) map[string]bool {
	names := map[string]bool{}
	for _, conflict := range c.Conflict {
		names[conflict.Fact] = true
	}
	return names
}

func (t *Tally) provenance(record *contract.Record) {
	host := ""
	if u, err := url.Parse(record.Source); err == nil {
		host = u.Host
	}
	t.hosts[host]++
	at := record.FetchedAt
	if at.IsZero() {
		return
	}
	if t.oldest.IsZero() || at.Before(t.oldest) {
		t.oldest = at
	}
	if at.After(t.newest) {
		t.newest = at
	}
}

func (t *Tally) volume(c *facts.Case) {
	month := ""
	if _, ok := dayOf(c.FiledOn); ok {
		month = (*c.FiledOn)[:len("2006-01")]
	} else {
		t.notFiled++
	}
	if t.months[month] == nil {
		t.months[month] = map[string]int{}
	}
	t.months[month][c.Status]++
}

// durations counts the days to the first decision and to the end of the case, and returns the latter. A
// case with days in an impossible order counts in neither.
func (t *Tally) durations(record *contract.Record, c *facts.Case) (toClose int, isClosed bool) {
	filed, ok := dayOf(c.FiledOn)
	if !ok {
		return 0, false
	}
	fetched, wasFetched := fetchedDay(record)
	closed, hasClosed := dayOf(c.ClosedOn)
	decided, hasDecided := firstDecision(c)
	possible := func(day int) bool { return day >= filed && (!wasFetched || day <= fetched) }
	if hasClosed && !possible(closed) || hasDecided && !possible(decided) || wasFetched && fetched < filed {
		t.disorder++
		return 0, false
	}
	switch {
	case hasClosed:
		sampleOf(t.toClose, c.Status)[closed-filed]++
	case !isOpen(c.Status):
		t.noDay++
	}
	switch {
	case hasDecided:
		t.decided[decided-filed]++
	case c.Status == facts.StatusDiscontinued && hasClosed:
		t.undecided[closed-filed]++
		t.discontinued++
	case isOpen(c.Status) && wasFetched:
		t.undecided[fetched-filed]++
	}
	return closed - filed, hasClosed
}

// firstDecision returns the day of the first decision on leave or on the application, or of another
// decision that closed the case.
func firstDecision(c *facts.Case) (first int, found bool) {
	add := func(text *string) {
		if day, ok := dayOf(text); ok && (!found || day < first) {
			first, found = day, true
		}
	}
	for _, m := range c.Milestones {
		if m.Name == "leave_decision" || m.Name == "review_decision" {
			add(m.Day)
		}
	}
	if c.Status == facts.StatusClosedOther {
		add(c.ClosedOn)
	}
	return first, found
}

func (t *Tally) leave(c *facts.Case) {
	if c.Leave == nil {
		return
	}
	name := ""
	if c.LeaveJudge != nil {
		name = *c.LeaveJudge
	}
	key := facts.Fold(name)
	j := t.judges[key]
	if j == nil {
		j = &judge{spellings: map[string]int{}}
		t.judges[key] = j
	}
	j.spellings[name]++
	j.decisions++
	if *c.Leave == facts.OutcomeGranted {
		j.granted++
	}
}

// places counts the case at its offices. The registry office is that of the header, else the one that
// entered the first entry of the docket: a docket alone does not state the former.
func (t *Tally) places(record *contract.Record, c *facts.Case, toClose int, isClosed bool) {
	name := cmp.Or(record.OfficeEN, record.OfficeFR)
	if name == "" && len(record.Docket) > 0 {
		first := slices.MinFunc(record.Docket, func(a, b contract.DocketEntry) int {
			return cmp.Or(cmp.Compare(a.EnteredOn, b.EnteredOn), cmp.Compare(a.EntryNumber, b.EntryNumber))
		})
		name = cmp.Or(first.OfficeEN, first.OfficeFR)
	}
	visa := ""
	if c.VisaOffice != nil {
		visa = *c.VisaOffice
	}
	for _, place := range []struct {
		in   map[string]*office
		name string
	}{{t.offices, name}, {t.visas, visa}} {
		o := officeOf(place.in, place.name)
		o.cases++
		if isOpen(c.Status) {
			o.open++
		}
		if isClosed {
			o.toClose[toClose]++
		}
		if c.Leave != nil {
			o.decisions++
			if *c.Leave == facts.OutcomeGranted {
				o.granted++
			}
		}
	}
}

// rule9 counts the wait for the answer to the first request under Rule 9.
func (t *Tally) rule9(record *contract.Record, c *facts.Case) {
	if c.Rule9Days != nil {
		if *c.Rule9Days < 0 {
			t.rule9Disorder++
			return
		}
		t.answered[*c.Rule9Days]++
		return
	}
	asked, found := 0, false
	for _, e := range c.EntryFacts {
		if day, ok := dayOf(e.Day); e.Kind == facts.KindRule9Request && ok && (!found || day < asked) {
			asked, found = day, true
		}
	}
	end, ended := dayOf(c.ClosedOn)
	if !ended {
		end, ended = fetchedDay(record)
	}
	switch {
	case found && ended && end >= asked:
		t.unanswered[end-asked]++
	case found:
		t.rule9Disorder++
	}
}

// total returns the sum of all tallies.
func (a *Analysis) total() *Tally {
	sum := newTally()
	for _, t := range a.tallies {
		sum.merge(t)
	}
	return sum
}

func (t *Tally) merge(o *Tally) {
	t.cases += o.cases
	addCounts(t.statuses, o.statuses)
	for month, counts := range o.months {
		if t.months[month] == nil {
			t.months[month] = map[string]int{}
		}
		addCounts(t.months[month], counts)
	}
	for status, sample := range o.toClose {
		sampleOf(t.toClose, status).Merge(sample)
	}
	t.decided.Merge(o.decided)
	t.undecided.Merge(o.undecided)
	t.answered.Merge(o.answered)
	t.unanswered.Merge(o.unanswered)
	for _, places := range [][2]map[string]*office{{t.offices, o.offices}, {t.visas, o.visas}} {
		for name, from := range places[1] {
			to := officeOf(places[0], name)
			to.cases += from.cases
			to.open += from.open
			to.decisions += from.decisions
			to.granted += from.granted
			to.toClose.Merge(from.toClose)
		}
	}
	for key, from := range o.judges {
		to := t.judges[key]
		if to == nil {
			to = &judge{spellings: map[string]int{}}
			t.judges[key] = to
		}
		addCounts(to.spellings, from.spellings)
		to.decisions += from.decisions
		to.granted += from.granted
	}
	addCounts(t.flags, o.flags)
	addCounts(t.conflicts, o.conflicts)
	addCounts(t.hosts, o.hosts)
	t.conflicting += o.conflicting
	t.discontinued += o.discontinued
	t.notFiled += o.notFiled
	t.noDay += o.noDay
	t.disorder += o.disorder
	t.rule9Disorder += o.rule9Disorder
	if t.oldest.IsZero() || !o.oldest.IsZero() && o.oldest.Before(t.oldest) {
		t.oldest = o.oldest
	}
	if o.newest.After(t.newest) {
		t.newest = o.newest
	}
}

func addCounts(to, from map[string]int) {
	for key, n := range from {
		to[key] += n
	}
}

func sampleOf(in map[string]stats.Sample, key string) stats.Sample {
	s := in[key]
	if s == nil {
		s = stats.Sample{}
		in[key] = s
	}
	return s
}

func officeOf(in map[string]*office, name string) *office {
	o := in[name]
	if o == nil {
		o = &office{toClose: stats.Sample{}}
		in[name] = o
	}
	return o
}

// name returns the most frequent spelling; of equally frequent ones the first by the alphabet.
func (j *judge) name() string {
	best := ""
	for _, spelling := range slices.Sorted(maps.Keys(j.spellings)) {
		if best == "" || j.spellings[spelling] > j.spellings[best] {
			best = spelling
		}
	}
	return best
}

func isOpen(status string) bool {
	return status == facts.StatusAwaitingLeave || status == facts.StatusActive
}

// dayOf returns the number of days from 1 January 1970 to a day.
func dayOf(text *string) (day int, ok bool) {
	if text == nil {
		return 0, false
	}
	at, err := time.Parse(time.DateOnly, *text)
	return int(at.Unix() / (24 * 60 * 60)), err == nil
}

func fetchedDay(record *contract.Record) (day int, ok bool) {
	if record.FetchedAt.IsZero() {
		return 0, false
	}
	text := record.FetchedAt.UTC().Format(time.DateOnly)
	return dayOf(&text)
}
