package reporter

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

// vanished means that the site no longer shows cases that are known to exist: its no-records since
// the last confirmation are void.
type vanished struct {
	CaseIDs []contract.CaseID `json:"case_ids"`
	// NoRecords is how many no-records were counted and then voided.
	NoRecords int `json:"row"`
	// ByBlock means that no case has vanished: the site blocked the run right after the no-records.
	ByBlock bool `json:"doubt,omitempty"`
}

// maxCanaryCases is how many cases a canary requests at most. A court may remove one case; when two
// vanish at the same time the site has stopped showing records.
const maxCanaryCases = 2

// maxUnconfirmed bounds tally.Unconfirmed, which every checkpoint stores; overflow stores the
// others in two bits each. It is exceeded only in a year in which no record is known at all.
const maxUnconfirmed = 2000

// overflow holds the unconfirmed no-records for which tally.Unconfirmed has no room. A proof
// confirms all of them or none.
type overflow struct {
	Numbers outcomes `json:"numbers"`
	Count   int      `json:"count"`
	// CaseID is one of them; the others differ from it by their numbers.
	CaseID contract.CaseID `json:"case_id"`
	// Started is the earliest start of an attempt, Ended the latest end, Sequence the latest
	// message in the ledger.
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Sequence uint64    `json:"sequence"`
}

// add adds a no-record.
func (o *overflow) add(a unconfirmedNoRecord) {
	if o.Count == 0 || a.Started.Before(o.Started) {
		o.Started = a.Started
	}
	o.Numbers.set(a.CaseID.Number, contract.NoRecord)
	o.CaseID, o.Ended, o.Sequence = a.CaseID, latest(o.Ended, a.Ended), max(o.Sequence, a.Sequence)
	o.Count++
}

// unconfirmedCount is how many no-records no later record or canary has confirmed.
func (t *tally) unconfirmedCount() int { return len(t.Unconfirmed) + t.Overflow.Count }

// unconfirmedNumbers returns the numbers of the unconfirmed no-records.
func (t *tally) unconfirmedNumbers() map[int]bool {
	numbers := make(map[int]bool, t.unconfirmedCount())
	for _, a := range t.Unconfirmed {
		numbers[a.CaseID.Number] = true
	}
	for number := range t.Overflow.Numbers.highest() + 1 {
		if t.Overflow.Numbers.get(number) != "" {
			numbers[number] = true
		}
	}
	return numbers
}

// addUnconfirmed adds an unconfirmed no-record.
func (t *tally) addUnconfirmed(entry contract.Entry) {
	t.NoRecordStreak++
	a := unconfirmedNoRecord{
		CaseID: entry.CaseID, Attempt: entry.Attempt, Started: entry.StartedAt, Seconds: entry.Seconds,
		Ended: entry.EndedAt(), Sequence: t.Sequence,
	}
	if n := len(entry.Requests); n > 0 {
		a.Status = entry.Requests[n-1].Status
	}
	t.Unconfirmed = append(t.Unconfirmed, a)
	if len(t.Unconfirmed) > maxUnconfirmed {
		t.Overflow.add(t.Unconfirmed[0])
		t.Unconfirmed = slices.Delete(t.Unconfirmed, 0, 1)
	}
}

// addSuccess counts a success and returns the no-records that it confirms. Its number becomes a
// candidate for canaries. A success copied from another run confirms nothing: its request may be
// old.
func (t *tally) addSuccess(entry contract.Entry) (confirmed []countedEntry) {
	previous := t.NewestSuccesses[:min(len(t.NewestSuccesses), maxCanaryCases-1)]
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
func (t *tally) confirm(started time.Time, after uint64) (confirmed []countedEntry) {
	confirm := func(id contract.CaseID, at time.Time) {
		entry := contract.Entry{CaseID: id, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord,
			StartedAt: at}
		confirmed = append(confirmed, countedEntry{Entry: entry, kind: kindConfirmation})
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
		for number := range o.Numbers.highest() + 1 {
			if o.Numbers.get(number) != "" {
				id.Number = number
				confirm(id, o.Started)
			}
		}
		t.Overflow = overflow{}
	}
	return confirmed
}

// addCanary folds a canary and returns the entries that it adds to the files.
func (t *tally) addCanary(canary []contract.Entry, after uint64) []countedEntry {
	var fresh []countedEntry
	verdict, started := contract.CanaryVerdict(canary)
	for _, entry := range canary {
		t.addRequests(entry)
		t.CanaryRequests += len(entry.Requests)
		if verdict == contract.VerdictNoRecord && entry.Rule != contract.RuleUnconfirmed ||
			entry.Verdict == contract.VerdictBlocked {
			entry.Verdict = contract.VerdictBlocked // so that its raw answer is stored
			fresh = append(fresh, countedEntry{Entry: entry, kind: kindRawAnswer})
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
func (t *tally) voidUnconfirmed(canary []contract.Entry) []countedEntry {
	t.Vanished = &vanished{NoRecords: len(t.Unconfirmed), ByBlock: canary[0].Rule == contract.RuleUnconfirmed}
	for _, entry := range canary {
		t.Vanished.CaseIDs = append(t.Vanished.CaseIDs, entry.CaseID)
	}
	var amendments []countedEntry
	for _, a := range t.Unconfirmed {
		t.NoRecord--
		t.Outcomes.set(a.CaseID.Number, "")
		t.voidNumber(a.CaseID.Number)
		amendments = append(amendments, countedEntry{kind: kindAmendment, Entry: contract.Entry{
			CaseID: a.CaseID, Attempt: a.Attempt, Verdict: contract.VerdictBlocked, Notes: []string{t.Vanished.note()},
			StartedAt: a.Started, Seconds: a.Seconds, Requests: []contract.Exchange{{Status: a.Status}},
		}})
	}
	t.Unconfirmed = nil
	return amendments
}

// asBlocked turns a no-record that came after a vanished canary into a block.
func (t *tally) asBlocked(entry contract.Entry) contract.Entry {
	entry.Verdict, entry.Outcome = contract.VerdictBlocked, ""
	entry.Notes = append(slices.Clip(entry.Notes), t.Vanished.note())
	return entry
}

// voidNumber voids a number's no-record. Later entries of the number are ignored.
func (t *tally) voidNumber(number int) {
	if t.Voided == nil {
		t.Voided = map[int]bool{}
	}
	t.Voided[number] = true
	delete(t.Pending, number)
}

// note is the attempts file's note on a voided no-record.
func (v *vanished) note() string {
	return "taken back: the site no longer shows " + v.caseNames() + ", known to exist"
}

func (v *vanished) caseNames() string {
	names := make([]string, len(v.CaseIDs))
	for i, id := range v.CaseIDs {
		names[i] = id.String()
	}
	return strings.Join(names, " and ")
}

// blockReason is the reason of the block when its halt gives none.
func (v *vanished) blockReason() string {
	return fmt.Sprintf("blocked by the site at %s (%s)", v.CaseIDs[len(v.CaseIDs)-1], contract.RuleCanary)
}

// vanishedReason is why the run ends; block is the reason given by its halt.
func (t *tally) vanishedReason(block string) string {
	if t.Vanished.ByBlock {
		return fmt.Sprintf("%s: right after a row of no-records; %s taken back", block,
			sanitize.Plural(len(t.Voided), "no-record"))
	}
	return fmt.Sprintf("%s: it no longer shows %s, known to exist; %s taken back", block, t.Vanished.caseNames(),
		sanitize.Plural(len(t.Voided), "no-record"))
}
