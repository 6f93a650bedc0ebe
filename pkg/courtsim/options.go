// Package courtsim is a pretend court: an HTTP handler that answers as the Federal Court's court files do, with files of
// invented people, and misbehaves when told to. Everything it says about a case is a function of the seed and of the
// case id: two courts of the same options give the same answers, byte for byte, in whatever order they are asked.
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

// ErrOptions marks every error of options that no court can be made of.
var ErrOptions = errors.New("court options not usable")

// maxLatency is the longest latency, and the longest that any answer is held back.
const maxLatency = 10 * time.Minute

// Options of a court. The zero value is an empty court.
type Options struct {
	// Seed chooses among all courts; the holes, the faults and the files come from it.
	Seed uint64
	// Max is the highest number, 0 to contract.MaxNumber. Every series and every year has the same numbers.
	Max int
	// Missing is the share of numbers that do not exist, 0 to 1. The highest number exists always, so that the bound
	// is exact.
	Missing float64
	// Gaps are numbers that do not exist. A gap that covers Max lowers the highest number to the one before it.
	Gaps []contract.Range
	// Latency is waited before each answer, 0 to 10 minutes.
	Latency time.Duration
	// Faults are tried in their order; a number that several of them hit gets one after the other.
	Faults []Fault
	// Today makes the year that it lies in one that is not over: that year's files are spread over the days up to it.
	// The zero value is no such year.
	Today time.Time
	// TokenLife is how many posts the tokens of a page of the HTML face are good for, counted with the tokens that the
	// answers to those posts hand on; 0 for any number.
	TokenLife int
	// BlockAfter makes the court tell everybody to go away from a request on; SoftBlockAfter, a number of a request counted
	// likewise, makes it say of every case that there is none. 0 is never.
	BlockAfter     Block
	SoftBlockAfter int
	// Division is what the docket call is answered for: DivisionAny, DivisionNumber or DivisionLetter. The other calls take
	// what the real court takes.
	Division string
	// Robots is the text of robots.txt; empty for status 404.
	Robots string
}

// The forms of the docket call's division: the court number itself, or the letter of a division. Empty is DivisionAny.
const (
	DivisionAny    = "any"
	DivisionNumber = "number"
	DivisionLetter = "t"
)

// DefaultOptions is the court that one gets who says nothing about it: 5,600 numbers, one in twenty missing.
func DefaultOptions() Options { return Options{Seed: 1, Max: 5600, Missing: 0.05} }

// check names all that is wrong: field, value, what is allowed.
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
	if !slices.Contains([]string{"", DivisionAny, DivisionNumber, DivisionLetter}, o.Division) {
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

// isShare is false for NaN too.
func isShare(x float64) bool { return x >= 0 && x <= 1 }

// ParseGap reads "120-170": the first and the last number that do not exist. Its error wraps ErrOptions.
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

// plainNumber reads digits alone, without a sign or leading zeros.
func plainNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && strconv.Itoa(n) != text {
		err = strconv.ErrSyntax
	}
	return n, err
}

// Forever as a Fault's Times: the number never heals.
const Forever = -1

// maxTimes is how often a number can get a fault that heals.
const maxTimes = 1000

// Fault is one way in which the court misbehaves.
type Fault struct {
	// Kind is one of FaultKinds.
	Kind string
	// Share is the share of NUMBERS that it hits, 0 to 1; which ones is decided by seed, kind and number alone.
	Share float64
	// Times is how many requests for a case of a hit number get it, counted over all calls, before the number heals: 1
	// to 1000; 0 is 1 or 2, drawn by number; Forever is always. With a Share of 1, 0 is for ever too: a court that is
	// down.
	Times int
}

// ParseFault reads "kind:share", "kind:share:times" or "kind:share:forever", such as 500:0.2, timeout:0.01:forever. Its
// error wraps ErrOptions.
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

// String is the form that ParseFault reads.
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

// Block is a site that has had enough.
type Block struct {
	// After is the first request, counted from 1 over all, whose answer is the block, as is every answer from then on, that
	// to a look for robots.txt too. 0 is never.
	After int
	// Kind is one of BlockKinds.
	Kind string
}

// ParseBlock reads "n:kind", such as 100:403. Its error wraps ErrOptions.
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
