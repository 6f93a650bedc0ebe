// Package fold computes everything that a run's ledger says: counts, outcomes, unconfirmed
// no-records, and which entries get files, lines and keys. It folds entry by entry and depends on
// nothing but the entries and their order: it reads no stream, no file and no clock.
package fold

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// Tally is the fold of a run's ledger, and the only source of the run's counts. The checkpoint
// stores it completely, so that folding continues where it was. Folding the same entries again
// changes nothing.
type Tally struct {
	// Sequence is the stream sequence of the last folded message.
	Sequence  uint64               `json:"sequence"`
	Planned   *contract.Planned    `json:"planned,omitempty"`
	Succeeded int                  `json:"succeeded"`
	NoRecord  int                  `json:"no_record"`
	Failed    int                  `json:"failed"`
	Requests  int                  `json:"requests"`
	Retries   int                  `json:"retries"`
	MinGap    float64              `json:"min_gap,omitempty"`
	Waited    float64              `json:"waited,omitempty"`
	Slowed    float64              `json:"slowed,omitempty"`
	First     time.Time            `json:"first,omitzero"`
	Last      time.Time            `json:"last,omitzero"`
	Durations contract.JobDuration `json:"durations"`
	// Errors are the failed numbers by cause, in the order of each cause's first failure.
	Errors []causeCount `json:"errors,omitempty"`
	// Flags counts the records that carry each flag.
	Flags map[string]int `json:"flags,omitempty"`
	// FailStreak counts the failures since the last number that ended otherwise.
	FailStreak int `json:"fail_streak,omitempty"`
	// SafeStop is the reason of a safe stop; empty while there is none.
	SafeStop string `json:"safe_stop,omitempty"`
	// Outcomes holds the first outcome of every number.
	Outcomes Outcomes `json:"outcomes"`
	// Pending holds the attempts of the numbers without an outcome.
	Pending map[int]pendingAttempts `json:"open,omitempty"`
	// Unconfirmed holds the newest unconfirmed no-records in ledger order, Overflow those before
	// them.
	Unconfirmed []unconfirmedNoRecord `json:"row,omitempty"`
	Overflow    overflow              `json:"overflow,omitzero"`
	// NoRecordStreak counts the no-records since the last success or good canary; Canaries counts
	// the good canaries since the last success.
	NoRecordStreak int `json:"quiet,omitempty"`
	Canaries       int `json:"canaries,omitempty"`
	// CanaryRequests counts the requests of canaries, which Requests includes.
	CanaryRequests int `json:"checks,omitempty"`
	// NewestSuccesses are the numbers of the newest successes, the newest first.
	NewestSuccesses []int `json:"known,omitempty"`
	// Vanished is set when a canary has vanished; Voided then holds the numbers whose no-records
	// are void.
	Vanished *Vanished    `json:"gone,omitempty"`
	Voided   map[int]bool `json:"void,omitempty"`
}

// pendingAttempts are the counted attempts of one number.
type pendingAttempts struct {
	Seen    []attemptKey `json:"seen"`
	Seconds float64      `json:"seconds"`
	// Last is the latest start of an attempt.
	Last time.Time `json:"last,omitzero"`
}

// attemptKey identifies an attempt of a number. A blocked attempt does not use up its attempt
// number, so the next one may have the same; its start distinguishes it.
type attemptKey struct {
	Attempt int   `json:"attempt"`
	Blocked int64 `json:"blocked,omitempty"`
}

// Counted is an entry that the fold counted, with the number's attempts and seconds up to it.
type Counted struct {
	contract.Entry
	Attempts   int
	JobSeconds float64
	// Timestamp is the attempt's start, or that of the previous attempt when the wall clock was set
	// back between them.
	Timestamp time.Time
	kind      entryKind
}

// entryKind decides which files an entry is written to.
type entryKind int

// An amendment is an additional line for an attempt whose no-record is voided. A raw answer is that
// of a canary and has no line. A confirmation refers to an earlier no-record: it writes a key and
// no line.
const (
	kindAttempt entryKind = iota
	kindAmendment
	kindRawAnswer
	kindConfirmation
)

// Total is how many numbers have an outcome.
func (t *Tally) Total() int { return t.Succeeded + t.NoRecord + t.Failed }

// Blocked reports whether a number without an outcome met a block in its last attempt, or has a void
// no-record.
func (t *Tally) Blocked(number int) bool {
	seen := t.Pending[number].Seen
	return t.Voided[number] || len(seen) > 0 && seen[len(seen)-1].Blocked != 0
}

// Complete reports whether every job of the run is published and has its outcome.
func (t *Tally) Complete() bool {
	return t.Planned != nil && t.Total() >= t.Planned.Jobs && t.Vanished == nil
}

// AddEntry folds one entry. It returns false for an entry that is already known: its number has an
// outcome (the first one wins), or the attempt has been counted. A failLimit of 0 is no limit.
func (t *Tally) AddEntry(entry contract.Entry, failLimit int) (Counted, bool) {
	number := entry.CaseID.Number
	if t.Outcomes.Get(number) != "" || t.Voided[number] {
		return Counted{}, false
	}
	pending := t.Pending[number]
	key := keyOf(entry)
	if entry.Outcome == "" && slices.Contains(pending.Seen, key) {
		return Counted{}, false
	}
	voided := t.Vanished != nil && entry.Outcome == contract.NoRecord
	if voided {
		entry = t.asBlocked(entry)
	}
	if len(pending.Seen) > 0 {
		t.Retries++
	}
	pending.Seen = append(slices.Clip(pending.Seen), key)
	pending.Seconds += entry.Seconds
	pending.Last = later(pending.Last, entry.StartedAt)
	t.addAttempt(entry)
	switch {
	case voided:
		t.voidNumber(number)
	case entry.Outcome == "":
		if t.Pending == nil {
			t.Pending = map[int]pendingAttempts{}
		}
		t.Pending[number] = pending
	default:
		delete(t.Pending, number)
		t.addOutcome(entry, len(pending.Seen), failLimit)
	}
	return Counted{Entry: entry, Attempts: len(pending.Seen), JobSeconds: pending.Seconds, Timestamp: pending.Last}, true
}

func keyOf(entry contract.Entry) attemptKey {
	if entry.Verdict == contract.VerdictBlocked {
		return attemptKey{Attempt: entry.Attempt, Blocked: entry.StartedAt.UnixNano()}
	}
	return attemptKey{Attempt: entry.Attempt}
}

// addAttempt folds what is counted of every attempt, with an outcome or without.
func (t *Tally) addAttempt(entry contract.Entry) {
	t.addRequests(entry)
	end := entry.StartedAt.Add(time.Duration(entry.Seconds * float64(time.Second)))
	if t.First.IsZero() || entry.StartedAt.Before(t.First) {
		t.First = entry.StartedAt
	}
	if end.After(t.Last) {
		t.Last = end
	}
	t.Durations.Add(entry.Seconds)
}

// addRequests folds what is counted of every request, those of canaries included.
func (t *Tally) addRequests(entry contract.Entry) {
	t.Requests += len(entry.Requests)
	for _, request := range entry.Requests {
		if gap := request.GapSeconds; gap > 0 && (t.MinGap == 0 || gap < t.MinGap) {
			t.MinGap = gap
		}
		t.Waited += request.WaitedSeconds
		t.Slowed += request.SlowedSeconds
	}
}

func (t *Tally) addOutcome(entry contract.Entry, attempts, failLimit int) {
	t.Outcomes.Set(entry.CaseID.Number, entry.Outcome)
	switch entry.Outcome {
	case contract.Success:
		t.Succeeded++
		t.countFlags(entry.Record)
	case contract.NoRecord:
		t.NoRecord++
		t.addUnconfirmed(entry)
	case contract.Failed:
		t.Failed++
		t.countFailure(contract.ErrorSample{CaseID: entry.CaseID, Attempts: attempts, Error: entry.Error})
	}
	if entry.Outcome != contract.Failed {
		t.FailStreak = 0
		return
	}
	t.FailStreak++
	if failLimit > 0 && t.FailStreak == failLimit && t.SafeStop == "" && !t.Complete() {
		t.SafeStop = fmt.Sprintf("%d consecutive failed, the last was %s", failLimit, entry.CaseID)
	}
}

// countFlags counts the flags of a record. It decodes nothing else of it.
func (t *Tally) countFlags(record []byte) {
	name := []byte(`"flags": `)         // no text has a quotation mark without a backslash
	at := bytes.LastIndex(record, name) // the flags follow the docket
	if at < 0 || bytes.HasPrefix(record[at+len(name):], []byte("[]")) {
		return
	}
	list := record[at+len(name):]
	var flags []string
	// A record counts whatever its file holds: one that cannot be decoded carries no flag.
	_ = json.NewDecoder(bytes.NewReader(list)).Decode(&flags)
	for _, flag := range flags {
		if t.Flags == nil {
			t.Flags = map[string]int{}
		}
		t.Flags[flag]++
	}
}

// AddMessage folds one message of the ledger and returns the entries that were new.
func (t *Tally) AddMessage(m ledger.Message, failLimit int) []Counted {
	var fresh []Counted
	t.Sequence = m.Sequence
	for _, entry := range m.Entries {
		if entry, isNew := t.AddEntry(entry, failLimit); isNew {
			fresh = append(fresh, entry)
			if entry.Outcome == contract.Success {
				fresh = append(fresh, t.addSuccess(entry.Entry)...)
			}
		}
	}
	if m.Canary != nil {
		fresh = append(fresh, t.addCanary(m.Canary, m.After)...)
	}
	if m.Planned != nil {
		t.Planned = m.Planned
	}
	return fresh
}

// EndsJob reports whether the entry is the attempt that gave its number the outcome.
func (c Counted) EndsJob() bool { return c.Outcome != "" && c.kind == kindAttempt }

// WritesLine reports whether the entry has a line in the attempts file.
func (c Counted) WritesLine() bool { return c.kind == kindAttempt || c.kind == kindAmendment }

// Amends reports whether the entry takes a no-record back that was counted before.
func (c Counted) Amends() bool { return c.kind == kindAmendment }

// WritesKey reports whether the entry writes a key: for no-records only the confirmation does.
func (c Counted) WritesKey() bool {
	return c.Outcome != "" && (c.Outcome != contract.NoRecord || c.kind == kindConfirmation)
}

// Outcomes holds the outcome of every number of a series and year in two bits, indexed by number. A
// full year has 25 KB, small enough to be rewritten with every checkpoint. It grows to the highest
// number set.
type Outcomes []byte

// outcomeCodes are the outcomes in the order of their two-bit codes. Checkpoints store the codes, so
// the order must not change.
func outcomeCodes() [4]contract.Outcome {
	return [...]contract.Outcome{"", contract.Success, contract.NoRecord, contract.Failed}
}

// Get returns the outcome of a number; empty when it has none.
func (o Outcomes) Get(number int) contract.Outcome {
	at := number / 4
	if number < 0 || at >= len(o) {
		return ""
	}
	return outcomeCodes()[o[at]>>(number%4*2)&3]
}

// Set stores the outcome of a number from 1 to contract.MaxNumber.
func (o *Outcomes) Set(number int, outcome contract.Outcome) {
	at := number / 4
	for at >= len(*o) {
		*o = append(*o, 0)
	}
	shift, codes := number%4*2, outcomeCodes()
	(*o)[at] = (*o)[at]&^(3<<shift) | byte(max(0, slices.Index(codes[:], outcome)))<<shift
}

// CountWithin returns how many numbers of a range have each outcome.
func (o Outcomes) CountWithin(numbers contract.Range) map[contract.Outcome]int {
	counts := make(map[contract.Outcome]int)
	for number := numbers.Start; number <= min(numbers.End, o.Highest()); number++ {
		counts[o.Get(number)]++
	}
	return counts
}

// Highest is an upper limit of the numbers with an outcome.
func (o Outcomes) Highest() int { return len(o)*4 - 1 }

// causeCount counts the failed numbers of one cause, with the first of them as a sample.
type causeCount struct {
	contract.ErrorSample
	Cause string `json:"cause"`
}

// caseSpecific matches what differs between errors of one cause, and also status codes, which
// CauseOf keeps.
var caseSpecific = regexp.MustCompile(`(?i)status \d{3}\b` +
	`|"(?:[^"\\]|\\.)*(?:"|$)` + // quoted text of the site
	`|\b[A-Z]{1,5}-\d+-\d{2}\b` + // case ids
	`|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b` + // UUIDs and digests
	`|\[[0-9a-f:.]+\](?::\d+)?|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}` + // IPv6 addresses
	`|(?:\d+(?:[.,:]\d+)*(?:[nµm]?s\b|[mh]|\b)?)+`) // IPv4 addresses, sizes, durations and other numbers

// CauseOf returns an error's text without the parts that are specific to a case: numbers,
// addresses, sizes, quoted text.
func CauseOf(text string) string {
	return caseSpecific.ReplaceAllStringFunc(text, func(part string) string {
		if strings.HasPrefix(strings.ToLower(part), "status ") {
			return part
		}
		return "#"
	})
}

// OtherCauses begins the error of the sample that counts all further causes.
const OtherCauses = "other causes, such as: "

// countFailure counts a failed number under its cause. Causes beyond those that a report shows are
// counted as one.
func (t *Tally) countFailure(sample contract.ErrorSample) {
	sample.Count = 1
	cause := CauseOf(sample.Error)
	at := slices.IndexFunc(t.Errors, func(f causeCount) bool { return f.Cause == cause })
	last := contract.MaxErrorSamples - 1
	switch {
	case at >= 0:
		t.Errors[at].Count++
	case len(t.Errors) <= last:
		t.Errors = append(t.Errors, causeCount{sample, cause})
	default:
		if other := &t.Errors[last]; other.Cause != "" {
			other.Cause, other.Error = "", OtherCauses+other.Error
		}
		t.Errors[last].Count++
	}
}

// ErrorSamples returns the failed numbers by cause, the most frequent one first.
func (t *Tally) ErrorSamples() []contract.ErrorSample {
	samples := make([]contract.ErrorSample, 0, len(t.Errors))
	for _, f := range t.Errors {
		samples = append(samples, f.ErrorSample)
	}
	slices.SortStableFunc(samples, func(a, b contract.ErrorSample) int { return b.Count - a.Count })
	return samples
}
