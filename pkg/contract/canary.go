package contract

import (
	"encoding/json"
	"fmt"
	"time"
)

// A site that has begun to answer "no such file" to everybody looks like a year that has ended. A canary tells them apart:
// a file that is known to exist is asked for again.

// CanaryRequest asks a fetcher, by request and reply on CanaryService, whether its site still shows what it has.
type CanaryRequest struct {
	Version int   `json:"v"`
	RunID   RunID `json:"run_id"`
	// CaseIDs are files that are known to exist, at least one. They are asked for in this order until one is there:
	// a single file may have been taken away by the court, and that says nothing about the others.
	CaseIDs []CaseID `json:"case_ids"`
	// After is the last message of the ledger that whoever asks has read.
	After uint64 `json:"after,omitempty"`
}

// CanaryReply says what became of a CanaryRequest. What the site answered stands in the ledger on CanarySubject by then.
type CanaryReply struct {
	Version int     `json:"v"`
	Verdict Verdict `json:"verdict,omitempty"`
	// Sequence is the place of the canary in the ledger; 0 when nothing was asked or kept.
	Sequence uint64 `json:"sequence,omitempty"`
	// Error is why there is no word from the site.
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

// CanaryVerdict is what the entries of one canary say together: success when one of the files was there, and then when the asking
// for it began; no-record when every one of them had vanished; blocked when the site told us to go away; else transient.
func CanaryVerdict(entries []Entry) (verdict Verdict, started time.Time) {
	gone := len(entries) > 0
	verdict = VerdictTransient
	for _, entry := range entries {
		if entry.Verdict == VerdictSuccess {
			return VerdictSuccess, entry.StartedAt
		}
		if entry.Verdict == VerdictBlocked {
			verdict = VerdictBlocked
		}
		gone = gone && entry.Verdict == VerdictNoRecord
	}
	if gone {
		return VerdictNoRecord, entries[len(entries)-1].StartedAt
	}
	return verdict, time.Time{}
}

const (
	// RuleCanary is the rule of a block that a canary found.
	RuleCanary = "canary"
	// RuleUnconfirmed marks a no-record among the canaries that is none: a run was blocked right behind a row of no-records, so that
	// the site had perhaps begun to lie before it said so. It is asked of nobody.
	RuleUnconfirmed = "doubt"
)

// CanaryService is where any fetcher of a site answers a CanaryRequest; site is a profile's name.
func CanaryService(site string) string { return "fetch.canary." + site }

// CanarySubject is where the ledger keeps what became of the run's canaries, as an EntryPack a canary.
func (r RunID) CanarySubject() string { return "outcome." + string(r) + ".canary" }
