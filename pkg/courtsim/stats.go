package courtsim

import (
	"maps"
	"strconv"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

// Stats counts the requests of clients; /__stats returns it as JSON.
type Stats struct {
	// Requests counts calls, posts and pages, but not control paths.
	Requests int `json:"requests"`
	// Pages counts the requests for the HTML page, and posts about no case, among them.
	Pages int `json:"pages"`
	// Robots counts the requests for robots.txt. They count for gaps and after a block, but are not
	// in Requests.
	Robots int `json:"robots"`
	// Strays counts the clients that followed a redirect to another origin; they are not in
	// Requests.
	Strays int `json:"strays"`
	// PerNumber counts requests by series and year ("IMM-25"), number and call.
	PerNumber map[string]map[string]map[string]int `json:"per_number"`
	// MaxInFlight is the largest number of concurrent requests.
	MaxInFlight int `json:"max_in_flight"`
	// MinGapSeconds is the smallest gap between the starts of two requests; nil for fewer than two.
	MinGapSeconds *float64 `json:"min_gap_seconds"`
	// AfterBlock counts the requests that started after the first block was sent.
	// AfterBlockLastSeconds is how long after it the last of them started.
	AfterBlock            int     `json:"after_block"`
	AfterBlockLastSeconds float64 `json:"after_block_last_seconds"`
	// FirstBlock is the time of the first block, RFC 3339; empty if there was none.
	FirstBlock string `json:"first_block"`
	// LastAfterBlock is when the last request after it started, RFC 3339; empty if there was none.
	LastAfterBlock string `json:"last_after_block"`
	// Faults counts the faults by kind.
	Faults map[string]int `json:"faults"`
}

// statsCounter collects the data of Stats. It is safe for concurrent use.
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
	minGap         time.Duration // the smallest; -1 if there is none yet
	firstBlock     time.Time
	afterBlock     int
	lastAfterBlock time.Time
}

// caseCounts counts the requests for one case, in total and by call.
type caseCounts struct {
	requests int
	calls    [callCount]int
}

func newStatsCounter() *statsCounter {
	return &statsCounter{cases: make(map[contract.CaseID]*caseCounts), faults: make(map[string]int), minGap: -1}
}

// begin counts a request. turn is the number of earlier requests for its case; all requests about
// no case count as one case. nth is its number among all requests.
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

// countFault counts a fault just before it is sent.
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

// Stats returns the statistics so far.
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
	for op, times := range a.calls {
		if times > 0 {
			calls[call(op).String()] = times
		}
	}
	return calls
}
