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
	_ "time/tzdata" // the days are in the court's time zone on every machine

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/loopback"
)

// Simulator is an http.Handler. It is safe for concurrent use.
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

// New returns a simulator. Its error wraps ErrOptions and lists every problem: field, value,
// allowed values.
func New(opts Options) (*Simulator, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	opts.Gaps = slices.Clone(opts.Gaps)
	opts.Faults = slices.Clone(opts.Faults)
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		return nil, fmt.Errorf("loading the time zone: %w", err)
	}
	words, err := readVocabulary()
	if err != nil {
		return nil, fmt.Errorf("reading the vocabulary: %w", err)
	}
	pages, err := readPages()
	if err != nil {
		return nil, fmt.Errorf("reading the page texts: %w", err)
	}
	c := &Simulator{
		opts: opts, highest: highest(opts), vocabulary: words, pages: pages, zone: zone, stats: newStatsCounter(),
		sessions: newSessions(opts.Seed, opts.TokenLife), kinds: kindsByName(),
	}
	c.buffers.New = func() any { return new([]byte) }
	return c, nil
}

// highest returns the highest number outside of the gaps; 0 if there is none.
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

// Exists reports whether the case exists. No invalid id does.
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

// faultFor returns the kind of fault of a request for a case, or an empty text; turn counts the
// requests for the case from 0.
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

// faultTimes returns how many requests for a number get a fault: 0 if the number is not hit.
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

// Server serves a simulator on a loopback address.
type Server struct {
	// URL is the server's origin.
	URL    string
	http   *http.Server
	served chan error
	end    context.CancelFunc
}

// Start listens on a loopback address such as 127.0.0.1:0. It refuses other addresses with
// ErrOptions.
func (c *Simulator) Start(addr string) (*Server, error) {
	if !loopback.IsListenAddr(addr) {
		return nil, fmt.Errorf("%w: addr %.60q: allowed is an address of this machine alone, such as 127.0.0.1:8090", ErrOptions, addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting the simulator: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{
		URL: "http://" + listener.Addr().String(), served: make(chan error, 1), end: end,
		http: &http.Server{
			Handler: c, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
			// http.Server does not track hijacked connections; this context ends their waits.
			BaseContext: func(net.Listener) context.Context { return ctx },
		},
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close stops the server and closes every connection at once.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stopping the simulator: %w", err)
	}
	return nil
}
