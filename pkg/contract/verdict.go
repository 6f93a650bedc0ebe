package contract

// Outcome is the end of a number in a run.
type Outcome string

// The closed list of outcomes.
const (
	Success  Outcome = "success"   // the record is stored
	NoRecord Outcome = "no-record" // the site said, well-formed, that there is none
	Failed   Outcome = "failed"    // transient trouble outlasted the retries
)

// Valid reports whether o is one of the three outcomes.
func (o Outcome) Valid() bool { return o == Success || o == NoRecord || o == Failed }

// Verdict is what the answer of one attempt means.
type Verdict string

// The closed list of verdicts. Anything but a record, a proven no-record or a block is transient.
const (
	VerdictSuccess   Verdict = "success"
	VerdictNoRecord  Verdict = "no-record"
	VerdictTransient Verdict = "transient"
	VerdictBlocked   Verdict = "blocked"
)

// Outcome returns the outcome that a verdict implies; transient and blocked imply none.
func (v Verdict) Outcome() (Outcome, bool) {
	switch v {
	case VerdictSuccess:
		return Success, true
	case VerdictNoRecord:
		return NoRecord, true
	default:
		return "", false
	}
}

// Status is the state of a run, or how its last round ended.
type Status string

// The states of a run. All but Running are final until the same batch is started again.
const (
	Running   Status = "running"
	Completed Status = "completed"
	SafeStop  Status = "safe_stop"
	Blocked   Status = "blocked"
	Stopped   Status = "stopped"
	Errored   Status = "error"
)

// Resumable reports whether the same batch, started again, resumes the run.
func (s Status) Resumable() bool {
	return s == Running || s == Blocked || s == Stopped || s == Errored
}

// Classification is what a site profile derives from the exchanges of one attempt.
type Classification struct {
	Verdict Verdict
	// Record is set when the verdict is success.
	Record *Record
	// Rule names the profile's rule that decided.
	Rule string
	// Error describes a transient or blocked answer.
	Error string
	Notes []string
	// Raw is the index of the exchange that decided; its body is stored as the raw answer.
	Raw int
	// RawType is "json" or "html".
	RawType string
}
