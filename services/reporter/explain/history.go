// Package explain collects everything that is stored about one number: the runs that had a job for
// it, their attempts, its files and keys, and the blocks that it met.
package explain

import (
	"time"

	"fct-scraper/pkg/contract"
)

// History is everything that is stored about one number, over all runs.
type History struct {
	CaseID contract.CaseID `json:"case_id"`
	// Asked is true if a job for the number was ever planned.
	Asked bool `json:"asked"`
	// Collected is the key that makes runs skip the number, Failed the one that makes the next run
	// fetch it first; nil when there is no such key.
	Collected *contract.Collected `json:"collected"`
	Failed    *contract.Collected `json:"failed"`
	// Record is the file of its record; nil when no run has collected one.
	Record *StoredFile `json:"record"`
	// Runs are the runs that had a job for it, the oldest first.
	Runs []RunHistory `json:"runs"`
	// LeftOutBy are the runs that skipped the number, although it is in their range, because it was
	// collected.
	LeftOutBy []contract.RunID `json:"left_out_by"`
	// Blocks are the current or last blocks of sites that the number met or caused.
	Blocks []SiteBlock `json:"blocks"`
}

// StoredFile is a file of the output folder.
type StoredFile struct {
	// Path is relative to the output folder, with slashes.
	Path string `json:"path"`
	// There is true if the file exists now.
	There bool `json:"there"`
}

// SiteBlock is a block and its site.
type SiteBlock struct {
	Site string `json:"site"`
	contract.SiteBlock
}

// RunHistory is what one run did for the number.
type RunHistory struct {
	RunID contract.RunID `json:"run_id"`
	Site  string         `json:"site"`
	Range contract.Range `json:"range"`
	// Status and Reason are the run's current state.
	Status contract.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
	// MaxAttempts is how many attempts a job of the run has.
	MaxAttempts int `json:"max_attempts"`
	// PlannedAt is when the job was stored; zero when that is no longer known.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// Attempts are in the order of the ledger.
	Attempts []AttemptHistory `json:"attempts"`
	// Outcome is the number's outcome in this run; empty while it is pending.
	Outcome contract.Outcome `json:"outcome,omitempty"`
	// Stops are the ends of the run's rounds while the number was pending. The server keeps the
	// last five states of a run, so that earlier stops may be missing.
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
	// Counts is false for an entry that repeats an earlier one, or came after the outcome.
	Counts bool `json:"counts"`
	// WaitSeconds is the wait before the next attempt, from the end of the last request until
	// RetryAt.
	WaitSeconds float64 `json:"wait_seconds,omitempty"`
	// RawFiles are the stored raw answers.
	RawFiles []StoredFile `json:"raw_files"`
}

// outcomeAt is when the number got its outcome in this run; false while it is pending.
func (r RunHistory) outcomeAt() (time.Time, bool) {
	for _, attempt := range r.Attempts {
		if attempt.Counts && attempt.Outcome != "" {
			return attempt.EndedAt(), true
		}
	}
	return time.Time{}, false
}
