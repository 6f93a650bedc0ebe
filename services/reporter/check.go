package reporter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// check is the second reader: it reads a run's ledger again from its first message, counts in its own way, and
// compares what it found with everything that was written. It shares the decoding with the first reader and nothing
// of the fold.
type check struct {
	manifest contract.Manifest
	// found is the first outcome of each number in the ledger.
	found map[int]contract.Outcome
	// seen are the attempts of the ledger, so that one that comes twice counts once.
	seen map[seen]bool
	// tries are the lines that the attempts file is to have, and how many of each.
	tries    map[tried]int
	requests int
	planned  *contract.Planned
	doubts   doubts
	// keyed is the last message whose outcomes must have their keys; unkeyed are the numbers settled after it.
	keyed    uint64
	unkeyed  map[int]bool
	problems []string
}

// seen tells attempts apart. A block does not use up its attempt: blocked ones differ by their start.
type seen struct {
	number, attempt int
	blocked         time.Time
}

// tried is what the attempts file says of an attempt; word is its outcome, else its verdict.
type tried struct {
	number, attempt int
	word            string
}

func newCheck(manifest contract.Manifest, keyed uint64) *check {
	return &check{
		manifest: manifest, keyed: keyed, found: map[int]contract.Outcome{}, seen: map[seen]bool{},
		tries: map[tried]int{}, unkeyed: map[int]bool{}, doubts: newDoubts(keyed),
	}
}

// read counts one message of the ledger.
func (c *check) read(m message) error {
	c.doubts.reading = m.sequence
	if m.planned != nil {
		c.planned = m.planned
	}
	for _, entry := range m.entries {
		if settled := c.count(entry); settled && m.sequence > c.keyed {
			c.unkeyed[entry.CaseID.Number] = true
		}
	}
	if m.canary != nil {
		c.hear(m)
	}
	return nil
}

// count takes in an attempt that is new and comes before its number's outcome, or brings that, which is true then.
func (c *check) count(entry contract.Entry) bool {
	number := entry.CaseID.Number
	this := seen{number: number, attempt: entry.Attempt}
	if entry.Verdict == contract.VerdictBlocked {
		this.blocked = entry.StartedAt.UTC()
	}
	if c.found[number] != "" || c.doubts.void[number] || entry.Outcome == "" && c.seen[this] {
		return false
	}
	c.seen[this] = true
	word := string(entry.Verdict)
	switch {
	case c.doubts.believe(entry):
		c.found[number] = entry.Outcome
		word = string(entry.Outcome)
	case entry.Outcome != "":
		word = string(contract.VerdictBlocked)
	}
	c.tries[tried{number, entry.Attempt, word}]++
	c.requests += len(entry.Requests)
	return entry.Outcome != ""
}

// result is nil when everything agrees, else it matches ErrLedger and names what differs.
func (c *check) result() error {
	if len(c.problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrLedger, strings.Join(c.problems, "; "))
}

// samples is how many cases a mismatch names.
const samples = 5

// differ notes a difference and the numbers it was seen at.
func (c *check) differ(what string, numbers []int) {
	if len(numbers) == 0 {
		return
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	var names []string
	for _, number := range numbers[:min(samples, len(numbers))] {
		names = append(names, c.manifest.Case(number).String())
	}
	c.problems = append(c.problems, fmt.Sprintf("%s: %s, first %s", what, sanitize.Plural(len(numbers), "case"), strings.Join(names, " ")))
}

// numbers are all that one side or the other has an outcome for.
func (c *check) numbers(other outcomes) []int {
	var all []int
	for number := range max(other.highest(), contract.MaxNumber) + 1 {
		if c.found[number] != "" || other.get(number) != "" {
			all = append(all, number)
		}
	}
	return all
}

// tally compares the fold, its counts and its outcomes.
func (c *check) tally(t *tally) {
	counts := map[contract.Outcome]int{}
	for _, outcome := range c.found {
		counts[outcome]++
	}
	got := [3]int{counts[contract.Success], counts[contract.NoRecord], counts[contract.Failed]}
	if want := [3]int{t.Succeeded, t.NoRecord, t.Failed}; got != want {
		c.problems = append(c.problems, fmt.Sprintf("success, no-record, failed: the ledger has %d, the counts say %d", got, want))
	}
	if retries := c.retries(); retries != t.Retries || c.requests != t.Requests {
		c.problems = append(c.problems, fmt.Sprintf("retries, requests: the ledger has [%d %d], the counts say [%d %d]",
			retries, c.requests, t.Retries, t.Requests))
	}
	if open := len(c.doubts.ended) + len(c.doubts.old); open != t.unconfirmed() {
		c.problems = append(c.problems, fmt.Sprintf("unconfirmed: the ledger has %d, the counts say %d", open, t.unconfirmed()))
	}
	var wrong []int
	doubtful := t.doubtful()
	for _, number := range c.numbers(t.Outcomes) {
		if c.doubts.unconfirmed(number) != doubtful[number] {
			wrong = append(wrong, number)
		}
	}
	c.differ("unconfirmed no-records of the checkpoint differ from the ledger", wrong)
	wrong = nil
	for _, number := range c.numbers(t.Outcomes) {
		if c.found[number] != t.Outcomes.get(number) {
			wrong = append(wrong, number)
		}
	}
	c.differ("outcomes of the checkpoint differ from the ledger", wrong)
}

// retries are the attempts of all numbers without the first one of each.
func (c *check) retries() int {
	numbers, attempts := map[int]bool{}, 0
	for try, times := range c.tries {
		numbers[try.number] = true
		attempts += times
	}
	return attempts - len(numbers)
}

// attempts compares the lines of the attempts file: one for each attempt, with its outcome or verdict.
func (c *check) attempts(file io.Reader, attempts int) error {
	written := map[tried]int{}
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
		if err := json.Unmarshal(text, &line); err != nil || line.RunID != c.manifest.RunID {
			c.problems = append(c.problems, fmt.Sprintf("line %d of the attempts file is no attempt of the run", lines))
			return nil
		}
		if line.CaseID != c.manifest.Case(line.CaseID.Number) {
			wrong = append(wrong, line.CaseID.Number)
		}
		written[tried{line.CaseID.Number, line.Attempt, line.Outcome}]++
	}
	for _, try := range slices.Concat(slices.Collect(maps.Keys(c.tries)), slices.Collect(maps.Keys(written)), slices.Collect(maps.Keys(c.doubts.amended))) {
		if c.tries[try]+c.doubts.amended[try] != written[try] {
			wrong = append(wrong, try.number)
		}
	}
	c.differ("the attempts file differs from the ledger", wrong)
	if lines-len(c.doubts.amended) != attempts {
		c.problems = append(c.problems, fmt.Sprintf("the attempts file has %d lines for %d attempts", lines, attempts))
	}
	return nil
}

// keys compares the buckets. Another run may have written the keys of the same numbers since.
func (c *check) keys(collected, failed map[int]contract.Collected) {
	var missing, wrong, failures []int
	run := c.manifest.RunID
	for number, outcome := range c.found {
		value, found := collected[number]
		_, kept := failed[number]
		switch {
		case c.unkeyed[number], c.doubts.late[number]:
		case outcome == contract.Failed && !kept && (!found || value.RunID == run):
			failures = append(failures, number)
		case outcome != contract.Failed && !found && !c.doubts.unconfirmed(number):
			missing = append(missing, number)
		case outcome != contract.Failed && value.RunID == run && value.Outcome != outcome:
			wrong = append(wrong, number)
		}
	}
	for number, value := range collected {
		if value.RunID == run && c.found[number] != value.Outcome && !c.unkeyed[number] {
			wrong = append(wrong, number)
		}
	}
	for number, value := range failed {
		if value.RunID == run && c.found[number] != contract.Failed {
			failures = append(failures, number)
		}
	}
	c.differ("keys missing in the bucket collected", missing)
	c.differ("keys of the bucket collected differ from the ledger", wrong)
	c.differ("keys of the bucket failed differ from the ledger", failures)
}

// whole compares a run whose every job has ended with its range: nothing missing, nothing more.
func (c *check) whole(collected map[int]contract.Collected) {
	if c.planned == nil {
		c.problems = append(c.problems, "the ledger does not say that every job was published")
		return
	}
	p := *c.planned
	if p.Range != c.manifest.Range {
		c.problems = append(c.problems, fmt.Sprintf("range %d..%d was walked, %d..%d was asked for",
			p.Range.Start, p.Range.End, c.manifest.Range.Start, c.manifest.Range.End))
	}
	if len(c.found) != p.Jobs {
		c.problems = append(c.problems, fmt.Sprintf("%d outcomes for %d jobs", len(c.found), p.Jobs))
	}
	var lost, outside []int
	for number := p.Range.Start; number <= p.Range.End; number++ {
		if _, known := collected[number]; c.found[number] == "" && !known {
			lost = append(lost, number)
		}
	}
	for number := range c.found {
		if !p.Range.Contains(number) && !slices.Contains(p.Beyond, number) {
			outside = append(outside, number)
		}
	}
	c.differ("neither asked for nor collected", lost)
	c.differ("outcomes outside of the range", outside)
}

// keysOf reads a bucket's keys of the run's series and year.
func keysOf(ctx context.Context, w *worker) (collected, failed map[int]contract.Collected, err error) {
	collected, failed = map[int]contract.Collected{}, map[int]contract.Collected{}
	err = w.eachKey(ctx, contract.BucketCollected, func(n int, value contract.Collected) { collected[n] = value })
	if err != nil {
		return nil, nil, err
	}
	err = w.eachKey(ctx, contract.BucketFailed, func(n int, value contract.Collected) { failed[n] = value })
	return collected, failed, err
}
