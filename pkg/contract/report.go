package contract

import "time"

// MaxErrorSamples is how many causes of failures a report shows.
const MaxErrorSamples = 20

// Report is the summary of a run; every key is always present.
type Report struct {
	RunID   RunID  `json:"run_id"`
	Start   int    `json:"start"`
	End     int    `json:"end"`
	StartID string `json:"start_id"`
	// EndID is below StartID when the range has no number, and empty when there is none below.
	EndID string `json:"end_id"`
	// Total is how many numbers from Start to End this run brought to an outcome: Succeeded +
	// NoRecord + Failed.
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	NoRecord  int `json:"no_record"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	// Unconfirmed is how many no-records, those above End included, were followed neither by a
	// record of the site nor by a successful canary. They are not collected, and the next run
	// fetches them again.
	Unconfirmed int `json:"unconfirmed"`
	// Beyond is how many numbers above End the search for the bound brought to an outcome.
	Beyond int `json:"beyond"`
	// TotalAttempted is Total + Beyond, and also SuccessCount + NoRecordCount + FailedCount, which
	// include the numbers above End.
	TotalAttempted int       `json:"total_attempted"`
	SuccessCount   int       `json:"success_count"`
	NoRecordCount  int       `json:"no_record_count"`
	FailedCount    int       `json:"failed_count"`
	StartedAt      time.Time `json:"started_at"`
	FinishedAt     time.Time `json:"finished_at"`
	// DurationSeconds is the length of all rounds by the monotonic clock, without the time between
	// them.
	DurationSeconds float64 `json:"duration_seconds"`
	Status          Status  `json:"status"`
	Reason          string  `json:"reason"`
	// Remaining is how many numbers from Start to End are left; an upper limit while the bound is
	// unknown.
	Remaining int `json:"remaining"`
	// NextCommand is the shell command that resumes the run; empty if it is completed or ended by
	// an error.
	NextCommand string `json:"next_command"`
	// UpperBound is the highest number that the search proved to exist; 0 without a search.
	UpperBound int `json:"upper_bound"`
	// UpperBoundConfidence is the probability that no number above UpperBound+200 exists; always
	// below 1, and 0 when UpperBoundAtLimit. UpperBoundAtLimit: the searched range ends at the
	// bound or below it, so higher numbers may exist.
	UpperBoundConfidence float64 `json:"upper_bound_confidence"`
	UpperBoundAtLimit    bool    `json:"upper_bound_at_limit"`
	// UpperBoundAgeSeconds is the age, at the run's end, of the oldest earlier answer that the
	// bound is based on; 0 if the search fetched all of them itself.
	UpperBoundAgeSeconds float64 `json:"upper_bound_age_seconds"`
	// ProbesUsed is how many requests the search sent.
	ProbesUsed int `json:"probes_used"`
	// Requests is how many requests were sent, those of retries and canaries included.
	Requests int `json:"requests"`
	// CanaryRequests is how many of the requests fetched a case known to exist, to check that the
	// site still shows it.
	CanaryRequests int `json:"canary_requests"`
	Retries        int `json:"retries"`
	// SlowedSeconds is how long requests were delayed because of trouble of the site, summed over
	// the fetchers' processes. WaitedSeconds sums the waits of more than 5 s for trouble of the
	// site, quiet hours, a rest or the crawl delay of robots.txt.
	SlowedSeconds float64 `json:"slowed_seconds"`
	WaitedSeconds float64 `json:"waited_seconds"`
	// MinRequestGapSeconds is the smallest gap between two request starts; 0 if there was none.
	MinRequestGapSeconds float64 `json:"min_request_gap_seconds"`
	// Errors are the failed cases by cause, the most frequent first. Their counts add up to
	// FailedCount.
	Errors []ErrorSample `json:"errors"`
	// Flags is how many of the SuccessCount new records have each flag.
	Flags map[string]int `json:"flags"`
	// Config holds the effective settings of the process that planned the run, and those of the
	// fetchers that its requests depended on, secrets masked. A setting that differs between
	// fetchers is the list of its values.
	Config  map[string]any `json:"config"`
	Version string         `json:"version"`
	Metrics Metrics        `json:"metrics"`
}

// TooManyHeaderOnly reports whether more than a tenth of the new records are header-only: the site
// may have omitted the dockets.
func (r Report) TooManyHeaderOnly() bool { return 10*r.Flags[FlagHeaderOnly] > r.SuccessCount }

// ErrorSample is one cause of failures in a report, with the first case that failed because of it.
type ErrorSample struct {
	CaseID   CaseID `json:"case_id"`
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
	// Count is how many cases failed with errors that differ at most in case ids, numbers,
	// addresses and quoted text.
	Count int `json:"count"`
}

// Metrics are the figures that the status server also reports, under the same names.
type Metrics struct {
	RunDurationSeconds float64     `json:"batch.run.duration_seconds"`
	JobDurationSeconds JobDuration `json:"batch.job.duration_seconds"`
	JobRetryCount      int         `json:"batch.job.retry_count"`
	RunFailureRate     float64     `json:"batch.run.failure_rate"`
}

// JobDuration summarises the durations of the attempts, in seconds from the start of the first
// request to the complete answer.
type JobDuration struct {
	Count int     `json:"count"`
	Sum   float64 `json:"sum"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
}

// Audit is the summary of the counts in the form that the spec defines. They add up to
// TotalAttempted and include the numbers above EndID that the search fetched.
type Audit struct {
	StartID        string    `json:"start_id"`
	EndID          string    `json:"end_id"`
	TotalAttempted int       `json:"total_attempted"`
	SuccessCount   int       `json:"success_count"`
	NoRecordCount  int       `json:"no_record_count"`
	FailedCount    int       `json:"failed_count"`
	StartedAt      time.Time `json:"started_at"`
	FinishedAt     time.Time `json:"finished_at"`
	RunID          RunID     `json:"run_id"`
	// Failed lists the FailedCount numbers that failed, in the order of the ledger.
	Failed []CrawlResult `json:"failed"`
}

// CrawlResult describes one failed number.
type CrawlResult struct {
	CaseID CaseID `json:"case_id"`
	// Attempts is the number of attempts, Error the error of the last one.
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
	// HTMLPath is the file of the last raw answer, relative to the output folder; empty if there
	// was none.
	HTMLPath string `json:"html_path"`
}

// AttemptLine is one line of the attempts file.
type AttemptLine struct {
	RunID      RunID     `json:"run_id"`
	CaseID     CaseID    `json:"case_id"`
	Attempt    int       `json:"attempt"`
	Outcome    string    `json:"outcome"`
	StatusCode int       `json:"status_code"`
	Timestamp  time.Time `json:"timestamp"`
	DurationMS float64   `json:"duration_ms"`
	Error      string    `json:"error"`
	// HTMLPath is the file of the raw answer, relative to the output folder; empty if none was
	// stored.
	HTMLPath string   `json:"html_path"`
	Notes    []string `json:"notes"`
}

// Checkpoint is the content of the file that is written at every stop.
type Checkpoint struct {
	RunID RunID `json:"run_id"`
	Range Range `json:"range"`
	// NextNumber is the lowest number of the range that has no outcome yet; End+1 if none.
	NextNumber int       `json:"next_number"`
	Total      int       `json:"total"`
	Succeeded  int       `json:"succeeded"`
	NoRecord   int       `json:"no_record"`
	Failed     int       `json:"failed"`
	Status     Status    `json:"status"`
	Reason     string    `json:"reason"`
	WrittenAt  time.Time `json:"written_at"`
}

// Event is the body of batch.event.<run_id>.<started|progress|finished>.
type Event struct {
	RunID  RunID     `json:"run_id"`
	At     time.Time `json:"at"`
	Status Status    `json:"status"`
	Range  Range     `json:"range"`
	// Planned is how many numbers of Range are to be fetched; 0 while unknown. The counts are of
	// numbers of Range.
	Planned   int `json:"planned"`
	Succeeded int `json:"succeeded"`
	NoRecord  int `json:"no_record"`
	Failed    int `json:"failed"`
	Retries   int `json:"retries"`
	// Wait is why no request is sent; it is set only in the event waiting.
	Wait *Wait `json:"wait,omitempty"`
	// Metrics are the figures of the run so far; nil in the event started.
	Metrics *Metrics `json:"metrics,omitempty"`
	Report  *Report  `json:"report,omitempty"`
}
