package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// tally is the fold of a run's ledger: the counts of a run are this and nothing else. It is stored whole in
// the checkpoint, so folding goes on where it was. Folding the same entries again changes nothing.
type tally struct {
	// Sequence is the place in the stream of the last message folded.
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
	// Errors are the failed numbers by cause, in the order in which the causes came.
	Errors []causeCount `json:"errors,omitempty"`
	// Flags counts the records that carry each flag.
	Flags map[string]int `json:"flags,omitempty"`
	// FailStreak counts the jobs that ended last and failed, up to now.
	FailStreak int `json:"fail_streak,omitempty"`
	// SafeStop is why the run is to stop; empty while it need not.
	SafeStop string `json:"safe_stop,omitempty"`
	// Outcomes holds the first outcome of every number.
	Outcomes outcomes `json:"outcomes"`
	// Pending holds the attempts of the numbers that have some but no outcome yet.
	Pending map[int]pendingAttempts `json:"open,omitempty"`
	// Unconfirmed holds the newest unconfirmed no-records, in the order of the ledger, and Overflow those before them.
	Unconfirmed []unconfirmedNoRecord `json:"row,omitempty"`
	Overflow    overflow              `json:"overflow,omitzero"`
	// NoRecordStreak counts the no-records since the last success or good canary, Canaries the good canaries since the last success.
	NoRecordStreak int `json:"quiet,omitempty"`
	Canaries       int `json:"canaries,omitempty"`
	// CanaryRequests counts the requests of canaries; they are among Requests.
	CanaryRequests int `json:"checks,omitempty"`
	// NewestSuccesses are the numbers of the newest successes, the newest first.
	NewestSuccesses []int `json:"known,omitempty"`
	// Vanished is set when a canary has vanished; Void then holds the numbers whose no-records are taken back.
	Vanished *vanished    `json:"gone,omitempty"`
	Voided   map[int]bool `json:"void,omitempty"`
}

// pendingAttempts are the attempts of one number that are counted.
type pendingAttempts struct {
	Seen    []attemptKey `json:"seen"`
	Seconds float64      `json:"seconds"`
	// Last is the newest start of an attempt.
	Last time.Time `json:"last,omitzero"`
}

// attemptKey tells one attempt from another. A blocked attempt does not use up its number, so the next one may
// have the same: it is told apart by its start.
type attemptKey struct {
	Attempt int   `json:"attempt"`
	Blocked int64 `json:"blocked,omitempty"`
}

// countedEntry is an entry that the fold took, and what the job has behind it with this attempt.
type countedEntry struct {
	contract.Entry
	Attempts   int
	JobSeconds float64
	// Timestamp is the attempt's start, or that of the attempt before when the wall clock was set back between them.
	Timestamp time.Time
	kind      entryKind
}

// entryKind says what an entry is to the files.
type entryKind int

// The kinds. An amendment is a further line on an attempt whose no-record is taken back; evidence is a raw answer alone; a
// confirmation tells of a no-record that came before, and has no line.
const (
	kindAttempt entryKind = iota
	kindAmendment
	kindEvidence
	kindConfirmation
)

// total is how many numbers have reached an outcome.
func (t *tally) total() int { return t.Succeeded + t.NoRecord + t.Failed }

// complete says that every job of the run is published and has its outcome.
func (t *tally) complete() bool {
	return t.Planned != nil && t.total() >= t.Planned.Jobs && t.Vanished == nil
}

// add folds one entry. False means that it is known already: its number has an outcome (the first one wins),
// or this attempt of it has been counted.
func (t *tally) add(entry contract.Entry, failLimit int) (countedEntry, bool) {
	number := entry.CaseID.Number
	if t.Outcomes.get(number) != "" || t.Voided[number] {
		return countedEntry{}, false
	}
	open := t.Pending[number]
	this := keyOf(entry)
	if entry.Outcome == "" && slices.Contains(open.Seen, this) {
		return countedEntry{}, false
	}
	doubted := t.Vanished != nil && entry.Outcome == contract.NoRecord
	if doubted {
		entry = t.asBlocked(entry)
	}
	if len(open.Seen) > 0 {
		t.Retries++
	}
	open.Seen = append(slices.Clip(open.Seen), this)
	open.Seconds += entry.Seconds
	open.Last = latest(open.Last, entry.StartedAt)
	t.addAttempt(entry)
	switch {
	case doubted:
		t.voidNumber(number)
	case entry.Outcome == "":
		if t.Pending == nil {
			t.Pending = map[int]pendingAttempts{}
		}
		t.Pending[number] = open
	default:
		delete(t.Pending, number)
		t.settle(entry, len(open.Seen), failLimit)
	}
	return countedEntry{Entry: entry, Attempts: len(open.Seen), JobSeconds: open.Seconds, Timestamp: open.Last}, true
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

// Counts are how many numbers of a run have which outcome.
type Counts struct {
	Succeeded, NoRecord, Failed int
	// Planned is how many numbers the run asks for, 0 while that is not known.
	Planned int
}

// Count says how far a run has come by its ledger, whether or not somebody works on it: from the checkpoint, and what was stored since. It
// writes nothing. What cannot be understood of the ledger is ErrLedger. Of the options it needs Bus and Logger.
func Count(ctx context.Context, options Options, m contract.Manifest) (counts Counts, err error) {
	w := &worker{Service: New(options), manifest: m, ledger: ledger{bus: options.Bus, manifest: m}}
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return counts, err
	}
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return counts, err
	}
	t := point.Tally
	last, err := w.ledger.last(ctx)
	if err == nil {
		err = w.ledger.readFrom(ctx, t.Sequence, last, func(m message) error {
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
	// A record is counted whatever its file holds: one that cannot be read carries no flag.
	_ = json.Unmarshal(record, &has)
	for _, flag := range has.Flags {
		if t.Flags == nil {
			t.Flags = map[string]int{}
		}
		t.Flags[flag]++
	}
}
