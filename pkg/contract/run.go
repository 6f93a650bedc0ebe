package contract

import (
	"encoding/json"
	"fmt"
	"time"
)

// RunSpec is the body of batch.start: what a run is to do. A key that is left out takes the default of the
// process that plans the run.
type RunSpec struct {
	RunID       RunID  `json:"run_id,omitempty"`
	Prefix      string `json:"prefix,omitempty"`
	Year        string `json:"year,omitempty"`
	Start       *int   `json:"start,omitempty"`
	MaxCases    *int   `json:"max_cases,omitempty"`
	End         *int   `json:"end,omitempty"`
	Probe       *bool  `json:"probe,omitempty"`
	ProbeBudget *int   `json:"probe_budget,omitempty"`
	MaxRetries  *int   `json:"max_retries,omitempty"`
	// RequestTimeout and JobTimeout are durations as settings are written: seconds, or a form such as "90s".
	RequestTimeout    string `json:"request_timeout,omitempty"`
	JobTimeout        string `json:"job_timeout,omitempty"`
	SafeStopNoRecords *int   `json:"safe_stop_no_records,omitempty"`
	SafeStopFails     *int   `json:"safe_stop_fails,omitempty"`
	Recheck           *bool  `json:"recheck,omitempty"`
	Force             *bool  `json:"force,omitempty"`
	PersistRawHTML    *bool  `json:"persist_raw_html,omitempty"`
	// ProbeOnly asks for the upper bound alone; New asks for what is new above the highest record that is collected.
	ProbeOnly *bool `json:"probe_only,omitempty"`
	New       *bool `json:"new,omitempty"`
}

// StopSpec is the body of batch.stop.
type StopSpec struct {
	RunID RunID `json:"run_id"`
}

// Rejection is the body of batch.rejected: why a command started or stopped nothing.
type Rejection struct {
	Subject string `json:"subject"`
	// Sequence is the command's place in its stream; 0 when the stream did not keep it.
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
	// Problems are the fields that were wrong, as far as it was fields.
	Problems []Problem `json:"problems,omitempty"`
	At       time.Time `json:"at"`
}

// Problem says what is wrong with one field of a command. Field and Value are somebody else's words, cut short.
type Problem struct {
	Field string `json:"field"`
	Value string `json:"value,omitempty"`
	// Reason is why the value is not allowed where that is more than its form.
	Reason  string `json:"reason,omitempty"`
	Allowed string `json:"allowed"`
}

// CommandReply is what a generator answers who asks by a request. Stream and Sequence say where the command is kept, as an
// acknowledgement of JetStream does: who publishes with a client of JetStream reads it as one.
type CommandReply struct {
	RunID RunID `json:"run_id,omitempty"`
	// Error is why nothing was started or stopped; empty otherwise.
	Error    string `json:"error,omitempty"`
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
}

// CommandResult is kept for each command, so that one delivered twice is carried out once.
type CommandResult struct {
	RunID RunID `json:"run_id,omitempty"`
	// Rejected is why nothing was started; empty when a run was started or goes on.
	Rejected string `json:"rejected,omitempty"`
	// Digest is that of the command, by which its request finds what became of it.
	Digest string `json:"digest,omitempty"`
	// At is when the stream stored the command. A stream that was made anew gives the same sequences out again.
	At time.Time `json:"at,omitzero"`
}

// Manifest is what a run is, with every default filled in. It changes once while the run is worked on: when the prober
// has found the bound, which then ends the range. A start that goes on with a stopped run renews its settings.
type Manifest struct {
	Version int    `json:"v"`
	RunID   RunID  `json:"run_id"`
	Prefix  string `json:"prefix"`
	Year    string `json:"year"`
	Range   Range  `json:"range"`
	// Batch is the identity of the batch: what makes two starts the same one.
	Batch string `json:"batch"`
	Site  string `json:"site"`
	// Origin is where the process that planned the run asks the site; empty in manifests of versions that did not keep it.
	Origin     string `json:"origin,omitempty"`
	MaxRetries int    `json:"max_retries"`
	// RequestTimeout and JobTimeout, in nanoseconds, hold for this run on every fetcher; 0 is each fetcher's own setting.
	RequestTimeout    time.Duration `json:"request_timeout,omitempty"`
	JobTimeout        time.Duration `json:"job_timeout,omitempty"`
	SafeStopNoRecords int           `json:"safe_stop_no_records"`
	SafeStopFails     int           `json:"safe_stop_fails"`
	Recheck           bool          `json:"recheck"`
	Force             bool          `json:"force"`
	PersistRawHTML    bool          `json:"persist_raw_html"`
	// Probe says that the bound is searched for first, with at most ProbeBudget requests; ProbeOnly, that nothing else is
	// done.
	Probe       bool `json:"probe,omitempty"`
	ProbeOnly   bool `json:"probe_only,omitempty"`
	ProbeBudget int  `json:"probe_budget,omitempty"`
	// ProbeSpent is how many requests the search had made when the run was last gone on with; its budget comes on top.
	ProbeSpent int `json:"probe_spent,omitempty"`
	// Bound is what the search found; nil while it is under way.
	Bound *Bound `json:"bound,omitempty"`
	// New says that all no-records above RecheckAbove are asked for again; otherwise those are that were collected before
	// RecheckBefore. Zero is none of them.
	New           bool      `json:"new,omitempty"`
	RecheckAbove  int       `json:"recheck_above,omitempty"`
	RecheckBefore time.Time `json:"recheck_before,omitzero"`
	CreatedAt     time.Time `json:"created_at"`
	// Config is the effective configuration of the process that planned the run, secrets masked.
	Config map[string]any `json:"config,omitempty"`
	// Command is the body of the batch.start that the run was started by last.
	Command json.RawMessage `json:"command,omitempty"`
	// Program is the version of the program that planned the run.
	Program string `json:"program"`
}

// Case is the case id of a number of the run.
func (m Manifest) Case(number int) CaseID {
	return CaseID{Series: m.Prefix, Year: m.Year, Number: number}
}

// Skips says whether the run leaves out a number that is collected with this value; the zero value is one that is not.
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

// Searching says that the run's range is not known yet.
func (m Manifest) Searching() bool { return m.Probe && m.Bound == nil }

// Bound is the highest number of a series and year that a search confirmed to exist, and how sure it is that there is
// none above.
type Bound struct {
	// Number is 0 when none was found.
	Number int `json:"number"`
	// AtLimit says that the range that was searched ends at Number or below it: higher numbers may exist, whatever
	// Confidence and Exact are.
	AtLimit bool `json:"at_limit,omitempty"`
	// FiledOn is the filing day of its record, YYYY-MM-DD, when it is known.
	FiledOn string `json:"filed_on,omitempty"`
	// Confidence is the chance that no number more than 200 above Number exists, on the condition that no gap of 200 or
	// more lies close under the highest; Exact is the chance that none above it exists at all. Both are below 1.
	Confidence float64 `json:"confidence"`
	Exact      float64 `json:"exact"`
	// Ending is why the search ended: done, or budget, waste or unreachable when it had to.
	Ending string `json:"ending"`
	// NumbersProbed is how many numbers were asked for, Requests how many requests that took.
	NumbersProbed int `json:"questions"`
	Requests      int `json:"requests"`
	// Absences are the numbers above Number that were confirmed not to exist.
	Absences []int `json:"absences"`
	// KnownSince is the time of the oldest of those answers that the search did not ask for itself; zero when it asked for all.
	KnownSince time.Time `json:"known_since,omitzero"`
}

// State says how a run stands. The generator writes Running, the reporter every other one.
type State struct {
	Status Status    `json:"status"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	// Round counts the starts of the run, the first included.
	Round int `json:"round"`
	// Superseded says that nobody goes on with this run: a run of another batch was started for the same series and year
	// after it was stopped, or its no-records were taken back. The same batch, started again, becomes a new run.
	Superseded bool `json:"superseded,omitempty"`
	// SearchUnfinished says that the search for the bound could not finish, and that no number had failed: the same batch goes on with it.
	// Numbers that failed can be asked again by a new run alone.
	SearchUnfinished bool `json:"unfinished,omitempty"`
	// ElapsedSeconds is how many seconds the run was worked on in the rounds that have ended, by the monotonic clock.
	ElapsedSeconds float64 `json:"elapsed,omitempty"`
	Report         *Report `json:"report,omitempty"`
	// File is the report's name in the output folder; empty when it could not be written.
	File string `json:"file,omitempty"`
}

// Resumable says whether the same batch, started again, goes on with the run.
func (s State) Resumable() bool { return (s.Status.Resumable() || s.SearchUnfinished) && !s.Superseded }

// Halt asks everybody to stop working on a run. The first one written counts.
type Halt struct {
	Status Status    `json:"status"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Deadline is when what is under way is given up; zero leaves it to its own time-outs.
	Deadline time.Time `json:"deadline,omitzero"`
	// Command is the sequence of the newest batch.stop of the run, and CommandAt when the stream stored it. A start that was
	// given before it, and is carried out later, does nothing.
	Command   uint64    `json:"command,omitempty"`
	CommandAt time.Time `json:"command_at,omitzero"`
}

// SiteBlock says that a site told us to go away.
type SiteBlock struct {
	// CaseID is zero when what was stored cannot be read.
	CaseID CaseID    `json:"case_id,omitzero"`
	RunID  RunID     `json:"run_id"`
	Rule   string    `json:"rule"`
	At     time.Time `json:"at"`
	// Until is when asking may begin again.
	Until time.Time `json:"until"`
}

// SiteSlowdown says how far a site's trouble slows everybody down who asks it.
type SiteSlowdown struct {
	// Streak counts the requests that failed one after another, up to now.
	Streak int `json:"streak"`
	// Level is how often the pause was made longer; 0 is the pace as promised.
	Level int `json:"level"`
	// RaisedAt is when the level rose last.
	RaisedAt time.Time `json:"raised_at,omitzero"`
	// Until is when the next request may start at the earliest.
	Until time.Time `json:"until,omitzero"`
	// Reason is what the site answered when it was slowed down; empty while it recovers.
	Reason string `json:"reason,omitempty"`
	// ChangedAt tells one word from another.
	ChangedAt time.Time `json:"changed_at"`
}

// Presence says that a fetcher works on a run; it expires when it is not renewed.
type Presence struct {
	At time.Time `json:"at"`
	// Wait is why this fetcher asks nothing just now; nil when it does, or when the pause is as promised.
	Wait *Wait `json:"wait,omitempty"`
	// Reached says that the site has answered this fetcher in this round of the run.
	Reached bool `json:"reached,omitempty"`
}

// Wait is a wait in which the site is asked nothing, beyond the promised pause between two requests.
type Wait struct {
	// Reason says why: quiet hours, a rest, the crawl delay of robots.txt, trouble of the site,
	// or that it cannot be reached.
	Reason string `json:"reason"`
	// Until is when the next request may start at the earliest.
	Until time.Time `json:"until"`
}

// String says why and until when, for people.
func (w Wait) String() string {
	return fmt.Sprintf("waits until %s: %s", w.Until.UTC().Format(time.RFC3339), w.Reason)
}

// InFlightRecord is what one process holds of a run: the attempts that it has begun and not answered.
type InFlightRecord struct {
	Version int   `json:"v"`
	RunID   RunID `json:"run_id"`
	// Fetcher is the fetcher's name, by which its Presence tells whether it lives. Process is another one for each process, also
	// where they have the same name one after the other.
	Fetcher string `json:"fetcher"`
	Process string `json:"process"`
	// Settings are those by which the fetcher sends its requests, secrets masked; nil in records of versions that did not say them.
	Settings map[string]any `json:"settings,omitempty"`
	// Attempts are the attempts in hand by number. When the process has died, each that has no answer is a crash of its job.
	Attempts map[int]int `json:"attempts"`
	// Crashes are, by number, how many processes had died holding the job when this one began an attempt of it.
	Crashes map[int]int `json:"crashes,omitempty"`
}
