package courtsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
