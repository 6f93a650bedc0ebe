package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrMessage is wrapped by every error about a message that this version cannot read.
var ErrMessage = errors.New("message not readable")

// MessageVersion is the version of the messages below; a reader refuses other versions.
const MessageVersion = 1

// CheckVersion returns an error that wraps ErrMessage unless version is MessageVersion.
func CheckVersion(version int) error {
	if version != MessageVersion {
		return fmt.Errorf("%w: version %d, this program reads %d", ErrMessage, version, MessageVersion)
	}
	return nil
}

// RepublishedHeader marks a job that was published again after it had been removed from the stream:
// it may have been done before.
const RepublishedHeader = "Fct-Again"

// ConsumerRecreateDelay is how long a generator leaves a run without a consumer before it recreates
// it. Every fetcher checks for the consumer twice as often before it pulls, and so notices.
const ConsumerRecreateDelay = 2 * time.Second

// Job requests one number of one run.
type Job struct {
	Version int    `json:"v"`
	RunID   RunID  `json:"run_id"`
	CaseID  CaseID `json:"case_id"`
	// MaxAttempts is the job's number of attempts if lower than the run's; 0 is that of the run.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// LikelyAbsent: the case probably does not exist, so the call that proves its absence is sent
	// first.
	LikelyAbsent bool `json:"doubtful,omitempty"`
	// Retry: the number failed in an earlier run. If it fails again, that is no sign of new trouble
	// of the site.
	Retry bool `json:"retry,omitempty"`
}

// Exchange is one request to a site and its response. Body is stored outside the JSON.
type Exchange struct {
	// Call is the name of the call in the site profile.
	Call        string `json:"call"`
	URL         string `json:"url"`
	Status      int    `json:"status,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	RetryAfter  string `json:"retry_after,omitempty"`
	// BlockHeader is the header, "name: value", by which a web application firewall marks the response as
	// its own; empty if there is none.
	BlockHeader string    `json:"guard,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	// Seconds is how long the exchange took, body included, by the monotonic clock.
	Seconds float64 `json:"seconds"`
	// GapSeconds is the time since the start of the sender's previous request, by the monotonic
	// clock; 0 for its first one.
	GapSeconds float64 `json:"gap_seconds,omitempty"`
	// SlowedSeconds is how long the request was delayed because of trouble of the site.
	// WaitedSeconds is how long it was delayed for that, quiet hours, a rest or the crawl delay of
	// robots.txt, if the wait was reported because it exceeds 5 s.
	WaitedSeconds float64 `json:"waited_seconds,omitempty"`
	SlowedSeconds float64 `json:"slowed_seconds,omitempty"`
	// Error is why there is no complete response: timeout, reset, too large, ...
	Error string `json:"error,omitempty"`
	// Unsent: there was no connection to the site, so the request has not reached it: no such name,
	// refused, no route, no TLS, a proxy that does not connect. It stays in the sender.
	Unsent bool `json:"-"`
	// Size is the length of Body in bytes.
	Size int `json:"size"`
	// Digest is "sha256:" and the 64 hexadecimal digits of Body's SHA-256, as the classifier read
	// it; empty without a body and in ledgers of older versions.
	Digest string `json:"digest,omitempty"`
	Body   []byte `json:"-"`
}

// AnswerPack is the body of an answer message: answers of one chunk that were stored together.
type AnswerPack struct {
	Version int      `json:"v"`
	RunID   RunID    `json:"run_id"`
	Answers []Answer `json:"answers"`
}

// Answer is the result of one attempt of a job.
type Answer struct {
	CaseID  CaseID `json:"case_id"`
	Attempt int    `json:"attempt"`
	// MaxAttempts is the job's number of attempts, the first included.
	MaxAttempts int `json:"max_attempts"`
	// KeepRaw requests that the raw answer is stored whatever the verdict.
	KeepRaw bool `json:"keep_raw,omitempty"`
	// Aborted: the site blocked before the attempt was complete, so its exchanges are ignored.
	Aborted bool `json:"cut_off,omitempty"`
	// PlannedAt is when the job was stored; zero in messages of older versions.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// AckSubject is the reply subject by which the job's delivery is settled.
	AckSubject string `json:"settle,omitempty"`
	// Copy is set when the outcome is taken over from another run without a request; Exchanges is
	// empty.
	Copy *Copy `json:"copy,omitempty"`
	// Crashes is set when the job is given up because so many processes died while they held it;
	// Exchanges is empty.
	Crashes int `json:"crashes,omitempty"`
	// Seconds is how long the attempt took, from the start of its first request until its answer
	// was complete, by the monotonic clock; 0 in messages of older versions.
	Seconds   float64    `json:"seconds,omitempty"`
	Exchanges []Exchange `json:"exchanges"`
}

// Copy names an outcome of the same number in another run, which this run takes over.
type Copy struct {
	RunID RunID `json:"run_id"`
	// Sequence is the ledger sequence of the message with that outcome.
	Sequence uint64 `json:"sequence"`
}

// EntryPack is the body of a ledger message: attempts of one chunk that were classified together.
type EntryPack struct {
	Version int     `json:"v"`
	RunID   RunID   `json:"run_id"`
	Entries []Entry `json:"entries"`
	// After is the ledger sequence after which a canary was requested; 0 in other packs and if
	// unknown.
	After uint64 `json:"after,omitempty"`
}

// Entry is one classified attempt in the ledger.
type Entry struct {
	CaseID  CaseID  `json:"case_id"`
	Attempt int     `json:"attempt"`
	Verdict Verdict `json:"verdict"`
	// Outcome is set if this attempt gave the number its outcome.
	Outcome Outcome `json:"outcome,omitempty"`
	// Rule names the rule of the site profile that decided the verdict.
	Rule      string    `json:"rule,omitempty"`
	Error     string    `json:"error,omitempty"`
	Notes     []string  `json:"notes,omitempty"`
	StartedAt time.Time `json:"started_at"`
	// Seconds is the time from the start of the first request until the answer was complete, by the
	// monotonic clock.
	Seconds float64 `json:"seconds"`
	// RetryAt is when the number may be fetched again after a transient verdict; zero otherwise.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// PlannedAt is when the job was stored. The job itself is removed at the end of its run.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// Requests are the attempt's exchanges without their bodies.
	Requests []Exchange `json:"requests"`
	// FiledOn is the record's filing day, YYYY-MM-DD, if known.
	FiledOn string `json:"filed_on,omitempty"`
	// RecordSize is the length of Record in bytes; 0 without a record.
	RecordSize int `json:"record_size,omitempty"`
	// Record is the content of the record's file, so that its writer need not decode it.
	Record []byte `json:"-"`
	// RawType is "json" or "html"; empty if Raw was not stored.
	RawType string `json:"raw_type,omitempty"`
	// RawSize is the length of Raw in bytes.
	RawSize int    `json:"raw_size,omitempty"`
	Raw     []byte `json:"-"`
}

// EndedAt is when the last request ended, or when the attempt was classified if there was none.
func (e Entry) EndedAt() time.Time {
	if n := len(e.Requests); n > 0 && !e.Requests[n-1].StartedAt.IsZero() {
		last := e.Requests[n-1]
		return last.StartedAt.Add(time.Duration(last.Seconds * float64(time.Second)))
	}
	return e.StartedAt.Add(time.Duration(e.Seconds * float64(time.Second)))
}

// Planned is which jobs a run has. In the ledger it states that all of them are published. The key
// PlannedKey has it as soon as the bound is known; a resumed run replaces that.
type Planned struct {
	Version int `json:"v"`
	// Range is the range for which the jobs were published.
	Range Range `json:"range"`
	// Jobs is how many jobs the run has, those for Beyond included.
	Jobs int `json:"jobs"`
	// Beyond are the numbers outside of the range that the search for the bound fetched.
	Beyond []int `json:"beyond,omitempty"`
	// Skipped is how many numbers of the range were already collected.
	Skipped int `json:"skipped"`
}

// Collected is the value of a key in the buckets collected and failed.
type Collected struct {
	Outcome Outcome `json:"outcome"`
	// Site is the name of the profile by which the case was fetched.
	Site  string    `json:"site,omitempty"`
	RunID RunID     `json:"run_id"`
	At    time.Time `json:"at"`
	// FiledOn is the record's filing day, YYYY-MM-DD, if known.
	FiledOn string `json:"filed_on,omitempty"`
	// Size is the length of the record's file in bytes; 0 if there is no record or its size is
	// unknown.
	Size int `json:"size,omitempty"`
}

// AppliesTo reports whether the key belongs to the site. A key without a site belongs to every
// site.
func (c Collected) AppliesTo(site string) bool { return c.Site == "" || c.Site == site }

// A site that answers every request with "no such file" looks like a year that has ended. A canary
// distinguishes the two: it fetches a case that is known to exist.

// CanaryRequest asks a fetcher, by request and reply on CanaryService, whether its site still shows
// records.
type CanaryRequest struct {
	Version int   `json:"v"`
	RunID   RunID `json:"run_id"`
	// CaseIDs are cases that are known to exist, at least one. They are fetched in this order until
	// one exists: the court may have removed a single case, which proves nothing about the others.
	CaseIDs []CaseID `json:"case_ids"`
	// After is the sequence of the last ledger message that the requester has read.
	After uint64 `json:"after,omitempty"`
}

// CanaryReply is the result of a CanaryRequest. By then the ledger has the site's answers on
// CanarySubject.
type CanaryReply struct {
	Version int     `json:"v"`
	Verdict Verdict `json:"verdict,omitempty"`
	// Sequence is the canary's sequence in the ledger; 0 when nothing was fetched or stored.
	Sequence uint64 `json:"sequence,omitempty"`
	// Error is why there is no answer from the site.
	Error string `json:"error,omitempty"`
}

// DecodeCanaryRequest reads a request; its error wraps ErrMessage.
func DecodeCanaryRequest(data []byte) (CanaryRequest, error) {
	var request CanaryRequest
	if err := json.Unmarshal(data, &request); err != nil {
		return request, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if request.Version != MessageVersion || request.RunID == "" || len(request.CaseIDs) == 0 {
		return request, fmt.Errorf("%w: not a canary request: %.200q", ErrMessage, data)
	}
	return request, nil
}

// MaxUnconfirmed is how many unconfirmed no-records of a run are confirmed one by one. Those before
// them are confirmed together or not at all; there are some only in a year in which no record is
// known.
const MaxUnconfirmed = 2000

// CanaryVerdict combines the entries of one canary: success if one of the cases exists, with the
// start of that attempt; no-record if all have vanished; blocked if the site blocked; otherwise
// transient.
func CanaryVerdict(entries []Entry) (verdict Verdict, started time.Time) {
	vanished := len(entries) > 0
	verdict = VerdictTransient
	for _, entry := range entries {
		if entry.Verdict == VerdictSuccess {
			return VerdictSuccess, entry.StartedAt
		}
		if entry.Verdict == VerdictBlocked {
			verdict = VerdictBlocked
		}
		vanished = vanished && entry.Verdict == VerdictNoRecord
	}
	if vanished {
		return VerdictNoRecord, entries[len(entries)-1].StartedAt
	}
	return verdict, time.Time{}
}

const (
	// RuleCanary is the rule of a block that a canary found.
	RuleCanary = "canary"
	// RuleUnconfirmed marks an invented no-record among the canaries, for which no request was
	// sent: the run was blocked right after consecutive no-records, so the site may have hidden
	// records before it blocked.
	RuleUnconfirmed = "doubt"
)

// CanaryService is the subject on which the fetchers of a site answer a CanaryRequest; site is a
// profile's name.
func CanaryService(site string) string { return "fetch.canary." + site }

// CanarySubject is the ledger subject of the run's canaries, one EntryPack a canary.
func (r RunID) CanarySubject() string { return "outcome." + string(r) + ".canary" }

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
