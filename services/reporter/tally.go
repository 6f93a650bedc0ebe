package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// tally is the fold of a run's ledger, and the only source of the run's counts. The checkpoint
// stores it completely, so that folding continues where it was. Folding the same entries again
// changes nothing.
type tally struct {
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
	Outcomes outcomes `json:"outcomes"`
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
	Vanished *vanished    `json:"gone,omitempty"`
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

// countedEntry is an entry that the fold counted, with the number's attempts and seconds up to it.
type countedEntry struct {
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

// An amendment is an additional line for an attempt whose no-record is voided. Evidence is a raw
// answer without a line. A confirmation refers to an earlier no-record: it writes a key and no
// line.
const (
	kindAttempt entryKind = iota
	kindAmendment
	kindRawAnswer
	kindConfirmation
)

// total is how many numbers have an outcome.
func (t *tally) total() int { return t.Succeeded + t.NoRecord + t.Failed }

// complete reports whether every job of the run is published and has its outcome.
func (t *tally) complete() bool {
	return t.Planned != nil && t.total() >= t.Planned.Jobs && t.Vanished == nil
}

// add folds one entry. It returns false for an entry that is already known: its number has an
// outcome (the first one wins), or the attempt has been counted. A failLimit of 0 is no limit.
func (t *tally) add(entry contract.Entry, failLimit int) (countedEntry, bool) {
	number := entry.CaseID.Number
	if t.Outcomes.get(number) != "" || t.Voided[number] {
		return countedEntry{}, false
	}
	pending := t.Pending[number]
	key := keyOf(entry)
	if entry.Outcome == "" && slices.Contains(pending.Seen, key) {
		return countedEntry{}, false
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
	pending.Last = latest(pending.Last, entry.StartedAt)
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
		t.settle(entry, len(pending.Seen), failLimit)
	}
	return countedEntry{Entry: entry, Attempts: len(pending.Seen), JobSeconds: pending.Seconds, Timestamp: pending.Last}, true
}

func keyOf(entry contract.Entry) attemptKey {
	if entry.Verdict == contract.VerdictBlocked {
		return attemptKey{Attempt: entry.Attempt, Blocked: entry.StartedAt.UnixNano()}
	}
	return attemptKey{Attempt: entry.Attempt}
}

// addAttempt folds what is counted of every attempt, settled or not.
func (t *tally) addAttempt(entry contract.Entry) {
	t.addRequests(entry)
	end := entry.StartedAt.Add(time.Duration(entry.Seconds * float64(time.Second)))
	if t.First.IsZero() || entry.StartedAt.Before(t.First) {
		t.First = entry.StartedAt
	}
	if end.After(t.Last) {
		t.Last = end
	}
	d := &t.Durations
	if d.Count == 0 || entry.Seconds < d.Min {
		d.Min = entry.Seconds
	}
	d.Max = max(d.Max, entry.Seconds)
	d.Sum += entry.Seconds
	d.Count++
}

// addRequests folds what is counted of every request, those of canaries included.
func (t *tally) addRequests(entry contract.Entry) {
	t.Requests += len(entry.Requests)
	for _, request := range entry.Requests {
		if gap := request.GapSeconds; gap > 0 && (t.MinGap == 0 || gap < t.MinGap) {
			t.MinGap = gap
		}
		t.Waited += request.WaitedSeconds
		t.Slowed += request.SlowedSeconds
	}
}

func (t *tally) settle(entry contract.Entry, attempts, failLimit int) {
	t.Outcomes.set(entry.CaseID.Number, entry.Outcome)
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
	if failLimit > 0 && t.FailStreak == failLimit && t.SafeStop == "" && !t.complete() {
		t.SafeStop = fmt.Sprintf("%d consecutive failed, the last was %s", failLimit, entry.CaseID)
	}
}

// Counts are the numbers of a run by outcome.
type Counts struct {
	Succeeded, NoRecord, Failed int
	// Planned is how many jobs the run has; 0 while that is not known.
	Planned int
}

// Count returns the counts of a run, whether or not a reporter works on it: those of its checkpoint
// plus the ledger since. It writes nothing. A ledger that cannot be decoded is
// ledger.ErrMismatch. Of the options it uses Bus and Logger.
func Count(ctx context.Context, options Options, m contract.Manifest) (counts Counts, err error) {
	w := &worker{Service: New(options), manifest: m, ledger: ledger.Reader{Bus: options.Bus, Manifest: m}}
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return counts, err
	}
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return counts, err
	}
	t := point.Tally
	last, err := w.ledger.Last(ctx)
	if err == nil {
		err = w.ledger.ReadRange(ctx, t.Sequence, last, func(m ledger.Message) error {
			t.take(m, w.manifest.SafeStopFails)
			return nil
		})
	}
	counts = Counts{Succeeded: t.Succeeded, NoRecord: t.NoRecord, Failed: t.Failed}
	if t.Planned != nil {
		counts.Planned = t.Planned.Jobs
	}
	return counts, err
}

// countFlags counts the flags of a record. Only a record that has some is decoded.
func (t *tally) countFlags(record []byte) {
	if !bytes.Contains(record, []byte(`"flags"`)) {
		return
	}
	var has struct {
		Flags []string `json:"flags"`
	}
	// A record counts whatever its file holds: one that cannot be decoded carries no flag.
	_ = json.Unmarshal(record, &has)
	for _, flag := range has.Flags {
		if t.Flags == nil {
			t.Flags = map[string]int{}
		}
		t.Flags[flag]++
	}
}
