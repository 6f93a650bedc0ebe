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

// Batch is a start command with every default filled in.
type Batch struct {
	RunID  contract.RunID
	Prefix string
	Year   string
	Start  int
	// MaxCases and End are 0 if they set no limit.
	MaxCases    int
	End         int
	Probe       bool
	ProbeBudget int
	MaxRetries  int
	// RequestTimeout and JobTimeout are 0 if the settings of each fetcher apply, else 1 ms to ten
	// years.
	RequestTimeout    time.Duration
	JobTimeout        time.Duration
	SafeStopNoRecords int
	SafeStopFails     int
	Recheck           bool
	Force             bool
	PersistRawHTML    bool
	// ProbeOnly requests only the search for the bound. New requests only numbers above the highest
	// record.
	ProbeOnly bool
	New       bool
}

// MaxRange returns the largest possible range of the batch: from its start to the minimum of
// start+max_cases−1, end and the highest valid number.
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

// Identity returns a key of the batch at a site. Two batches have the same key exactly if one
// resumes the other: they select the same numbers of the same site by the same rule. Retries and
// safe stops are not part of it.
func (b Batch) Identity(site string) string {
	// Marshaling a struct of plain fields cannot fail, and keeps the order of the fields.
	text, _ := json.Marshal(struct {
		Site, Prefix, Year    string
		Start, MaxCases, End  int
		Probe, Recheck, Force bool
		ProbeOnly, New        bool
	}{site, b.Prefix, b.Year, b.Start, b.MaxCases, b.End, b.Probe, b.Recheck, b.Force, b.ProbeOnly, b.New})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// validate checks the fields that depend on each other. Single fields are checked when they are
// decoded.
func (b Batch) validate() []contract.Problem {
	var problems []contract.Problem
	if limit := b.MaxRange(); limit.Size() == 0 {
		problems = append(problems, contract.Problem{
			Field: "end", Value: strconv.Itoa(b.End),
			Allowed: fmt.Sprintf("start (%d) to %d", b.Start, contract.MaxNumber),
		})
	}
	if b.ProbeOnly && !b.Probe {
		problems = append(problems, contract.Problem{Field: "probe_only", Value: "true",
			Allowed: "with probe true alone"})
	}
	return problems
}
