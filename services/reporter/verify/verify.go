// Package verify is the second reader of a run's ledger. It reads the ledger again from its first
// message, counts in its own way, and compares its result with everything that was written. It
// shares the decoding with the fold and nothing else, so that a fault in one of them shows.
package verify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/sanitize"
)

// Verifier counts one run's ledger and collects the differences that it finds.
type Verifier struct {
	manifest contract.Manifest
	// outcomes is the first outcome of each number in the ledger.
	outcomes map[int]contract.Outcome
	// seen holds the attempts of the ledger, so that a replayed one counts once.
	seen map[attemptID]bool
	// lines are the lines that the attempts file must have, and how many of each.
	lines       map[attemptsLine]int
	requests    int
	planned     *contract.Planned
	unconfirmed unconfirmedSet
	// keysUpTo is the sequence of the last message whose outcomes must have their keys; withoutKey
	// are the numbers that got theirs after it.
	keysUpTo   uint64
	withoutKey map[int]bool
	problems   []string
}

// attemptID identifies an attempt. A blocked attempt does not use up its attempt number, so blocked
// attempts are distinguished by their start.
type attemptID struct {
	number, attempt int
	blocked         time.Time
}

// attemptsLine is a line of the attempts file; outcome is the attempt's outcome, or its verdict
// when it has none.
type attemptsLine struct {
	number, attempt int
	outcome         string
}

// New returns a verifier of a run. keysUpTo is the sequence of the last message whose outcomes must
// have their keys.
func New(manifest contract.Manifest, keysUpTo uint64) *Verifier {
	return &Verifier{
		manifest: manifest, keysUpTo: keysUpTo, outcomes: map[int]contract.Outcome{}, seen: map[attemptID]bool{},
		lines: map[attemptsLine]int{}, withoutKey: map[int]bool{}, unconfirmed: newUnconfirmedSet(keysUpTo),
	}
}

// Read counts one message of the ledger.
func (v *Verifier) Read(m ledger.Message) {
	v.unconfirmed.sequence = m.Sequence
	if m.Planned != nil {
		v.planned = m.Planned
	}
	for _, entry := range m.Entries {
		if ended := v.addEntry(entry); ended && m.Sequence > v.keysUpTo {
			v.withoutKey[entry.CaseID.Number] = true
		}
	}
	if m.Canary != nil {
		v.addCanary(m)
	}
}

// addEntry counts an attempt unless it is a replay or follows its number's outcome. It reports
// whether the entry gives its number the outcome.
func (v *Verifier) addEntry(entry contract.Entry) bool {
	number := entry.CaseID.Number
	this := attemptID{number: number, attempt: entry.Attempt}
	if entry.Verdict == contract.VerdictBlocked {
		this.blocked = entry.StartedAt.UTC()
	}
	if v.outcomes[number] != "" || v.unconfirmed.voided[number] || entry.Outcome == "" && v.seen[this] {
		return false
	}
	v.seen[this] = true
	outcome := string(entry.Verdict)
	switch {
	case v.unconfirmed.addEntry(entry):
		v.outcomes[number] = entry.Outcome
		outcome = string(entry.Outcome)
	case entry.Outcome != "":
		outcome = string(contract.VerdictBlocked)
	}
	v.lines[attemptsLine{number, entry.Attempt, outcome}]++
	v.requests += len(entry.Requests)
	return entry.Outcome != ""
}

// Result returns nil when everything agrees, else an error that matches ledger.ErrMismatch and
// names the differences.
func (v *Verifier) Result() error {
	if len(v.problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ledger.ErrMismatch, strings.Join(v.problems, "; "))
}

// maxNamedCases is how many cases a mismatch names.
const maxNamedCases = 5

// addDifference records a difference and the numbers that it affects; without numbers there is
// none.
func (v *Verifier) addDifference(what string, numbers []int) {
	if len(numbers) == 0 {
		return
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	var names []string
	for _, number := range numbers[:min(maxNamedCases, len(numbers))] {
		names = append(names, v.manifest.Case(number).String())
	}
	v.problems = append(v.problems, fmt.Sprintf("%s: %s, first %s", what, sanitize.Plural(len(numbers), "case"),
		strings.Join(names, " ")))
}

// Counts are what the fold made of a ledger, for CompareCounts.
type Counts struct {
	Succeeded, NoRecord, Failed, Retries, Requests int
	// UnconfirmedCount is how many no-records are unconfirmed, Unconfirmed their numbers.
	UnconfirmedCount int
	Unconfirmed      map[int]bool
	// Outcomes has the outcome of each number.
	Outcomes interface {
		Get(number int) contract.Outcome
		Highest() int
	}
}

// numbers returns the numbers that have an outcome on either side.
func (v *Verifier) numbers(c Counts) []int {
	all := slices.Collect(maps.Keys(v.outcomes))
	for number := range c.Outcomes.Highest() + 1 {
		if _, known := v.outcomes[number]; !known && c.Outcomes.Get(number) != "" {
			all = append(all, number)
		}
	}
	slices.Sort(all)
	return all
}

// CompareCounts compares the counts and outcomes of the fold.
func (v *Verifier) CompareCounts(c Counts) {
	counts := map[contract.Outcome]int{}
	for _, outcome := range v.outcomes {
		counts[outcome]++
	}
	got := [3]int{counts[contract.Success], counts[contract.NoRecord], counts[contract.Failed]}
	if want := [3]int{c.Succeeded, c.NoRecord, c.Failed}; got != want {
		v.problems = append(v.problems,
			fmt.Sprintf("success, no-record, failed: the ledger has %d, the counts have %d", got, want))
	}
	if retries := v.retries(); retries != c.Retries || v.requests != c.Requests {
		v.problems = append(v.problems,
			fmt.Sprintf("retries, requests: the ledger has [%d %d], the counts have [%d %d]",
				retries, v.requests, c.Retries, c.Requests))
	}
	if count := len(v.unconfirmed.endedAt) + len(v.unconfirmed.overflow); count != c.UnconfirmedCount {
		v.problems = append(v.problems, fmt.Sprintf("unconfirmed: the ledger has %d, the counts have %d", count,
			c.UnconfirmedCount))
	}
	numbers := v.numbers(c)
	var wrong []int
	for _, number := range numbers {
		if v.unconfirmed.has(number) != c.Unconfirmed[number] {
			wrong = append(wrong, number)
		}
	}
	v.addDifference("unconfirmed no-records of the checkpoint differ from the ledger", wrong)
	wrong = nil
	for _, number := range numbers {
		if v.outcomes[number] != c.Outcomes.Get(number) {
			wrong = append(wrong, number)
		}
	}
	v.addDifference("outcomes of the checkpoint differ from the ledger", wrong)
}

// retries counts the attempts of all numbers except each number's first one.
func (v *Verifier) retries() int {
	numbers, attempts := map[int]bool{}, 0
	for line, times := range v.lines {
		numbers[line.number] = true
		attempts += times
	}
	return attempts - len(numbers)
}

// CompareAttempts compares the lines of the attempts file: one for each attempt, with its outcome
// or verdict. attempts is how many the fold counted.
func (v *Verifier) CompareAttempts(file io.Reader, attempts int) error {
	written := map[attemptsLine]int{}
	var wrong []int
	lines := 0
	reader := bufio.NewReader(file)
	for {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the attempts file: %w", err)
		}
		lines++
		var line contract.AttemptLine
		if err := json.Unmarshal(text, &line); err != nil || line.RunID != v.manifest.RunID {
			v.problems = append(v.problems, fmt.Sprintf("line %d of the attempts file is not an attempt of the run",
				lines))
			return nil
		}
		if line.CaseID != v.manifest.Case(line.CaseID.Number) {
			wrong = append(wrong, line.CaseID.Number)
		}
		written[attemptsLine{line.CaseID.Number, line.Attempt, line.Outcome}]++
	}
	for _, key := range slices.Concat(slices.Collect(maps.Keys(v.lines)), slices.Collect(maps.Keys(written)),
		slices.Collect(maps.Keys(v.unconfirmed.amendments))) {
		if v.lines[key]+v.unconfirmed.amendments[key] != written[key] {
			wrong = append(wrong, key.number)
		}
	}
	v.addDifference("the attempts file differs from the ledger", wrong)
	if lines-len(v.unconfirmed.amendments) != attempts {
		v.problems = append(v.problems, fmt.Sprintf("the attempts file has %d lines for %d attempts", lines, attempts))
	}
	return nil
}

// CompareKeys compares the keys of the buckets. Another run may have overwritten the keys of some
// numbers since.
func (v *Verifier) CompareKeys(collected, failed map[int]contract.Collected) {
	var missing, wrong, failures []int
	run := v.manifest.RunID
	for number, outcome := range v.outcomes {
		value, found := collected[number]
		_, isFailed := failed[number]
		switch {
		case v.withoutKey[number], v.unconfirmed.confirmedLate[number]:
		case outcome == contract.Failed && !isFailed && (!found || value.RunID == run):
			failures = append(failures, number)
		case outcome != contract.Failed && !found && !v.unconfirmed.has(number):
			missing = append(missing, number)
		case outcome != contract.Failed && value.RunID == run && value.Outcome != outcome:
			wrong = append(wrong, number)
		}
	}
	for number, value := range collected {
		if value.RunID == run && v.outcomes[number] != value.Outcome && !v.withoutKey[number] {
			wrong = append(wrong, number)
		}
	}
	for number, value := range failed {
		if value.RunID == run && v.outcomes[number] != contract.Failed {
			failures = append(failures, number)
		}
	}
	v.addDifference("keys missing in the bucket collected", missing)
	v.addDifference("keys of the bucket collected differ from the ledger", wrong)
	v.addDifference("keys of the bucket failed differ from the ledger", failures)
}

// CompareRange compares the outcomes of a complete run with its range: none missing, none outside.
func (v *Verifier) CompareRange(collected map[int]contract.Collected) {
	if v.planned == nil {
		v.problems = append(v.problems, "the ledger has no message that all jobs are published")
		return
	}
	p := *v.planned
	if p.Range != v.manifest.Range {
		v.problems = append(v.problems, fmt.Sprintf("range %d..%d was planned, the manifest has %d..%d",
			p.Range.Start, p.Range.End, v.manifest.Range.Start, v.manifest.Range.End))
	}
	if len(v.outcomes) != p.Jobs {
		v.problems = append(v.problems, fmt.Sprintf("%d outcomes for %d jobs", len(v.outcomes), p.Jobs))
	}
	var lost, outside []int
	for number := p.Range.Start; number <= p.Range.End; number++ {
		if _, known := collected[number]; v.outcomes[number] == "" && !known && v.manifest.Selects(number) {
			lost = append(lost, number)
		}
	}
	for number := range v.outcomes {
		if !v.manifest.Selects(number) && !slices.Contains(p.Beyond, number) {
			outside = append(outside, number)
		}
	}
	v.addDifference("neither fetched nor collected", lost)
	v.addDifference("outcomes outside of the range", outside)
}

// unconfirmedSet holds the unconfirmed no-records that the verifier has read.
type unconfirmedSet struct {
	// endedAt is when the answer of each one was received; attempts is its attempt number; order is
	// the ledger's.
	endedAt  map[int]time.Time
	attempts map[int]int
	order    []int
	// sequence is the message being read; sequences are those of the no-records.
	sequence  uint64
	sequences map[int]uint64
	// overflow holds those beyond the newest contract.MaxUnconfirmed: a proof confirms all of them or
	// none.
	// overflowEnded is when the last of their answers was received, overflowSequence the last of
	// their messages.
	overflow         map[int]bool
	overflowEnded    time.Time
	overflowSequence uint64
	// keysUpTo is the last message whose keys must exist; confirmedLate are the numbers confirmed
	// after it.
	keysUpTo      uint64
	confirmedLate map[int]bool
	// vanished is set when a canary has vanished; voided are the numbers whose no-records are void;
	// amendments are the additional lines of those that had been counted.
	vanished   bool
	voided     map[int]bool
	amendments map[attemptsLine]int
}

func newUnconfirmedSet(keysUpTo uint64) unconfirmedSet {
	return unconfirmedSet{keysUpTo: keysUpTo, confirmedLate: map[int]bool{}, overflow: map[int]bool{},
		endedAt: map[int]time.Time{}, attempts: map[int]int{}, sequences: map[int]uint64{}, voided: map[int]bool{},
		amendments: map[attemptsLine]int{}}
}

// addEntry adds a new attempt and reports whether it gives its number the outcome.
func (u *unconfirmedSet) addEntry(entry contract.Entry) bool {
	number := entry.CaseID.Number
	switch entry.Outcome {
	case "":
		return false
	case contract.Failed: // proves nothing about the site's records
	case contract.Success:
		if len(entry.Requests) > 0 { // else it is a copy, which confirms nothing
			u.confirm(entry.StartedAt, 0)
		}
	case contract.NoRecord:
		if u.vanished {
			u.voided[number] = true
			return false
		}
		u.endedAt[number], u.attempts[number], u.sequences[number] = entry.EndedAt(), entry.Attempt, u.sequence
		u.order = append(u.order, number)
		u.trim()
	}
	return true
}

// confirm removes the no-records that a record confirms: those answered before its request started,
// and those up to the message after, which the requester had already read.
func (u *unconfirmedSet) confirm(started time.Time, after uint64) {
	confirm := func(number int) {
		if u.sequence > u.keysUpTo {
			u.confirmedLate[number] = true
		}
	}
	for number, ended := range u.endedAt {
		if !ended.After(started) || u.sequences[number] <= after {
			confirm(number)
			delete(u.endedAt, number)
		}
	}
	if !u.overflowEnded.After(started) || u.overflowSequence <= after {
		for number := range u.overflow {
			confirm(number)
		}
		clear(u.overflow)
		u.overflowEnded, u.overflowSequence = time.Time{}, 0
	}
}

// trim moves the oldest no-records to the overflow while there are more than
// contract.MaxUnconfirmed.
func (u *unconfirmedSet) trim() {
	for len(u.endedAt) > contract.MaxUnconfirmed {
		number := u.order[0]
		u.order = u.order[1:]
		if ended, found := u.endedAt[number]; found {
			u.overflow[number], u.overflowSequence = true, max(u.overflowSequence, u.sequences[number])
			if ended.After(u.overflowEnded) {
				u.overflowEnded = ended
			}
			delete(u.endedAt, number)
		}
	}
}

func (u *unconfirmedSet) has(number int) bool {
	_, newest := u.endedAt[number]
	return newest || u.overflow[number]
}

func (v *Verifier) addCanary(m ledger.Message) {
	for _, entry := range m.Canary {
		v.requests += len(entry.Requests)
	}
	u := &v.unconfirmed
	switch verdict, started := contract.CanaryVerdict(m.Canary); {
	case verdict == contract.VerdictSuccess:
		u.confirm(started, m.After)
	case verdict == contract.VerdictNoRecord && !u.vanished:
		u.vanished = true
		for number := range u.endedAt {
			delete(v.outcomes, number)
			u.voided[number] = true
			u.amendments[attemptsLine{number, u.attempts[number], string(contract.VerdictBlocked)}] = 1
			if m.Sequence > v.keysUpTo {
				v.withoutKey[number] = true
			}
		}
		clear(u.endedAt)
	}
}
