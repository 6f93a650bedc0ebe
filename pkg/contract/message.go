package contract

import (
	"fmt"
	"time"
)

// MessageVersion is the version of the messages below; a reader refuses one it does not know.
const MessageVersion = 1

// CheckVersion refuses a version that this program does not read; its error wraps ErrMessage.
func CheckVersion(version int) error {
	if version != MessageVersion {
		return fmt.Errorf("%w: version %d, this program reads %d", ErrMessage, version, MessageVersion)
	}
	return nil
}

// Job asks for one number of one run.
type Job struct {
	Version int    `json:"v"`
	RunID   RunID  `json:"run_id"`
	CaseID  CaseID `json:"case_id"`
	// MaxAttempts is how many attempts the job has when that is fewer than the run allows; 0 leaves it to the run.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// LikelyAbsent says that the case probably does not exist, so that the proof of that is asked for first.
	LikelyAbsent bool `json:"doubtful,omitempty"`
	// Retry says that the number failed in an earlier run: that it fails again is no news of the site.
	Retry bool `json:"retry,omitempty"`
}

// Exchange is one request to a site and what came back. Body is carried beside the JSON.
type Exchange struct {
	// Call is the call's name in the site profile.
	Call        string `json:"call"`
	URL         string `json:"url"`
	Status      int    `json:"status,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	RetryAfter  string `json:"retry_after,omitempty"`
	// Guard is the header, "name: value", by which a guard says that the answer is its own; empty when none does.
	Guard     string    `json:"guard,omitempty"`
	StartedAt time.Time `json:"started_at"`
	// Seconds is how long the exchange took, body included, by the monotonic clock.
	Seconds float64 `json:"seconds"`
	// GapSeconds is the time since the start of the sender's request before this one, by the monotonic
	// clock; 0 when it was the sender's first.
	GapSeconds float64 `json:"gap_seconds,omitempty"`
	// SlowedSeconds is how long the request was held because of trouble of the site. WaitedSeconds is how long it was held, for that,
	// quiet hours, a rest or the crawl delay of robots.txt, where people were told of the wait because it is more than 5 s.
	WaitedSeconds float64 `json:"waited_seconds,omitempty"`
	SlowedSeconds float64 `json:"slowed_seconds,omitempty"`
	// Error is why there is no whole answer: timeout, reset, too large, ...
	Error string `json:"error,omitempty"`
	// Unsent says that there was no connection to the site, so that the request has not reached it: no such name, refused,
	// no route, no TLS, a proxy that does not connect. It is for the sender alone.
	Unsent bool `json:"-"`
	// Size is the length of Body in bytes.
	Size int `json:"size"`
	// Digest is the SHA-256 of Body, "sha256:" and 64 hexadecimal digits, as the classifier saw it; empty without a body,
	// and in ledgers of versions that did not keep it.
	Digest string `json:"digest,omitempty"`
	Body   []byte `json:"-"`
}

// Answer is what one attempt of a job brought, whole.
type Answer struct {
	CaseID  CaseID `json:"case_id"`
	Attempt int    `json:"attempt"`
	// MaxAttempts is how many attempts the job has, the first included.
	MaxAttempts int `json:"max_attempts"`
	// KeepRaw asks to keep the raw answer whatever the verdict.
	KeepRaw bool `json:"keep_raw,omitempty"`
	// Aborted says that the site told us to go away before the attempt was over: what it brought counts for nothing.
	Aborted bool `json:"cut_off,omitempty"`
	// PlannedAt is when the job was stored; zero in messages of versions that did not say it.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// AckSubject is the subject on which the job's delivery is acknowledged.
	AckSubject string `json:"settle,omitempty"`
	// Copy says that the site was not asked, because another run has had the answer; Exchanges is empty then.
	Copy *Copy `json:"copy,omitempty"`
	// Crashes is set when the site is asked no more because so many processes have died while they held the job; Exchanges
	// is empty then.
	Crashes int `json:"crashes,omitempty"`
	// Seconds is how long the attempt took, from its first request's start until its answer was whole, by the monotonic clock; 0 in
	// messages of versions that did not say it.
	Seconds   float64    `json:"seconds,omitempty"`
	Exchanges []Exchange `json:"exchanges"`
}

// Copy names the outcome that a number has in another run of the same series and year: this run is to have it too.
type Copy struct {
	RunID RunID `json:"run_id"`
	// Sequence is the place in the ledger of the message that holds it.
	Sequence uint64 `json:"sequence"`
}

// Entry is one attempt as the ledger keeps it.
type Entry struct {
	CaseID  CaseID  `json:"case_id"`
	Attempt int     `json:"attempt"`
	Verdict Verdict `json:"verdict"`
	// Outcome is set when this attempt settled the job.
	Outcome Outcome `json:"outcome,omitempty"`
	// Rule names the rule of the site profile that decided the verdict.
	Rule      string    `json:"rule,omitempty"`
	Error     string    `json:"error,omitempty"`
	Notes     []string  `json:"notes,omitempty"`
	StartedAt time.Time `json:"started_at"`
	// Seconds runs from the first request's start until the answer was whole, by the monotonic clock.
	Seconds float64 `json:"seconds"`
	// RetryAt is when a transient job may be asked for again; zero otherwise.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// PlannedAt is when the job was stored: the job itself is removed when its run is over.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// Requests are the attempt's exchanges without their bodies.
	Requests []Exchange `json:"requests"`
	// FiledOn is the record's filing day, YYYY-MM-DD, when it is known.
	FiledOn string `json:"filed_on,omitempty"`
	// RecordSize is the length of Record in bytes; 0 when the attempt brought none.
	RecordSize int `json:"record_size,omitempty"`
	// Record is the record as its file holds it: whoever keeps it need not read it.
	Record []byte `json:"-"`
	// RawType is "json", "html" or empty when Raw was not kept.
	RawType string `json:"raw_type,omitempty"`
	// RawSize is the length of Raw in bytes.
	RawSize int    `json:"raw_size,omitempty"`
	Raw     []byte `json:"-"`
}

// EndedAt is when the answer had come: when the last request ended, else when the attempt was classified.
func (e Entry) EndedAt() time.Time {
	if n := len(e.Requests); n > 0 && !e.Requests[n-1].StartedAt.IsZero() {
		last := e.Requests[n-1]
		return last.StartedAt.Add(time.Duration(last.Seconds * float64(time.Second)))
	}
	return e.StartedAt.Add(time.Duration(e.Seconds * float64(time.Second)))
}

// Planned says that every job of the run is published.
type Planned struct {
	Version int `json:"v"`
	// Range is the run's range as it was walked.
	Range Range `json:"range"`
	// Jobs is how many jobs the run has, those for Beyond included.
	Jobs int `json:"jobs"`
	// Beyond are the numbers outside of the range that the search for the bound asked for.
	Beyond []int `json:"beyond,omitempty"`
	// Skipped is how many numbers of the range were already collected.
	Skipped int `json:"skipped"`
}

// Collected is the value of a key of the buckets collected and failed.
type Collected struct {
	Outcome Outcome `json:"outcome"`
	// Site is the profile by which it was collected.
	Site  string    `json:"site,omitempty"`
	RunID RunID     `json:"run_id"`
	At    time.Time `json:"at"`
	// FiledOn is the record's filing day, YYYY-MM-DD, when it is known.
	FiledOn string `json:"filed_on,omitempty"`
	// Size is the length of the record's file in bytes; 0 when there is no record, or when it is not known.
	Size int `json:"size,omitempty"`
}

// AppliesTo says whether the key speaks of this site; one that names none speaks of every site.
func (c Collected) AppliesTo(site string) bool { return c.Site == "" || c.Site == site }
