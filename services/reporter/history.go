package reporter

import (
	"time"

	"fct-scraper/pkg/contract"
)

// History is everything that is kept about one number, over all runs.
type History struct {
	CaseID contract.CaseID `json:"case_id"`
	// Asked says that a job for the number was ever planned.
	Asked bool `json:"asked"`
	// Collected is why no run asks for it any more, Failed why the next one asks for it first; nil when there is no such key.
	Collected *contract.Collected `json:"collected"`
	Failed    *contract.Collected `json:"failed"`
	// Record is where its record lies; nil when no run has brought one.
	Record *StoredFile `json:"record"`
	// Runs are the runs that had a job for it, the oldest first.
	Runs []RunHistory `json:"runs"`
	// LeftOutBy are the runs of a range with the number in it that did not ask for it, because it was collected.
	LeftOutBy []contract.RunID `json:"left_out_by"`
	// Blocks are the blocks in force, or last in force, of sites that the number met or caused.
	Blocks []SiteBlock `json:"blocks"`
}

// StoredFile is a file of the output folder.
type StoredFile struct {
	// Path is from the output folder on, with slashes.
	Path string `json:"path"`
	// There says that the file is there now.
	There bool `json:"there"`
}

// SiteBlock is a block and the site that it is of.
type SiteBlock struct {
	Site string `json:"site"`
	contract.SiteBlock
}

// RunHistory is what one run did for the number.
type RunHistory struct {
	RunID contract.RunID `json:"run_id"`
	Site  string         `json:"site"`
	Range contract.Range `json:"range"`
	// Status and Reason say how the run stands now.
	Status contract.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
	// MaxAttempts is how many attempts a job of the run has.
	MaxAttempts int `json:"max_attempts"`
	// PlannedAt is when the job was stored; zero when nothing says so any more.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// Attempts are in the order of the ledger.
	Attempts []AttemptHistory `json:"attempts"`
	// Outcome is the number's in this run; empty while it is pending.
	Outcome contract.Outcome `json:"outcome,omitempty"`
	// Stops are the ends of the run's rounds that came while the number was pending. The server keeps the last five words
	// on how a run stands, so that of a run that was stopped often only the last are told.
	Stops []Stop `json:"stops"`
}

// Stop is the end of a round of a run.
type Stop struct {
	Status contract.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
	At     time.Time       `json:"at"`
}

// AttemptHistory is one attempt. Its verdict is empty while the answer waits for the classifier.
type AttemptHistory struct {
	contract.Entry
	// Counts is false for an entry that says again what an earlier one said, or came after the outcome.
	Counts bool `json:"counts"`
	// WaitSeconds is how long the number is left alone, from the end of the last request until RetryAt.
	WaitSeconds float64 `json:"wait_seconds,omitempty"`
	// RawFiles are the raw answers that were kept.
	RawFiles []StoredFile `json:"raw_files"`
}

// ended is the end of the attempt's last request.
func (a AttemptHistory) ended() time.Time {
	if len(a.Requests) == 0 {
		return a.StartedAt
	}
	last := a.Requests[len(a.Requests)-1]
	return last.StartedAt.Add(time.Duration(last.Seconds * float64(time.Second)))
}

// settled is when the number got its outcome in this run; false while it is pending.
func (r RunHistory) settled() (time.Time, bool) {
	for _, attempt := range r.Attempts {
		if attempt.Counts && attempt.Outcome != "" {
			return attempt.ended(), true
		}
	}
	return time.Time{}, false
}
