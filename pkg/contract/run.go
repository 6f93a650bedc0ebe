package contract

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// ControlSpec is the body of batch.stop, batch.pause, batch.resume and batch.tune. All but the last
// have the run id alone. As the body of a command, durations have the form of settings (Body).
type ControlSpec struct {
	RunID RunID `json:"run_id"`
	Tuning
}

// Body returns s as the body of a command.
func (s ControlSpec) Body() ([]byte, error) {
	body := map[string]any{"run_id": s.RunID}
	maps.Copy(body, s.Settings(time.Duration.String))
	return json.Marshal(body)
}

// Rejection is the body of batch.rejected: why a command had no effect.
type Rejection struct {
	Subject string `json:"subject"`
	// Sequence is the command's sequence in its stream; 0 if the stream did not store it.
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
	// Problems lists the wrong fields, if any.
	Problems []Problem `json:"problems,omitempty"`
	At       time.Time `json:"at"`
}

// Problem describes one wrong field of a command. Field and Value are foreign text, truncated.
type Problem struct {
	Field string `json:"field"`
	Value string `json:"value,omitempty"`
	// Reason is why the value is not allowed, if that is more than its form.
	Reason  string `json:"reason,omitempty"`
	Allowed string `json:"allowed"`
}

// CommandReply is a generator's reply to a command that was sent as a request. Stream and Sequence
// have the form of a JetStream acknowledgement, so that a JetStream client can read the reply as
// one.
type CommandReply struct {
	RunID RunID `json:"run_id,omitempty"`
	// Error is why the command had no effect; empty otherwise.
	Error    string `json:"error,omitempty"`
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
}

// CommandResult is stored for each command, so that a redelivered one is carried out once.
type CommandResult struct {
	RunID RunID `json:"run_id,omitempty"`
	// Rejected is why nothing was started; empty if a run was started or resumed.
	Rejected string `json:"rejected,omitempty"`
	// Digest is the command's digest, by which its sender finds the result.
	Digest string `json:"digest,omitempty"`
	// At is when the stream stored the command. A recreated stream assigns the same sequences
	// again.
	At time.Time `json:"at,omitzero"`
}

// Manifest describes a run, with every default filled in. It changes once during the run: when the
// prober has found the bound, which then ends the range. Resuming a stopped run renews its
// RunSettings.
type Manifest struct {
	Version int    `json:"v"`
	RunID   RunID  `json:"run_id"`
	Prefix  string `json:"prefix"`
	Year    string `json:"year"`
	Range   Range  `json:"range"`
	// IDs are the cases of the run, if it has a list; Range is then from the first to the last one.
	IDs CaseList `json:"ids,omitzero"`
	// Batch is the identity of the batch: starts with the same identity are the same batch.
	Batch string `json:"batch"`
	Site  string `json:"site"`
	// Origin is the site's address in the process that planned the run; empty if it is unknown.
	Origin string `json:"origin,omitempty"`
	RunSettings
	// ProbeSpent is how many requests the search had sent when the run was last resumed; the budget
	// comes on top.
	ProbeSpent int `json:"probe_spent,omitempty"`
	// Bound is the result of the search; nil while it runs.
	Bound *Bound `json:"bound,omitempty"`
	// With New, all no-records above RecheckAbove are fetched again, otherwise those collected before
	// RecheckBefore. Zero selects none.
	RecheckAbove  int       `json:"recheck_above,omitempty"`
	RecheckBefore time.Time `json:"recheck_before,omitzero"`
	CreatedAt     time.Time `json:"created_at"`
	// Config is the effective configuration of the process that planned the run, secrets masked.
	Config map[string]any `json:"config,omitempty"`
	// Command is the body of the batch.start that started the run last, without ids.
	Command json.RawMessage `json:"command,omitempty"`
	// Program is the version of the program that planned the run.
	Program string `json:"program"`
}

// Case is the case id of a number of the run.
func (m Manifest) Case(number int) CaseID {
	return CaseID{Series: m.Prefix, Year: m.Year, Number: number}
}

// Selects reports whether a number belongs to the run.
func (m Manifest) Selects(number int) bool {
	return m.Range.Contains(number) && (m.IDs.IsZero() || m.IDs.Contains(number))
}

// Numbers yields the numbers of the run, ascending.
func (m Manifest) Numbers() iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := m.Range.Start; n <= m.Range.End; n++ {
			if m.Selects(n) && !yield(n) {
				return
			}
		}
	}
}

// Count is how many numbers of a range the run has, as far as its list decides.
func (m Manifest) Count(within Range) int {
	if m.IDs.IsZero() {
		return within.Size()
	}
	count := 0
	for n := range m.IDs.Numbers() {
		if within.Contains(n) {
			count++
		}
	}
	return count
}

// Skips reports whether the run skips a number that is collected with this value; the zero value
// stands for a number that is not collected.
func (m Manifest) Skips(number int, collected Collected) bool {
	switch collected.Outcome {
	case Success:
		return !m.Force
	case NoRecord:
		again := number > m.RecheckAbove && (m.New || collected.At.Before(m.RecheckBefore))
		return !m.Force && !m.Recheck && !again
	default:
		return false
	}
}

// Searching reports whether the run's range is not known yet.
func (m Manifest) Searching() bool { return m.Probe && m.Bound == nil }

// Bound is the highest number of a series and year that a search proved to exist, and the
// confidence that no higher one exists.
type Bound struct {
	// Number is 0 if none was found.
	Number int `json:"number"`
	// AtLimit: the searched range ends at Number or below it, so higher numbers may exist, whatever
	// Confidence and Exact are.
	AtLimit bool `json:"at_limit,omitempty"`
	// FiledOn is the filing day of its record, YYYY-MM-DD, when it is known.
	FiledOn string `json:"filed_on,omitempty"`
	// Confidence is the probability that no number above Number+200 exists, provided that no gap of
	// 200 or more is close below the highest number. Exact is the probability that no number above
	// Number exists. Both are below 1.
	Confidence float64 `json:"confidence"`
	Exact      float64 `json:"exact"`
	// Ending is why the search ended: done, or budget, waste or unreachable if it could not finish.
	Ending string `json:"ending"`
	// NumbersProbed is how many numbers were fetched, Requests how many requests that took.
	NumbersProbed int `json:"questions"`
	Requests      int `json:"requests"`
	// Absences are the numbers above Number that were confirmed not to exist.
	Absences []int `json:"absences"`
	// KnownSince is the time of the oldest of those answers that an earlier run had fetched; zero
	// if the search fetched all.
	KnownSince time.Time `json:"known_since,omitzero"`
}

// State is the status of a run. The generator writes Running, the reporter every other one.
type State struct {
	Status Status    `json:"status"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	// Round counts the starts of the run, the first included.
	Round int `json:"round"`
	// Superseded: the run is never resumed. A run of another batch was started for the same series
	// and year after it was stopped, or its no-records were withdrawn. The same batch, started
	// again, becomes a new run.
	Superseded bool `json:"superseded,omitempty"`
	// SearchUnfinished: the search for the bound could not finish and no number had failed, so the
	// same batch resumes the run. Only a new run fetches failed numbers again.
	SearchUnfinished bool `json:"unfinished,omitempty"`
	// ElapsedSeconds is how long the rounds that have ended lasted, by the monotonic clock.
	ElapsedSeconds float64 `json:"elapsed,omitempty"`
	// Requests is how many requests the rounds that have ended had sent.
	Requests int     `json:"requests,omitempty"`
	Report   *Report `json:"report,omitempty"`
	// File is the report's name in the output folder; empty if it could not be written.
	File string `json:"file,omitempty"`
}

// Resumable reports whether the same batch, started again, resumes the run.
func (s State) Resumable() bool { return (s.Status.Resumable() || s.SearchUnfinished) && !s.Superseded }

// Halt is the order to stop working on a run. The first one written counts.
type Halt struct {
	Status Status    `json:"status"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Deadline is when work in progress is cancelled; zero leaves it to its own timeouts.
	Deadline time.Time `json:"deadline,omitzero"`
	// Command is the sequence of the newest batch.stop of the run, and CommandAt when the stream
	// stored it. An earlier start that is carried out later does nothing.
	Command   uint64    `json:"command,omitempty"`
	CommandAt time.Time `json:"command_at,omitzero"`
}

// Control is how operators steer a running run. The generator writes it; the fetchers and the
// reporter follow it. A missing key is the zero Control.
type Control struct {
	// Paused: the fetchers of the run start no case. Reason and At are why and since when.
	Paused bool      `json:"paused,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
	// Tuning is what is in force in this round in place of the settings of the fetchers.
	Tuning
	// Changes are the newest commands that changed the run, of all rounds, the oldest first; at most
	// MaxControlChanges.
	Changes []ControlChange `json:"changes,omitempty"`
	// Command is the sequence of the newest command that changed the run, and CommandAt when the
	// stream stored it. An earlier command that is carried out later does nothing.
	Command   uint64    `json:"command,omitempty"`
	CommandAt time.Time `json:"command_at,omitzero"`
}

// MaxControlChanges is how many changes of a run are kept.
const MaxControlChanges = 100

// Tuning are settings of fetchers that were changed for a running run; nil is unchanged. Durations
// are in nanoseconds.
type Tuning struct {
	DelayMin    *time.Duration `json:"delay_min,omitempty" zero:"allowed"`
	DelayMax    *time.Duration `json:"delay_max,omitempty" zero:"allowed"`
	Concurrency *int           `json:"concurrency,omitempty" min:"1" max:"64"`
}

// Settings returns what is changed by the keys of the settings, durations as text.
func (t Tuning) Settings(format func(time.Duration) string) map[string]any {
	settings := make(map[string]any)
	for key, length := range map[string]*time.Duration{"delay_min": t.DelayMin, "delay_max": t.DelayMax} {
		if length != nil {
			settings[key] = format(*length)
		}
	}
	if t.Concurrency != nil {
		settings["concurrency"] = *t.Concurrency
	}
	return settings
}

// With returns t with the changes of later.
func (t Tuning) With(later Tuning) Tuning {
	return Tuning{DelayMin: cmp.Or(later.DelayMin, t.DelayMin), DelayMax: cmp.Or(later.DelayMax, t.DelayMax),
		Concurrency: cmp.Or(later.Concurrency, t.Concurrency)}
}

// Changed adds a command to the changes of c and drops the oldest beyond MaxControlChanges.
func (c Control) Changed(change ControlChange) Control {
	c.Changes = append(slices.Clone(c.Changes), change)
	c.Changes = c.Changes[max(0, len(c.Changes)-MaxControlChanges):]
	return c
}

// ControlChange is one command that changed a run: what it was and what it set.
type ControlChange struct {
	At time.Time `json:"at"`
	// Command is pause, resume, tune, or start when a start ended the pause or the tuning.
	Command string `json:"command"`
	// Settings are what tune set, by the keys of the settings.
	Settings map[string]any `json:"settings,omitempty"`
}

// SiteBlock is the block of a site.
type SiteBlock struct {
	// CaseID is zero if the stored block is unreadable.
	CaseID CaseID    `json:"case_id,omitzero"`
	RunID  RunID     `json:"run_id"`
	Rule   string    `json:"rule"`
	At     time.Time `json:"at"`
	// Until is when requests may be sent again.
	Until time.Time `json:"until"`
}

// SiteSlowdown is how much a site's trouble slows down every process that sends it requests.
type SiteSlowdown struct {
	// Streak counts the consecutive failed requests.
	Streak int `json:"streak"`
	// Level counts the steps by which the pause was extended; 0 is the configured pause.
	Level int `json:"level"`
	// RaisedAt is when the level last rose.
	RaisedAt time.Time `json:"raised_at,omitzero"`
	// Until is when the next request may start at the earliest.
	Until time.Time `json:"until,omitzero"`
	// Reason is the answer for which the site was slowed down; empty while it recovers.
	Reason string `json:"reason,omitempty"`
	// ChangedAt distinguishes successive values.
	ChangedAt time.Time `json:"changed_at"`
}

// Presence states that a fetcher works on a run; it expires unless it is renewed.
type Presence struct {
	At time.Time `json:"at"`
	// Wait is why this fetcher sends no request now; nil if it does or only keeps the configured
	// pause.
	Wait *Wait `json:"wait,omitempty"`
	// Reached: the site has answered this fetcher in this round.
	Reached bool `json:"reached,omitempty"`
	// InFlight is how many cases of the run this fetcher has in flight.
	InFlight int `json:"in_flight,omitempty"`
	// Pace is nil in presences of older versions.
	Pace *FetcherPace `json:"pace,omitempty"`
}

// FetcherPace is how a fetcher sends requests now. Durations are in nanoseconds.
type FetcherPace struct {
	// DelayMin and DelayMax bound the pause between two requests, the crawl delay of robots.txt
	// included. SlowedMin and SlowedMax bound the pause while the site is in trouble; 0 if it is not.
	DelayMin  time.Duration `json:"delay_min"`
	DelayMax  time.Duration `json:"delay_max"`
	SlowedMin time.Duration `json:"slowed_min,omitempty"`
	SlowedMax time.Duration `json:"slowed_max,omitempty"`
	// RestEvery is the number of requests after which a rest of RestFor follows; 0 means never.
	// SinceRest is how many requests were sent since the last rest.
	RestEvery int           `json:"rest_every,omitempty"`
	RestFor   time.Duration `json:"rest_for,omitempty"`
	SinceRest int           `json:"since_rest,omitempty"`
	// QuietFrom and QuietTo are the quiet hours, as the time since midnight; equal ones are none. They
	// count in Location, a name of the time zone database, which is UTCOffset seconds east of UTC now;
	// Local is the time zone of the fetcher's machine.
	QuietFrom time.Duration `json:"quiet_from,omitempty"`
	QuietTo   time.Duration `json:"quiet_to,omitempty"`
	Location  string        `json:"location,omitempty"`
	UTCOffset int           `json:"utc_offset,omitempty"`
	// Concurrency is how many cases may be in flight over all fetchers of the site.
	Concurrency int `json:"concurrency"`
}

// Wait is a period without requests to the site, beyond the configured pause.
type Wait struct {
	// Reason is quiet hours, a rest, the crawl delay of robots.txt, trouble of the site, that it
	// cannot be reached, or that an operator has paused the run.
	Reason string `json:"reason"`
	// Until is when the next request may start at the earliest; zero if nobody knows, as for a paused
	// run.
	Until time.Time `json:"until,omitzero"`
}

// WaitPaused is the reason of the wait of a paused run, WaitQuietHours that of one in its quiet hours.
// WaitRest is how the reason of a rest begins.
const (
	WaitPaused     = "paused"
	WaitQuietHours = "quiet hours"
	WaitRest       = "rest after "
)

// ByPlan reports whether the settings or an operator cause the wait, and not the site.
func (w Wait) ByPlan() bool {
	return w.Reason == WaitPaused || w.Reason == WaitQuietHours || strings.HasPrefix(w.Reason, WaitRest)
}

// String returns the end of the wait, if it is known, and its reason, for people.
func (w Wait) String() string {
	if w.Until.IsZero() {
		return "waits: " + w.Reason
	}
	return fmt.Sprintf("waits until %s: %s", w.Until.UTC().Format(time.RFC3339), w.Reason)
}

// InFlightRecord lists the attempts of one process in a run that have begun and have no answer yet.
type InFlightRecord struct {
	Version int   `json:"v"`
	RunID   RunID `json:"run_id"`
	// Fetcher is the fetcher's name, whose Presence shows whether it is alive. Process is unique to
	// each process, even if several had the same name one after the other.
	Fetcher string `json:"fetcher"`
	Process string `json:"process"`
	// Settings are the fetcher's settings that its requests depend on, secrets masked; nil in
	// records of older versions.
	Settings map[string]any `json:"settings,omitempty"`
	// Attempts are the attempts in flight by number. When the process has died, each one without an
	// answer counts as a crash of its job.
	Attempts map[int]int `json:"attempts"`
	// Crashes is, by number, how many processes had died while they held the job when this one
	// began its attempt.
	Crashes map[int]int `json:"crashes,omitempty"`
}

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
	// BusiestMinuteRequests is the largest number of request starts within any 60 s, by the clocks
	// of the senders.
	BusiestMinuteRequests int `json:"busiest_minute_requests"`
	// Errors are the failed cases by cause, the most frequent first. Their counts add up to
	// FailedCount.
	Errors []ErrorSample `json:"errors"`
	// Flags is how many of the SuccessCount new records have each flag.
	Flags map[string]int `json:"flags"`
	// Config holds the effective settings of the process that planned the run, and those of the
	// fetchers that its requests depended on, secrets masked. A setting that differs between
	// fetchers is the list of its values.
	Config map[string]any `json:"config"`
	// Changes are the newest commands that paused, resumed or tuned the run, the oldest first. Config
	// has what was tuned in the last round.
	Changes []ControlChange `json:"changes"`
	Version string          `json:"version"`
	Metrics Metrics         `json:"metrics"`
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
	// Planned is how many numbers of the range are to be fetched; 0 while the bound is unknown. Left of
	// them have no outcome yet. Done is how many numbers of the range have each outcome.
	Planned int             `json:"batch.run.planned"`
	Left    int             `json:"batch.run.left"`
	Done    map[Outcome]int `json:"batch.run.done"`
	// InFlight, PauseSeconds and Waiting are those of Progress and of the wait, at the time of an
	// event. In a report they are zero: the run has ended.
	InFlight     int          `json:"batch.run.in_flight"`
	PauseSeconds *PauseBounds `json:"batch.run.pause_seconds"`
	// Waiting is why no request is sent; empty if the run does not wait.
	Waiting string `json:"batch.run.waiting"`
}

// JobDuration summarises the durations of the attempts, in seconds from the start of the first
// request to the complete answer.
type JobDuration struct {
	Count int     `json:"count"`
	Sum   float64 `json:"sum"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	// Buckets is how many attempts took at most as long as each of DurationBounds.
	Buckets [durationBuckets]int `json:"buckets"`
}

const durationBuckets = 12

// DurationBounds returns the upper bounds of the buckets of JobDuration, in seconds.
func DurationBounds() [durationBuckets]float64 {
	return [...]float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
}

// Add counts an attempt.
func (d *JobDuration) Add(seconds float64) {
	if d.Count == 0 || seconds < d.Min {
		d.Min = seconds
	}
	d.Max = max(d.Max, seconds)
	d.Sum += seconds
	d.Count++
	for i, bound := range DurationBounds() {
		if seconds <= bound {
			d.Buckets[i]++
		}
	}
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

// Phase is what a running run does.
type Phase string

// The phases. A run that waits or is paused while it searches has the phase of the wait.
const (
	// PhaseSearching: the bound is not known yet.
	PhaseSearching Phase = "searching"
	PhaseFetching  Phase = "fetching"
	// PhaseWaiting: no request is sent for longer than the pause.
	PhaseWaiting Phase = "waiting"
	// PhasePaused: an operator has paused the run.
	PhasePaused Phase = "paused"
)

// Progress is how a running run gets on at the time of an event.
type Progress struct {
	// Phase is empty when the run has ended.
	Phase Phase `json:"phase,omitempty"`
	// InFlight is how many cases are in flight, over all fetchers.
	InFlight int `json:"in_flight"`
	// RatePerMinute is how many numbers get an outcome a minute, in this round alone: a mean whose
	// weights fall exponentially, with a time constant of one minute.
	RatePerMinute float64 `json:"rate_per_minute"`
	// LeftSeconds estimates when the run ends; nil if it has ended or nobody can know, for which
	// LeftUnknown then has the reason.
	LeftSeconds *float64 `json:"left_seconds"`
	LeftUnknown string   `json:"left_unknown,omitempty"`
	// Pause bounds the pause between two requests, slowdown included, as a fetcher said it last; nil while
	// none has.
	Pause *PauseBounds `json:"pause"`
}

// StartingProgress is the progress of a running run before its first event of the reporter.
func StartingProgress(m Manifest) Progress {
	if m.Searching() {
		return Progress{Phase: PhaseSearching, LeftUnknown: LeftUnknownSearching}
	}
	return Progress{Phase: PhaseFetching, LeftUnknown: LeftUnknownStarting}
}

// PauseBounds are the shortest and the longest pause, in seconds.
type PauseBounds struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// Reasons why nobody can know when a run ends.
const (
	LeftUnknownSearching = "searching"
	LeftUnknownPaused    = "paused"
	LeftUnknownStarting  = "starting"
	// LeftUnknownOverdue: the forecast is over and numbers are left.
	LeftUnknownOverdue = "overdue"
)

// Event is the body of batch.event.<run_id>.<started|progress|waiting|finished>.
type Event struct {
	RunID  RunID     `json:"run_id"`
	At     time.Time `json:"at"`
	Status Status    `json:"status"`
	Range  Range     `json:"range"`
	// Listed is how many numbers of Range belong to the run; 0 for a run without a list, which has
	// all.
	Listed int `json:"listed,omitempty"`
	// Planned is how many numbers of Range are to be fetched; 0 while unknown. The counts are of
	// numbers of Range.
	Planned   int `json:"planned"`
	Succeeded int `json:"succeeded"`
	NoRecord  int `json:"no_record"`
	Failed    int `json:"failed"`
	Retries   int `json:"retries"`
	Progress
	// Wait is why no request is sent; nil if that is not so. The event waiting tells that a wait has
	// begun or changed, the next event progress without one that it has ended.
	Wait *Wait `json:"wait,omitempty"`
	// Metrics are the figures of the run so far; nil in the event started.
	Metrics *Metrics `json:"metrics,omitempty"`
	Report  *Report  `json:"report,omitempty"`
}

// ProgressAt returns the progress of e as it is known later: less time is left. Once the time of the
// forecast is over, none is given while numbers are left.
func (e Event) ProgressAt(later time.Time) Progress {
	p := e.Progress
	if p.LeftSeconds == nil {
		return p
	}
	left := max(0, *p.LeftSeconds-max(0, later.Sub(e.At).Seconds()))
	p.LeftSeconds = &left
	if left == 0 && e.Metrics != nil && e.Metrics.Left > 0 {
		p.LeftSeconds, p.LeftUnknown = nil, LeftUnknownOverdue
	}
	return p
}
