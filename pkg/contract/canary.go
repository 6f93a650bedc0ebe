package contract

import (
	"encoding/json"
	"fmt"
	"time"
)

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
