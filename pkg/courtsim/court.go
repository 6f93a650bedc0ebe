package courtsim

import (
	"fmt"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // the court's days are its own wherever it is pretended

	"fct-scraper/pkg/contract"
)

// Court is an http.Handler and is used by many goroutines.
type Court struct {
	opts    Options
	highest int
	words   *words
	pages   *pages
	visits  *sessions
	kinds   map[string]*faultKind
	zone    *time.Location
	counts  *counts
	buffers sync.Pool
}

// New makes a court. Its error wraps ErrOptions and names all that is wrong: field, value, what is allowed.
func New(opts Options) (*Court, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	opts.Gaps = slices.Clone(opts.Gaps)
	opts.Faults = slices.Clone(opts.Faults)
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		return nil, fmt.Errorf("finding the court's time zone: %w", err)
	}
	words, err := readWords()
	if err != nil {
		return nil, fmt.Errorf("reading the court's words: %w", err)
	}
	pages, err := readPages()
	if err != nil {
		return nil, fmt.Errorf("reading the court's pages: %w", err)
	}
	c := &Court{
		opts: opts, highest: highest(opts), words: words, pages: pages, zone: zone, counts: newCounts(),
		visits: newSessions(opts.Seed, opts.TokenLife), kinds: kindsByName(),
	}
	c.buffers.New = func() any { return new([]byte) }
	return c, nil
}

// highest is the highest number that lies in no gap; 0 when there is none.
func highest(opts Options) int {
	gaps := slices.Clone(opts.Gaps)
	slices.SortFunc(gaps, func(a, b contract.Range) int { return b.End - a.End })
	top := opts.Max
	for _, gap := range gaps {
		if gap.Contains(top) {
			top = gap.Start - 1
		}
	}
	return top
}

// Exists is the truth: whether the court has that case. It has none whose id is not valid.
func (c *Court) Exists(id contract.CaseID) bool {
	_, err := contract.NewCaseID(id.Series, id.Number, id.Year)
	return err == nil && c.exists(id.Number)
}

func (c *Court) exists(number int) bool {
	if number < 1 || number > c.highest {
		return false
	}
	for _, gap := range c.opts.Gaps {
		if gap.Contains(number) {
			return false
		}
	}
	d := throw(c.opts.Seed, saltHole, uint64(number))
	return number == c.highest || !d.chance(c.opts.Missing)
}

// drawn is the kind of fault that the turn-th request for a case gets, counted from 0; empty for none.
func (c *Court) drawn(id contract.CaseID, turn int) string {
	for _, fault := range c.opts.Faults {
		times := c.times(fault, id.Number)
		if times == Forever || turn < times {
			return fault.Kind
		}
		turn -= times
	}
	return ""
}

// times is how often a fault comes for a number: 0 when it does not hit it.
func (c *Court) times(fault Fault, number int) int {
	d := throw(c.opts.Seed, saltFault, textSeed(fault.Kind), uint64(number))
	switch {
	case !d.chance(fault.Share):
		return 0
	case fault.Times != 0:
		return fault.Times
	case fault.Share == 1:
		return Forever
	default:
		return d.between(1, 2)
	}
}
