package reporter

import (
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
	Errors []failures `json:"errors,omitempty"`
	// Flags counts the records that carry each flag.
	Flags map[string]int `json:"flags,omitempty"`
	// FailStreak counts the jobs that ended last and failed, up to now.
	FailStreak int `json:"fail_streak,omitempty"`
	// SafeStop is why the run is to stop; empty while it need not.
	SafeStop string `json:"safe_stop,omitempty"`
	// Outcomes holds the first outcome of every number.
	Outcomes outcomes `json:"outcomes"`
	// Open holds the attempts of the numbers that have some but no outcome yet.
	Open map[int]tries `json:"open,omitempty"`
	// Row holds the newest unconfirmed no-records, in the order of the ledger, and Overflow those before them.
	Row      []absence `json:"row,omitempty"`
	Overflow overflow  `json:"overflow,omitzero"`
	// Quiet counts the no-records since the last success or good canary, Canaries the good canaries since the last success.
	Quiet    int `json:"quiet,omitempty"`
	Canaries int `json:"canaries,omitempty"`
	// Checks counts the requests of canaries; they are among Requests.
	Checks int `json:"checks,omitempty"`
	// Known are the numbers of the newest successes, the newest first.
	Known []int `json:"known,omitempty"`
	// Gone is set when a canary has vanished; Void then holds the numbers whose no-records are taken back.
	Gone *gone        `json:"gone,omitempty"`
	Void map[int]bool `json:"void,omitempty"`
}

// tries are the attempts of one number that are counted.
type tries struct {
	Seen    []try   `json:"seen"`
	Seconds float64 `json:"seconds"`
	// Last is the newest start of an attempt.
	Last time.Time `json:"last,omitzero"`
}

// try tells one attempt from another. A blocked attempt does not use up its number, so the next one may
// have the same: it is told apart by its start.
type try struct {
	Attempt int   `json:"attempt"`
	Blocked int64 `json:"blocked,omitempty"`
}

// counted is an entry that the fold took, and what the job has behind it with this attempt.
type counted struct {
	contract.Entry
	Attempts   int
	JobSeconds float64
	// Timestamp is the attempt's start, or that of the attempt before when the wall clock was set back between them.
	Timestamp time.Time
	kind      kind
}

// kind says what an entry is to the files.
type kind int

// The kinds. An amendment is a further line on an attempt whose no-record is taken back; evidence is a raw answer alone; a
// confirmation tells of a no-record that came before, and has no line.
const (
	attempted kind = iota
	amendment
	evidence
	confirmation
)

// total is how many numbers have reached an outcome.
func (t *tally) total() int { return t.Succeeded + t.NoRecord + t.Failed }

// complete says that every job of the run is published and has its outcome.
func (t *tally) complete() bool {
	return t.Planned != nil && t.total() >= t.Planned.Jobs && t.Gone == nil
}

// add folds one entry. False means that it is known already: its number has an outcome (the first one wins),
// or this attempt of it has been counted.
func (t *tally) add(entry contract.Entry, failLimit int) (counted, bool) {
	number := entry.CaseID.Number
	if t.Outcomes.get(number) != "" || t.Void[number] {
		return counted{}, false
	}
	open := t.Open[number]
	this := tryOf(entry)
	if entry.Outcome == "" && slices.Contains(open.Seen, this) {
		return counted{}, false
	}
	doubted := t.Gone != nil && entry.Outcome == contract.NoRecord
	if doubted {
		entry = t.doubted(entry)
	}
	if len(open.Seen) > 0 {
		t.Retries++
	}
	open.Seen = append(slices.Clip(open.Seen), this)
	open.Seconds += entry.Seconds
	open.Last = latest(open.Last, entry.StartedAt)
	t.measure(entry)
	switch {
	case doubted:
		t.void(number)
	case entry.Outcome == "":
		if t.Open == nil {
			t.Open = map[int]tries{}
		}
		t.Open[number] = open
	default:
		delete(t.Open, number)
		t.settle(entry, len(open.Seen), failLimit)
	}
	return counted{Entry: entry, Attempts: len(open.Seen), JobSeconds: open.Seconds, Timestamp: open.Last}, true
}

func tryOf(entry contract.Entry) try {
	if entry.Verdict == contract.VerdictBlocked {
		return try{Attempt: entry.Attempt, Blocked: entry.StartedAt.UnixNano()}
	}
	return try{Attempt: entry.Attempt}
}

// measure folds what is counted of every attempt, settled or not.
func (t *tally) measure(entry contract.Entry) {
	t.request(entry)
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

// request folds what is counted of every request, those of canaries included.
func (t *tally) request(entry contract.Entry) {
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
		t.flagged(entry.Record)
	case contract.NoRecord:
		t.NoRecord++
		t.missing(entry)
	case contract.Failed:
		t.Failed++
		t.failed(contract.ErrorSample{CaseID: entry.CaseID, Attempts: attempts, Error: entry.Error})
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
