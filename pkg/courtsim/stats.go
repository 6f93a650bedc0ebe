package courtsim

import (
	"maps"
	"strconv"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

// Stats is what a court noticed of those who asked it; /__stats gives it as JSON.
type Stats struct {
	// Requests counts the requests: calls, posts and pages; control paths are none.
	Requests int `json:"requests"`
	// Pages are those of them that got the HTML face's page, or posted something about no number.
	Pages int `json:"pages"`
	// Robots counts who asked for robots.txt: among the starts and after a block, but no request.
	Robots int `json:"robots"`
	// Strays counts who followed a redirect to another origin; they are no requests.
	Strays int `json:"strays"`
	// PerNumber counts them by series and year ("IMM-25"), number and call.
	PerNumber map[string]map[string]map[string]int `json:"per_number"`
	// MaxInFlight is the largest number of requests under way at once.
	MaxInFlight int `json:"max_in_flight"`
	// MinGapSeconds is the smallest gap between the starts of two requests; nil with fewer than two.
	MinGapSeconds *float64 `json:"min_gap_seconds"`
	// AfterBlock counts the requests that started after the first answer that was a block, AfterBlockLastSeconds is how
	// long after it the last one did.
	AfterBlock            int     `json:"after_block"`
	AfterBlockLastSeconds float64 `json:"after_block_last_seconds"`
	// FirstBlock is when that answer was sent, RFC 3339; empty when there was none.
	FirstBlock string `json:"first_block"`
	// LastAfterBlock is when the last request after it started, RFC 3339; empty when there was none.
	LastAfterBlock string `json:"last_after_block"`
	// Faults counts the faults by kind.
	Faults map[string]int `json:"faults"`
}

// statsCounter is what Stats is made of. It is used by many goroutines.
type statsCounter struct {
	mu             sync.Mutex
	requests       int
	pages          int
	robots         int
	strays         int
	cases          map[contract.CaseID]*caseCounts
	faults         map[string]int
	inFlight       int
	maxInFlight    int
	lastStart      time.Time
	minGap         time.Duration // the smallest, -1 while there is none
	firstBlock     time.Time
	afterBlock     int
	lastAfterBlock time.Time
}

// caseCounts counts the requests for one case: all of them, and by call.
type caseCounts struct {
	requests int
	calls    [callCount]int
}

func newStatsCounter() *statsCounter {
	return &statsCounter{cases: make(map[contract.CaseID]*caseCounts), faults: make(map[string]int), minGap: -1}
}

// begin counts a request and says how many there were for its case before, where all that is about no case counts as one,
// and the how manieth it is of all.
func (c *statsCounter) begin(q request) (turn, nth int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now() // under the lock, so that the starts are in order
	c.inFlight++
	c.maxInFlight = max(c.maxInFlight, c.inFlight)
	if !c.lastStart.IsZero() {
		if gap := now.Sub(c.lastStart); c.minGap < 0 || gap < c.minGap {
			c.minGap = gap
		}
	}
	c.lastStart = now
	if !c.firstBlock.IsZero() {
		c.afterBlock++
		c.lastAfterBlock = now
	}
	if q.call == robotsCall {
		c.robots++
		return 0, c.requests
	}
	c.requests++
	if q.call == pageCall {
		c.pages++
		return c.pages - 1, c.requests
	}
	number := c.cases[q.id]
	if number == nil {
		number = &caseCounts{}
		c.cases[q.id] = number
	}
	number.calls[q.call]++
	number.requests++
	return number.requests - 1, c.requests
}

func (c *statsCounter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
}

// countFault counts a fault that is about to be sent.
func (c *statsCounter) countFault(kind *faultKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[kind.name]++
	if kind.block && c.firstBlock.IsZero() {
		c.firstBlock = time.Now()
	}
}

func (c *statsCounter) countStray() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strays++
}

// Stats is what the court has noticed up to now.
func (c *Simulator) Stats() Stats {
	n := c.stats
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Stats{
		Requests: n.requests, Pages: n.pages, Robots: n.robots, Strays: n.strays, MaxInFlight: n.maxInFlight, AfterBlock: n.afterBlock,
		PerNumber: make(map[string]map[string]map[string]int), Faults: make(map[string]int),
	}
	for id, number := range n.cases {
		year := id.Series + "-" + id.Year
		if s.PerNumber[year] == nil {
			s.PerNumber[year] = make(map[string]map[string]int)
		}
		s.PerNumber[year][strconv.Itoa(id.Number)] = number.byCall()
	}
	maps.Copy(s.Faults, n.faults)
	if n.minGap >= 0 {
		seconds := n.minGap.Seconds()
		s.MinGapSeconds = &seconds
	}
	if !n.firstBlock.IsZero() {
		s.FirstBlock = n.firstBlock.UTC().Format(time.RFC3339Nano)
	}
	if n.afterBlock > 0 {
		s.LastAfterBlock = n.lastAfterBlock.UTC().Format(time.RFC3339Nano)
		s.AfterBlockLastSeconds = n.lastAfterBlock.Sub(n.firstBlock).Seconds()
	}
	return s
}

func (a *caseCounts) byCall() map[string]int {
	calls := make(map[string]int)
	for made, times := range a.calls {
		if times > 0 {
			calls[call(made).String()] = times
		}
	}
	return calls
}
