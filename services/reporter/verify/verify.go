// Package verify is the second reader of a run's ledger. It reads the ledger again from its first
// message, counts in its own way, and compares its result with everything that was written. It
// shares the decoding with the fold and nothing else, so that a fault in one of them shows.
package verify

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/sanitize"

	jsonv2 "github.com/go-json-experiment/json"
)

// Verifier counts one run's ledger and collects the differences that it finds. It takes a few bytes a
// number, whatever the attempts.
type Verifier struct {
	manifest contract.Manifest
	// numbers are indexed by number.
	numbers []numberState
	// seen holds the attempts of the numbers without an outcome, so that a replayed one counts once.
	seen map[int][]attemptID
	// lineSeed makes the hashes of lines unpredictable.
	lineSeed maphash.Seed
	// attempts counts the attempts of the ledger without replays, amendments the additional lines of
	// no-records that were counted and voided.
	attempts, amendments, requests int
	planned                        *contract.Planned
	unconfirmed                    unconfirmedSet
	// keysUpTo is the sequence of the last message whose outcomes must have their keys.
	keysUpTo uint64
	problems []string
}

// numberState is what is known about one number of the ledger.
type numberState struct {
	// lines is the sum of the hashes of the lines that the attempts file must have, amendments
	// included. Two sets of lines with the same sum are the same but for one case in 2^64.
	lines uint64
	// outcome is the first one of the number.
	outcome outcomeCode
	flags   flag
}

// flag is what is true of a number.
type flag uint8

const (
	// attempted: the ledger has an attempt.
	attempted flag = 1 << iota
	// withoutKey: the number got its outcome after the last message that must have its keys.
	withoutKey
	// confirmedLate: its no-record was confirmed after that message.
	confirmedLate
	// overflowing: its no-record is one of the overflow.
	overflowing
	// voided: its no-record is void.
	voided
)

func (n *numberState) is(f flag) bool { return n.flags&f != 0 }

// attemptID identifies an attempt of a number. A blocked attempt does not use up its attempt number,
// so blocked attempts are distinguished by their start.
type attemptID struct {
	attempt int
	blocked time.Time
}

// New returns a verifier of a run. keysUpTo is the sequence of the last message whose outcomes must
// have their keys.
func New(manifest contract.Manifest, keysUpTo uint64) *Verifier {
	numbers := make([]numberState, contract.MaxNumber+1)
	return &Verifier{
		manifest: manifest, keysUpTo: keysUpTo, numbers: numbers, seen: map[int][]attemptID{},
		lineSeed:    maphash.MakeSeed(),
		unconfirmed: unconfirmedSet{numbers: numbers, keysUpTo: keysUpTo, newest: map[int]unconfirmed{}},
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
			v.numbers[entry.CaseID.Number].flags |= withoutKey
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
	this := attemptID{attempt: entry.Attempt}
	if entry.Verdict == contract.VerdictBlocked {
		this.blocked = entry.StartedAt.UTC()
	}
	n := &v.numbers[number]
	if n.outcome != 0 || n.is(voided) || entry.Outcome == "" && slices.Contains(v.seen[number], this) {
		return false
	}
	outcome := string(entry.Verdict)
	switch {
	case v.unconfirmed.addEntry(entry):
		n.outcome = codeOf(entry.Outcome)
		outcome = string(entry.Outcome)
	case entry.Outcome != "":
		outcome = string(contract.VerdictBlocked)
	}
	if entry.Outcome == "" {
		v.seen[number] = append(v.seen[number], this)
	} else {
		delete(v.seen, number)
	}
	n.lines += v.hashLine(entry.Attempt, outcome)
	n.flags |= attempted
	v.attempts++
	v.requests += len(entry.Requests)
	return entry.Outcome != ""
}

// hashLine returns the hash of a line of a number; outcome is the attempt's outcome, or its verdict
// when it has none.
func (v *Verifier) hashLine(attempt int, outcome string) uint64 {
	return maphash.Comparable(v.lineSeed, struct {
		attempt int
		outcome string
	}{attempt, outcome})
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

// CompareCounts compares the counts and outcomes of the fold.
func (v *Verifier) CompareCounts(c Counts) {
	counts := v.countOutcomes()
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
	if count := v.unconfirmed.count(); count != c.UnconfirmedCount {
		v.problems = append(v.problems, fmt.Sprintf("unconfirmed: the ledger has %d, the counts have %d", count,
			c.UnconfirmedCount))
	}
	var unconfirmed, outcomes []int
	for number := range max(len(v.numbers), c.Outcomes.Highest()+1) {
		ours := v.outcome(number)
		if v.unconfirmed.has(number) != c.Unconfirmed[number] {
			unconfirmed = append(unconfirmed, number)
		}
		if ours != c.Outcomes.Get(number) {
			outcomes = append(outcomes, number)
		}
	}
	v.addDifference("unconfirmed no-records of the checkpoint differ from the ledger", unconfirmed)
	v.addDifference("outcomes of the checkpoint differ from the ledger", outcomes)
}

// outcome returns the outcome of a number; empty when it has none.
func (v *Verifier) outcome(number int) contract.Outcome {
	if number < 0 || number >= len(v.numbers) {
		return ""
	}
	return v.numbers[number].outcome.decoded()
}

// countOutcomes counts the numbers with each outcome.
func (v *Verifier) countOutcomes() map[contract.Outcome]int {
	counts := make(map[contract.Outcome]int)
	for _, n := range v.numbers {
		if n.outcome != 0 {
			counts[n.outcome.decoded()]++
		}
	}
	return counts
}

// retries counts the attempts of all numbers except each number's first one.
func (v *Verifier) retries() int {
	retries := v.attempts
	for _, n := range v.numbers {
		if n.is(attempted) {
			retries--
		}
	}
	return retries
}

// CompareAttempts compares the lines of the attempts file: one for each attempt, with its outcome
// or verdict. attempts is how many the fold counted.
func (v *Verifier) CompareAttempts(file io.Reader, attempts int) error {
	written := make([]uint64, len(v.numbers)) // the sums of the hashes of the lines of each number
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
		if err := jsonv2.Unmarshal(text, &line); err != nil || line.RunID != v.manifest.RunID {
			v.problems = append(v.problems, fmt.Sprintf("line %d of the attempts file is not an attempt of the run",
				lines))
			return nil
		}
		if line.CaseID != v.manifest.Case(line.CaseID.Number) {
			wrong = append(wrong, line.CaseID.Number)
		}
		written[line.CaseID.Number] += v.hashLine(line.Attempt, line.Outcome)
	}
	for number, n := range v.numbers {
		if n.lines != written[number] {
			wrong = append(wrong, number)
		}
	}
	v.addDifference("the attempts file differs from the ledger", wrong)
	if lines-v.amendments != attempts {
		v.problems = append(v.problems, fmt.Sprintf("the attempts file has %d lines for %d attempts", lines, attempts))
	}
	return nil
}

// CompareKeys compares the keys of the buckets. Another run may have overwritten the keys of some
// numbers since.
func (v *Verifier) CompareKeys(collected, failed Keys) {
	var missing, wrong, failures []int
	for number, n := range v.numbers {
		outcome, own := n.outcome.decoded(), collected.Own(number)
		switch {
		case outcome == "" || n.is(withoutKey) || n.is(confirmedLate):
		case outcome == contract.Failed && !failed.Has(number) && collected.Belongs(number):
			failures = append(failures, number)
		case outcome != contract.Failed && !collected.Has(number) && !v.unconfirmed.has(number):
			missing = append(missing, number)
		}
		if own && collected.Outcome(number) != outcome && !n.is(withoutKey) {
			wrong = append(wrong, number)
		}
		if failed.Own(number) && outcome != contract.Failed {
			failures = append(failures, number)
		}
	}
	v.addDifference("keys missing in the bucket collected", missing)
	v.addDifference("keys of the bucket collected differ from the ledger", wrong)
	v.addDifference("keys of the bucket failed differ from the ledger", failures)
}

// CompareRange compares the outcomes of a complete run with its range: none missing, none outside.
func (v *Verifier) CompareRange(collected Keys) {
	if v.planned == nil {
		v.problems = append(v.problems, "the ledger has no message that all jobs are published")
		return
	}
	p := *v.planned
	if p.Range != v.manifest.Range {
		v.problems = append(v.problems, fmt.Sprintf("range %d..%d was planned, the manifest has %d..%d",
			p.Range.Start, p.Range.End, v.manifest.Range.Start, v.manifest.Range.End))
	}
	var lost, outside []int
	for number := p.Range.Start; number <= p.Range.End; number++ {
		if v.outcome(number) == "" && !collected.Has(number) && v.manifest.Selects(number) {
			lost = append(lost, number)
		}
	}
	outcomes := 0
	for number := range v.numbers {
		if v.outcome(number) == "" {
			continue
		}
		outcomes++
		if !v.manifest.Selects(number) && !slices.Contains(p.Beyond, number) {
			outside = append(outside, number)
		}
	}
	if outcomes != p.Jobs {
		v.problems = append(v.problems, fmt.Sprintf("%d outcomes for %d jobs", outcomes, p.Jobs))
	}
	v.addDifference("neither fetched nor collected", lost)
	v.addDifference("outcomes outside of the range", outside)
}

// unconfirmedSet holds the unconfirmed no-records that the verifier has read.
type unconfirmedSet struct {
	// numbers are those of the verifier.
	numbers []numberState
	// newest are the newest no-records by number, at most contract.MaxUnconfirmed. order has them in the
	// order of the ledger, and among them some that are confirmed.
	newest map[int]unconfirmed
	order  []int
	// sequence is the message being read.
	sequence uint64
	// overflow counts those before the newest: a proof confirms all of them or none.
	// overflowEnded is when the last of their answers was received, overflowSequence the last of
	// their messages.
	overflow         int
	overflowEnded    time.Time
	overflowSequence uint64
	// keysUpTo is the last message whose keys must exist.
	keysUpTo uint64
	// vanished is set when a canary has vanished.
	vanished bool
}

// unconfirmed is an unconfirmed no-record: its attempt number, when its answer was received, and its
// message.
type unconfirmed struct {
	attempt  int
	ended    time.Time
	sequence uint64
}

func (u *unconfirmedSet) count() int { return len(u.newest) + u.overflow }

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
			u.numbers[number].flags |= voided
			return false
		}
		u.newest[number] = unconfirmed{entry.Attempt, entry.EndedAt(), u.sequence}
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
			u.numbers[number].flags |= confirmedLate
		}
	}
	for number, n := range u.newest {
		if !n.ended.After(started) || n.sequence <= after {
			confirm(number)
			delete(u.newest, number)
		}
	}
	if len(u.newest) == 0 {
		u.order = u.order[:0]
	}
	if u.overflow > 0 && (!u.overflowEnded.After(started) || u.overflowSequence <= after) {
		for number := range u.numbers {
			if n := &u.numbers[number]; n.is(overflowing) {
				n.flags &^= overflowing
				confirm(number)
			}
		}
		u.overflow, u.overflowEnded, u.overflowSequence = 0, time.Time{}, 0
	}
}

// trim moves the oldest no-records to the overflow while there are more than
// contract.MaxUnconfirmed.
func (u *unconfirmedSet) trim() {
	for len(u.newest) > contract.MaxUnconfirmed {
		number := u.order[0]
		u.order = u.order[1:]
		if n, found := u.newest[number]; found {
			u.numbers[number].flags |= overflowing
			u.overflow++
			u.overflowSequence = max(u.overflowSequence, n.sequence)
			if n.ended.After(u.overflowEnded) {
				u.overflowEnded = n.ended
			}
			delete(u.newest, number)
		}
	}
}

func (u *unconfirmedSet) has(number int) bool {
	if _, newest := u.newest[number]; newest {
		return true
	}
	return number >= 0 && number < len(u.numbers) && u.numbers[number].is(overflowing)
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
		for number, n := range u.newest {
			state := &v.numbers[number]
			state.outcome = 0
			state.lines += v.hashLine(n.attempt, string(contract.VerdictBlocked))
			state.flags |= voided
			if m.Sequence > v.keysUpTo {
				state.flags |= withoutKey
			}
			v.amendments++
		}
		clear(u.newest)
	}
}

// Keys are the keys of one bucket for the numbers of a run's series and year, in two bytes each. Nil has
// none.
type Keys []keyState

type keyState struct {
	kind    keyKind
	outcome outcomeCode
}

// keyKind says whose key it is.
type keyKind uint8

const (
	noKey    keyKind = iota
	ownKey           // this run wrote it
	skipKey          // another run wrote it, and this run skips the number
	otherKey         // another run wrote it
)

// NewKeys returns keys to add to.
func NewKeys() Keys { return make(Keys, contract.MaxNumber+1) }

// Add records a key of a number from 1 to contract.MaxNumber. manifest is that of the run.
func (k Keys) Add(manifest contract.Manifest, number int, value contract.Collected) {
	state := keyState{otherKey, codeOf(value.Outcome)}
	switch {
	case value.RunID == manifest.RunID:
		state.kind = ownKey
	case manifest.Skips(number, value):
		state.kind = skipKey
	}
	k[number] = state
}

// Has reports whether a number has a key.
func (k Keys) Has(number int) bool { return k.of(number).kind != noKey }

// Own reports whether this run wrote the key of a number.
func (k Keys) Own(number int) bool { return k.of(number).kind == ownKey }

// Skipped reports whether another run wrote the key of a number, and this run skips the number.
func (k Keys) Skipped(number int) bool { return k.of(number).kind == skipKey }

// Belongs reports whether a number belongs to this run: no other run has a key of it.
func (k Keys) Belongs(number int) bool { return !k.Has(number) || k.Own(number) }

// Outcome returns the outcome in the key of a number; empty if there is no key.
func (k Keys) Outcome(number int) contract.Outcome { return k.of(number).outcome.decoded() }

func (k Keys) of(number int) keyState {
	if number < 0 || number >= len(k) {
		return keyState{}
	}
	return k[number]
}

// outcomeCode is an outcome in a byte; 0 is none.
type outcomeCode uint8

// codedOutcomes are the outcomes in the order of their codes. The last one stands for any other text.
func codedOutcomes() [5]contract.Outcome {
	return [...]contract.Outcome{"", contract.Success, contract.NoRecord, contract.Failed, "unknown"}
}

func codeOf(outcome contract.Outcome) outcomeCode {
	codes := codedOutcomes()
	if at := slices.Index(codes[:], outcome); at >= 0 {
		return outcomeCode(at)
	}
	return outcomeCode(len(codes) - 1)
}

func (c outcomeCode) decoded() contract.Outcome { return codedOutcomes()[c] }
