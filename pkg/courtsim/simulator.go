package courtsim

import (
	"fmt"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // the court's days are its own wherever it is pretended

	"fct-scraper/pkg/contract"
)

// Simulator is an http.Handler and is used by many goroutines.
type Simulator struct {
	opts       Options
	highest    int
	vocabulary *vocabulary
	pages      *pages
	sessions   *sessions
	kinds      map[string]*faultKind
	zone       *time.Location
	stats      *statsCounter
	buffers    sync.Pool
}

// New makes a court. Its error wraps ErrOptions and names all that is wrong: field, value, what is allowed.
func New(opts Options) (*Simulator, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	opts.Gaps = slices.Clone(opts.Gaps)
	opts.Faults = slices.Clone(opts.Faults)
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		return nil, fmt.Errorf("finding the court's time zone: %w", err)
	}
	words, err := readVocabulary()
	if err != nil {
		return nil, fmt.Errorf("reading the court's words: %w", err)
	}
	pages, err := readPages()
	if err != nil {
		return nil, fmt.Errorf("reading the court's pages: %w", err)
	}
	c := &Simulator{
		opts: opts, highest: highest(opts), vocabulary: words, pages: pages, zone: zone, stats: newStatsCounter(),
		sessions: newSessions(opts.Seed, opts.TokenLife), kinds: kindsByName(),
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
func (c *Simulator) Exists(id contract.CaseID) bool {
	_, err := contract.NewCaseID(id.Series, id.Number, id.Year)
	return err == nil && c.exists(id.Number)
}

func (c *Simulator) exists(number int) bool {
	if number < 1 || number > c.highest {
		return false
	}
	for _, gap := range c.opts.Gaps {
		if gap.Contains(number) {
			return false
		}
	}
	d := newRandom(c.opts.Seed, saltMissing, uint64(number))
	return number == c.highest || !d.chance(c.opts.Missing)
}

// faultFor is the kind of fault that the turn-th request for a case gets, counted from 0; empty for none.
func (c *Simulator) faultFor(id contract.CaseID, turn int) string {
	for _, fault := range c.opts.Faults {
		times := c.faultTimes(fault, id.Number)
		if times == Forever || turn < times {
			return fault.Kind
		}
		turn -= times
	}
	return ""
}

// faultTimes is how often a fault comes for a number: 0 when it does not hit it.
func (c *Simulator) faultTimes(fault Fault, number int) int {
	d := newRandom(c.opts.Seed, saltFault, hashText(fault.Kind), uint64(number))
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
