// Package courtsim simulates the Federal Court's web site: an HTTP handler that serves court files
// of invented people, and that can misbehave in many ways. Every response about a case depends only
// on the options and the case id, so two simulators with the same options give the same bytes, in
// any order of requests.
package courtsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// ErrOptions marks every error of invalid options.
var ErrOptions = errors.New("invalid simulator options")

// maxLatency is the longest latency, and the longest time that any response is delayed.
const maxLatency = 10 * time.Minute

// Options of a Simulator. The zero value is a site without cases.
type Options struct {
	// Seed determines the missing numbers, the faults and the files.
	Seed uint64
	// Max is the highest number, 0 to contract.MaxNumber. Every series and year has the same
	// numbers.
	Max int
	// Missing is the share of numbers that do not exist, 0 to 1. The highest number always exists,
	// so that the bound is exact.
	Missing float64
	// Gaps are ranges of numbers that do not exist. A gap that covers Max lowers the highest number
	// to the one before the gap.
	Gaps []contract.Range
	// Latency is the delay of each response, 0 to 10 minutes.
	Latency time.Duration
	// Faults are applied in order; a number that several of them hit gets one after the other.
	Faults []Fault
	// Today makes its year the current one: that year's files are spread over the days up to Today.
	// The zero value means that every year is over.
	Today time.Time
	// TokenLife is how many posts the tokens of an HTML page are valid for, including posts with
	// tokens from the responses to those posts; 0 means any number.
	TokenLife int
	// BlockAfter blocks every client from the given request on. SoftBlockAfter is the number of the
	// request from which every case is reported as missing; 0 means never.
	BlockAfter     Block
	SoftBlockAfter int
	// Division is the accepted form of the docket call's division: DivisionAny, DivisionNumber or
	// DivisionLetter. The other calls accept what the real site accepts.
	Division string
	// Robots is the text of robots.txt; empty means status 404.
	Robots string
}

// The forms of the docket call's division: the court number itself, or the letter of a division.
// Empty means DivisionAny.
const (
	DivisionAny    = "any"
	DivisionNumber = "number"
	DivisionLetter = "t"
)

// Divisions returns the forms of the docket call's division.
func Divisions() []string { return []string{DivisionAny, DivisionNumber, DivisionLetter} }

// DefaultOptions returns a site of 5,600 numbers, of which one in twenty is missing.
func DefaultOptions() Options { return Options{Seed: 1, Max: 5600, Missing: 0.05} }

// check lists every invalid option: field, value, allowed values.
func (o Options) check() error {
	var problems []error
	wrong := func(field string, value any, allowed string) {
		problems = append(problems, fmt.Errorf("%s %v: allowed is %s", field, value, allowed))
	}
	if o.Max < 0 || o.Max > contract.MaxNumber {
		wrong("max", o.Max, "0 to "+strconv.Itoa(contract.MaxNumber))
	}
	if !isShare(o.Missing) {
		wrong("missing", o.Missing, "a share from 0 to 1")
	}
	if o.Latency < 0 || o.Latency > maxLatency {
		wrong("latency", o.Latency, "0 to "+maxLatency.String())
	}
	if o.TokenLife < 0 {
		wrong("token life", o.TokenLife, "0, for ever, or more")
	}
	if o.SoftBlockAfter < 0 {
		wrong("soft block after", o.SoftBlockAfter, "0, never, or more")
	}
	if o.Division != "" && !slices.Contains(Divisions(), o.Division) {
		wrong("division", fmt.Sprintf("%.40q", o.Division), "any, number or t")
	}
	if err := o.BlockAfter.check(); err != nil {
		problems = append(problems, err)
	}
	for _, gap := range o.Gaps {
		if err := checkGap(gap); err != nil {
			problems = append(problems, err)
		}
	}
	for _, fault := range o.Faults {
		if err := fault.check(); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return nil
}

// isShare reports whether x is from 0 to 1, which NaN is not.
func isShare(x float64) bool { return x >= 0 && x <= 1 }

// ParseGap parses "120-170": the first and the last missing number. Its error wraps ErrOptions.
func ParseGap(text string) (contract.Range, error) {
	from, to, _ := strings.Cut(text, "-")
	start, err1 := plainNumber(from)
	end, err2 := plainNumber(to)
	gap := contract.Range{Start: start, End: end}
	if err1 != nil || err2 != nil {
		return contract.Range{}, fmt.Errorf("%w: gap %.40q: allowed is <from>-<to>, such as 120-170", ErrOptions, text)
	}
	if err := checkGap(gap); err != nil {
		return contract.Range{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return gap, nil
}

func checkGap(gap contract.Range) error {
	if gap.Start < 1 || gap.End < gap.Start || gap.End > contract.MaxNumber {
		return fmt.Errorf("gap %d-%d: allowed is <from>-<to> within 1 to %d, from no more than to", gap.Start, gap.End, contract.MaxNumber)
	}
	return nil
}

// plainNumber parses digits without a sign or leading zeros.
func plainNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && strconv.Itoa(n) != text {
		err = strconv.ErrSyntax
	}
	return n, err
}

// Forever as a Fault's Times means that the number never recovers.
const Forever = -1

// maxTimes is the largest number of faults before a number recovers.
const maxTimes = 1000

// Fault is one way in which the simulator misbehaves.
type Fault struct {
	// Kind is one of FaultKinds.
	Kind string
	// Share is the share of numbers that are hit, 0 to 1; which ones depends on seed, kind and
	// number only.
	Share float64
	// Times is how many requests for a case of a hit number fail, counted over all calls, before
	// the number recovers: 1 to 1000. 0 means 1 or 2, depending on the number, or Forever if Share
	// is 1.
	Times int
}

// ParseFault parses "kind:share", "kind:share:times" or "kind:share:forever", such as 500:0.2 or
// timeout:0.01:forever. Its error wraps ErrOptions.
func ParseFault(text string) (Fault, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Fault{}, fmt.Errorf("%w: fault %.60q: allowed is <kind>:<share>, <kind>:<share>:<times> or <kind>:<share>:forever", ErrOptions, text)
	}
	share, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return Fault{}, fmt.Errorf("%w: fault %.60q: share %.40q: allowed is a number from 0 to 1", ErrOptions, text, parts[1])
	}
	fault := Fault{Kind: parts[0], Share: share}
	if len(parts) == 3 {
		if fault.Times, err = parseTimes(parts[2]); err != nil {
			return Fault{}, fmt.Errorf("%w: fault %.60q: %w", ErrOptions, text, err)
		}
	}
	if err := fault.check(); err != nil {
		return Fault{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return fault, nil
}

func parseTimes(text string) (int, error) {
	if text == "forever" {
		return Forever, nil
	}
	times, err := plainNumber(text)
	if err != nil || times < 1 {
		return 0, fmt.Errorf("times %.40q: allowed is 1 to %d, or forever", text, maxTimes)
	}
	return times, nil
}

// String returns the form that ParseFault parses.
func (f Fault) String() string {
	text := f.Kind + ":" + strconv.FormatFloat(f.Share, 'g', -1, 64)
	switch f.Times {
	case 0:
		return text
	case Forever:
		return text + ":forever"
	default:
		return text + ":" + strconv.Itoa(f.Times)
	}
}

func (f Fault) check() error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("fault kind %.40q: allowed are %s", f.Kind, strings.Join(FaultKinds(), ", "))
	}
	if !isShare(f.Share) {
		return fmt.Errorf("fault %s: share %v: allowed is a number from 0 to 1", f.Kind, f.Share)
	}
	if f.Times < Forever || f.Times > maxTimes {
		return fmt.Errorf("fault %s: times %d: allowed is 1 to %d, or forever", f.Kind, f.Times, maxTimes)
	}
	return nil
}

// Block is a permanent block from a certain request on.
type Block struct {
	// After is the first blocked request, counted from 1; 0 means never. Every later request is
	// blocked too, including those for robots.txt.
	After int
	// Kind is one of BlockKinds.
	Kind string
}

// ParseBlock parses "n:kind", such as 100:403. Its error wraps ErrOptions.
func ParseBlock(text string) (Block, error) {
	after, kind, _ := strings.Cut(text, ":")
	n, err := plainNumber(after)
	block := Block{After: n, Kind: kind}
	if err != nil || n < 1 {
		return Block{}, fmt.Errorf("%w: block after %.60q: allowed is <n>:<kind>, such as 100:403", ErrOptions, text)
	}
	if err := block.check(); err != nil {
		return Block{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return block, nil
}

func (b Block) check() error {
	if b.After < 0 {
		return fmt.Errorf("block after %d: allowed is 0, never, or more", b.After)
	}
	if b.After > 0 && !slices.Contains(BlockKinds(), b.Kind) {
		return fmt.Errorf("block kind %.40q: allowed are %s", b.Kind, strings.Join(BlockKinds(), ", "))
	}
	return nil
}
