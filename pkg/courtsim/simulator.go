package courtsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // the court's days are its own wherever it is pretended

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/loopback"
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

// Server is a court that listens on an address of this machine.
type Server struct {
	// URL is its origin.
	URL    string
	http   *http.Server
	served chan error
	end    context.CancelFunc
}

// Start listens on a loopback address such as 127.0.0.1:0; any other one is refused with ErrOptions.
func (c *Simulator) Start(addr string) (*Server, error) {
	if !loopback.IsListenAddr(addr) {
		return nil, fmt.Errorf("%w: addr %.60q: allowed is an address of this machine alone, such as 127.0.0.1:8090", ErrOptions, addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting the court: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{
		URL: "http://" + listener.Addr().String(), served: make(chan error, 1), end: end,
		http: &http.Server{
			Handler: c, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
			// The server forgets connections that were taken from it; what they wait for ends with this.
			BaseContext: func(net.Listener) context.Context { return ctx },
		},
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends the server and every connection at once.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("ending the court: %w", err)
	}
	return nil
}
