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

// counts is what Stats is made of. It is used by many goroutines.
type counts struct {
	mu       sync.Mutex
	requests int
	pages    int
	robots   int
	strays   int
	cases    map[contract.CaseID]*asked
	faults   map[string]int
	inFlight int
	most     int
	last     time.Time
	gap      time.Duration // the smallest, -1 while there is none
	blocked  time.Time
	after    int
	latest   time.Time
}

// asked counts the requests for one case: all of them, and by call.
type asked struct {
	turns int
	calls [callCount]int
}

func newCounts() *counts {
	return &counts{cases: make(map[contract.CaseID]*asked), faults: make(map[string]int), gap: -1}
}

// begin counts a request and says how many there were for its case before, where all that is about no case counts as one,
// and the how manieth it is of all.
func (c *counts) begin(q question) (turn, nth int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now() // under the lock, so that the starts are in order
	c.inFlight++
	c.most = max(c.most, c.inFlight)
	if !c.last.IsZero() {
		if gap := now.Sub(c.last); c.gap < 0 || gap < c.gap {
			c.gap = gap
		}
	}
	c.last = now
	if !c.blocked.IsZero() {
		c.after++
		c.latest = now
	}
	if q.made == robotsCall {
		c.robots++
		return 0, c.requests
	}
	c.requests++
	if q.made == pageCall {
		c.pages++
		return c.pages - 1, c.requests
	}
	number := c.cases[q.id]
	if number == nil {
		number = &asked{}
		c.cases[q.id] = number
	}
	number.calls[q.made]++
	number.turns++
	return number.turns - 1, c.requests
}

func (c *counts) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
}

// fault counts a fault that is about to be sent.
func (c *counts) fault(kind *faultKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[kind.name]++
	if kind.block && c.blocked.IsZero() {
		c.blocked = time.Now()
	}
}

func (c *counts) stray() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strays++
}

// Stats is what the court has noticed up to now.
func (c *Court) Stats() Stats {
	n := c.counts
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Stats{
		Requests: n.requests, Pages: n.pages, Robots: n.robots, Strays: n.strays, MaxInFlight: n.most, AfterBlock: n.after,
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
	if n.gap >= 0 {
		seconds := n.gap.Seconds()
		s.MinGapSeconds = &seconds
	}
	if !n.blocked.IsZero() {
		s.FirstBlock = n.blocked.UTC().Format(time.RFC3339Nano)
	}
	if n.after > 0 {
		s.LastAfterBlock = n.latest.UTC().Format(time.RFC3339Nano)
		s.AfterBlockLastSeconds = n.latest.Sub(n.blocked).Seconds()
	}
	return s
}

func (a *asked) byCall() map[string]int {
	calls := make(map[string]int)
	for made, times := range a.calls {
		if times > 0 {
			calls[call(made).String()] = times
		}
	}
	return calls
}
