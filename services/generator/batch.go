// Package generator turns a batch into jobs: it reads the commands of operators, decides which numbers are to be
// asked for, and publishes a job for each.
package generator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"fct-scraper/pkg/contract"
)

// Batch is what an operator asks for, every default filled in.
type Batch struct {
	RunID  contract.RunID
	Prefix string
	Year   string
	Start  int
	// MaxCases and End are 0 when they set no limit.
	MaxCases    int
	End         int
	Probe       bool
	ProbeBudget int
	MaxRetries  int
	// RequestTimeout and JobTimeout are 0 when each fetcher is to take its own settings, else 1 ms to ten years.
	RequestTimeout    time.Duration
	JobTimeout        time.Duration
	SafeStopNoRecords int
	SafeStopFails     int
	Recheck           bool
	Force             bool
	PersistRawHTML    bool
	// ProbeOnly asks for the bound alone, New for what is new above the highest record.
	ProbeOnly bool
	New       bool
}

// MaxRange is the widest range that the batch may become: from its start to the least of start+max_cases−1, its end and
// the highest number there can be.
func (b Batch) MaxRange() contract.Range {
	end := contract.MaxNumber
	if b.End > 0 {
		end = min(end, b.End)
	}
	if b.MaxCases > 0 {
		end = min(end, b.Start+b.MaxCases-1)
	}
	return contract.Range{Start: b.Start, End: end}
}

// Identity is the same for two batches exactly when the one goes on where the other stopped: the same numbers of the
// same site are asked for by the same rule. Retries and safe stops are not part of it.
func (b Batch) Identity(site string) string {
	// A struct of plain fields is always encoded, in the order of its fields.
	text, _ := json.Marshal(struct {
		Site, Prefix, Year    string
		Start, MaxCases, End  int
		Probe, Recheck, Force bool
		ProbeOnly, New        bool
	}{site, b.Prefix, b.Year, b.Start, b.MaxCases, b.End, b.Probe, b.Recheck, b.Force, b.ProbeOnly, b.New})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// validate says what is wrong with the batch as a whole; single fields are checked when they are read.
func (b Batch) validate() []contract.Problem {
	var bad []contract.Problem
	if limit := b.MaxRange(); limit.Size() == 0 {
		bad = append(bad, contract.Problem{
			Field: "end", Value: strconv.Itoa(b.End), Allowed: fmt.Sprintf("start (%d) to %d", b.Start, contract.MaxNumber),
		})
	}
	if b.ProbeOnly && !b.Probe {
		bad = append(bad, contract.Problem{Field: "probe_only", Value: "true", Allowed: "with probe true alone"})
	}
	return bad
}
