package fold

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// unconfirmedNoRecord is a no-record after which the site has shown no record yet, so that it may
// have stopped showing any.
type unconfirmedNoRecord struct {
	CaseID  contract.CaseID `json:"case_id"`
	Attempt int             `json:"attempt"`
	Status  int             `json:"status,omitempty"`
	Started time.Time       `json:"started"`
	Seconds float64         `json:"seconds"`
	Ended   time.Time       `json:"ended"`
	// Sequence is its message in the ledger.
	Sequence uint64 `json:"sequence,omitempty"`
}

// Vanished means that the site no longer shows cases that are known to exist: its no-records since
// the last confirmation are void.
type Vanished struct {
	CaseIDs []contract.CaseID `json:"case_ids"`
	// NoRecords is how many no-records were counted and then voided.
	NoRecords int `json:"row"`
	// ByBlock means that no case has vanished: the site blocked the run right after the no-records.
	ByBlock bool `json:"doubt,omitempty"`
}

// MaxCanaryCases is how many cases a canary requests at most. A court may remove one case; when two
// vanish at the same time the site has stopped showing records.
const MaxCanaryCases = 2

// overflow holds the unconfirmed no-records beyond contract.MaxUnconfirmed, in two bits each, so
// that a checkpoint stays small. A proof confirms all of them or none.
type overflow struct {
	Numbers Outcomes `json:"numbers"`
	Count   int      `json:"count"`
	// CaseID is one of them; the others differ from it by their numbers.
	CaseID contract.CaseID `json:"case_id"`
	// Started is the earliest start of an attempt, Ended the latest end, Sequence the latest
	// message in the ledger.
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Sequence uint64    `json:"sequence"`
}

func (o *overflow) add(a unconfirmedNoRecord) {
	if o.Count == 0 || a.Started.Before(o.Started) {
		o.Started = a.Started
	}
	o.Numbers.Set(a.CaseID.Number, contract.NoRecord)
	o.CaseID, o.Ended, o.Sequence = a.CaseID, later(o.Ended, a.Ended), max(o.Sequence, a.Sequence)
	o.Count++
}

// UnconfirmedCount is how many no-records no later record or canary has confirmed.
func (t *Tally) UnconfirmedCount() int { return len(t.Unconfirmed) + t.Overflow.Count }

// UnconfirmedNumbers returns the numbers of the unconfirmed no-records.
func (t *Tally) UnconfirmedNumbers() map[int]bool {
	numbers := make(map[int]bool, t.UnconfirmedCount())
	for _, a := range t.Unconfirmed {
		numbers[a.CaseID.Number] = true
	}
	for number := range t.Overflow.Numbers.Highest() + 1 {
		if t.Overflow.Numbers.Get(number) != "" {
			numbers[number] = true
		}
	}
	return numbers
}

func (t *Tally) addUnconfirmed(entry contract.Entry) {
	t.NoRecordStreak++
	a := unconfirmedNoRecord{
		CaseID: entry.CaseID, Attempt: entry.Attempt, Started: entry.StartedAt, Seconds: entry.Seconds,
		Ended: entry.EndedAt(), Sequence: t.Sequence,
	}
	if n := len(entry.Requests); n > 0 {
		a.Status = entry.Requests[n-1].Status
	}
	t.Unconfirmed = append(t.Unconfirmed, a)
	if len(t.Unconfirmed) > contract.MaxUnconfirmed {
		t.Overflow.add(t.Unconfirmed[0])
		t.Unconfirmed = slices.Delete(t.Unconfirmed, 0, 1)
	}
}

// addSuccess counts a success and returns the no-records that it confirms. Its number becomes a
// candidate for canaries. A success copied from another run confirms nothing: its request may be
// old.
func (t *Tally) addSuccess(entry contract.Entry) (confirmed []Counted) {
	previous := t.NewestSuccesses[:min(len(t.NewestSuccesses), MaxCanaryCases-1)]
	t.NewestSuccesses = append([]int{entry.CaseID.Number}, previous...)
	if len(entry.Requests) == 0 {
		return nil
	}
	t.NoRecordStreak, t.Canaries = 0, 0
	return t.confirm(entry.StartedAt, 0)
}

// confirm confirms and returns the no-records whose answers were received before the request of a
// record started, and those up to the message after, which the requester had already read. Those
// that come later in the ledger are left to a later record, whatever their times: clocks that
// differ or are set back then matter only for requests that overlap in time.
func (t *Tally) confirm(started time.Time, after uint64) (confirmed []Counted) {
	confirm := func(id contract.CaseID, at time.Time) {
		entry := contract.Entry{CaseID: id, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord,
			StartedAt: at}
		confirmed = append(confirmed, Counted{Entry: entry, kind: kindConfirmation})
	}
	t.Unconfirmed = slices.DeleteFunc(t.Unconfirmed, func(a unconfirmedNoRecord) bool {
		before := !a.Ended.After(started) || a.Sequence > 0 && a.Sequence <= after
		if before {
			confirm(a.CaseID, a.Started)
		}
		return before
	})
	if o := t.Overflow; o.Count > 0 && (!o.Ended.After(started) || o.Sequence <= after) {
		id := o.CaseID
		for number := range o.Numbers.Highest() + 1 {
			if o.Numbers.Get(number) != "" {
				id.Number = number
				confirm(id, o.Started)
			}
		}
		t.Overflow = overflow{}
	}
	return confirmed
}

// addCanary folds a canary and returns the entries that it adds to the files.
func (t *Tally) addCanary(canary []contract.Entry, after uint64) []Counted {
	var fresh []Counted
	verdict, started := contract.CanaryVerdict(canary)
	for _, entry := range canary {
		t.addRequests(entry)
		t.CanaryRequests += len(entry.Requests)
		if verdict == contract.VerdictNoRecord && entry.Rule != contract.RuleUnconfirmed ||
			entry.Verdict == contract.VerdictBlocked {
			entry.Verdict = contract.VerdictBlocked // so that its raw answer is stored
			fresh = append(fresh, Counted{Entry: entry, kind: kindRawAnswer})
		}
	}
	switch {
	case verdict == contract.VerdictSuccess:
		fresh = append(fresh, t.confirm(started, after)...)
		t.Canaries++
		t.NoRecordStreak = len(t.Unconfirmed)
	case verdict == contract.VerdictNoRecord && t.Vanished == nil:
		fresh = append(fresh, t.voidUnconfirmed(canary)...)
	}
	return fresh
}

// voidUnconfirmed voids the unconfirmed no-records after a vanished canary: their numbers have no
// outcome again.
func (t *Tally) voidUnconfirmed(canary []contract.Entry) []Counted {
	t.Vanished = &Vanished{NoRecords: len(t.Unconfirmed), ByBlock: canary[0].Rule == contract.RuleUnconfirmed}
	for _, entry := range canary {
		t.Vanished.CaseIDs = append(t.Vanished.CaseIDs, entry.CaseID)
	}
	var amendments []Counted
	for _, a := range t.Unconfirmed {
		t.NoRecord--
		t.Outcomes.Set(a.CaseID.Number, "")
		t.voidNumber(a.CaseID.Number)
		amendments = append(amendments, Counted{kind: kindAmendment, Entry: contract.Entry{
			CaseID: a.CaseID, Attempt: a.Attempt, Verdict: contract.VerdictBlocked, Notes: []string{t.Vanished.note()},
			StartedAt: a.Started, Seconds: a.Seconds, Requests: []contract.Exchange{{Status: a.Status}},
		}})
	}
	t.Unconfirmed = nil
	return amendments
}

// asBlocked turns a no-record that came after a vanished canary into a block.
func (t *Tally) asBlocked(entry contract.Entry) contract.Entry {
	entry.Verdict, entry.Outcome = contract.VerdictBlocked, ""
	entry.Notes = append(slices.Clip(entry.Notes), t.Vanished.note())
	return entry
}

// voidNumber voids a number's no-record. Later entries of the number are ignored.
func (t *Tally) voidNumber(number int) {
	if t.Voided == nil {
		t.Voided = map[int]bool{}
	}
	t.Voided[number] = true
	delete(t.Pending, number)
}

// note is the attempts file's note on a voided no-record.
func (v *Vanished) note() string {
	return "taken back: the site no longer shows " + v.caseNames() + ", known to exist"
}

func (v *Vanished) caseNames() string {
	names := make([]string, len(v.CaseIDs))
	for i, id := range v.CaseIDs {
		names[i] = id.String()
	}
	return strings.Join(names, " and ")
}

// BlockReason is the reason of the block of a vanished canary when its halt gives none.
func (t *Tally) BlockReason() string {
	ids := t.Vanished.CaseIDs
	return fmt.Sprintf("blocked by the site at %s (%s)", ids[len(ids)-1], contract.RuleCanary)
}

// VanishedReason is why the run ends; block is the reason given by its halt.
func (t *Tally) VanishedReason(block string) string {
	if t.Vanished.ByBlock {
		return fmt.Sprintf("%s: right after a row of no-records; %s taken back", block,
			sanitize.Plural(len(t.Voided), "no-record"))
	}
	return fmt.Sprintf("%s: it no longer shows %s, known to exist; %s taken back", block, t.Vanished.caseNames(),
		sanitize.Plural(len(t.Voided), "no-record"))
}

const (
	// firstCanaryAfter is how many no-records in a row, in ledger order, make the first canary due.
	// If one number in five is missing, a run of 20 has the probability 10^-14.
	firstCanaryAfter = 20
	// NextCanaryAfter is how many more make the next one due: a canary costs one request, so a long
	// stretch of no-records costs one percent more.
	NextCanaryAfter = 100
)

// CanaryDue reports whether enough no-records came in a row to start a canary.
func (t *Tally) CanaryDue() bool {
	limit := firstCanaryAfter
	if t.Canaries > 0 {
		limit = NextCanaryAfter
	}
	return t.Vanished == nil && len(t.Unconfirmed) > 0 && t.NoRecordStreak >= limit
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Streak counts no-records in number order, as far as every number is decided, and finds a stretch
// that reaches the limit. Its result depends on the numbers alone, not on when they were decided.
type Streak struct {
	// Next is the lowest number that is not decided yet.
	Next int
	// length counts the no-records directly before Next, and first is the first of them.
	length, first int
}

// Walk advances while outcome returns an outcome. It returns the stretch that stops the run: as
// many consecutive no-records of the run as the limit, with numbers left. A limit of 0 never stops.
func (s *Streak) Walk(
	manifest contract.Manifest, outcome func(number int) contract.Outcome,
) (stretch contract.Range, found bool) {
	s.Next = max(s.Next, manifest.Range.Start)
	limit := manifest.SafeStopNoRecords
	for s.Next <= manifest.Range.End {
		if !manifest.Selects(s.Next) {
			s.Next++
			continue
		}
		decided := outcome(s.Next)
		if decided == "" {
			break
		}
		s.Next++
		if decided != contract.NoRecord {
			s.length = 0
			continue
		}
		if s.length++; s.length == 1 {
			s.first = s.Next - 1
		}
		if limit > 0 && s.length == limit && s.Next <= manifest.Range.End {
			return contract.Range{Start: s.first, End: s.Next - 1}, true
		}
	}
	return contract.Range{}, false
}

// NoRecordsReason is the reason of a safe stop after a stretch of no-records.
func NoRecordsReason(manifest contract.Manifest, stretch contract.Range) string {
	return fmt.Sprintf("%d consecutive no-record: %s..%s", manifest.Count(stretch), manifest.Case(stretch.Start),
		manifest.Case(stretch.End))
}
