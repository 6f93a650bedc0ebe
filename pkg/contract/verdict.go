package contract

// Outcome is the one final word on a job.
type Outcome string

// The closed list of outcomes.
const (
	Success  Outcome = "success"   // the record is stored
	NoRecord Outcome = "no-record" // the site said, well-formed, that there is none
	Failed   Outcome = "failed"    // transient trouble outlasted the retries
)

// Valid says whether o is one of the three outcomes.
func (o Outcome) Valid() bool { return o == Success || o == NoRecord || o == Failed }

// Verdict is what the classifier reads in the answer of one attempt.
type Verdict string

// The closed list of verdicts. What is not positively a record, a proven no-record or a block is transient.
const (
	VerdictSuccess   Verdict = "success"
	VerdictNoRecord  Verdict = "no-record"
	VerdictTransient Verdict = "transient"
	VerdictBlocked   Verdict = "blocked"
)

// Outcome is the outcome that a verdict brings by itself; transient and blocked answers bring none.
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

// Status says how a run stands or ended.
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

// Resumable says whether the same batch, started again, goes on with this run.
func (s Status) Resumable() bool {
	return s == Running || s == Blocked || s == Stopped || s == Errored
}
