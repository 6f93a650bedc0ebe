package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// uneven is a court that takes its time, for each request another one, so that answers come out of order. It notes of
// each number when it was first asked for and when it last answered.
type uneven struct {
	court  *courtsim.Simulator
	most   time.Duration
	mu     sync.Mutex
	dice   *rand.Rand
	begun  map[int]time.Time
	ended  map[int]time.Time
	lately int // the number that was answered last
	late   int // how many answers came after one to a higher number
}

func newUneven(court *courtsim.Simulator, most time.Duration) *uneven {
	return &uneven{court: court, most: most, dice: rand.New(rand.NewPCG(37, 1)), begun: make(map[int]time.Time),
		ended: make(map[int]time.Time)}
}

func (u *uneven) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := contract.ParseCaseID(r.URL.Query().Get("courtnumber"))
	if err != nil {
		panic(err)
	}
	wait(r.Context(), u.begin(id.Number))
	u.court.ServeHTTP(w, r)
	u.end(id.Number)
}

// begin says how long the request takes.
func (u *uneven) begin(number int) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.begun[number].IsZero() {
		u.begun[number] = time.Now()
	}
	return time.Duration(u.dice.Int64N(int64(u.most)))
}

func (u *uneven) end(number int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended[number] = time.Now()
	if number < u.lately {
		u.late++
	}
	u.lately = number
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// decided is when the last number of the stretch was answered.
func (u *uneven) decided(stretch contract.Range) (at time.Time) {
	for n := stretch.Start; n <= stretch.End; n++ {
		if u.ended[n].After(at) {
			at = u.ended[n]
		}
	}
	return at
}

// underWay counts the numbers above the stretch that were asked for: in all, at the moment at, and first after it.
func (u *uneven) underWay(stretch contract.Range, at time.Time) (all, then, after int) {
	for n, begun := range u.begun {
		switch {
		case n <= stretch.End:
		case begun.After(at):
			all, after = all+1, after+1
		case u.ended[n].After(at):
			all, then = all+1, then+1
		default:
			all++
		}
	}
	return all, then, after
}

// stopAt walks a year without records from 61 on until the safe stop, and checks the stop as a whole.
func stopAt(t *testing.T, limit int, most time.Duration) (u *uneven, stretch contract.Range) {
	t.Helper()
	p := newFixture(t, courtsim.Options{Seed: 38, Max: 60}, map[string]string{
		"year": "23", "end": "5000", "concurrency": "16", "safe_stop_no_records": fmt.Sprint(limit),
	})
	u = newUneven(p.sim, most)
	p.memory.court = u
	report := p.report(nil)
	stretch = contract.Range{Start: 61, End: 60 + limit}
	want := fmt.Sprintf("%d consecutive no-record: IMM-61-23..IMM-%d-23", limit, stretch.End)
	if report.Status != contract.SafeStop || report.Reason != want {
		t.Errorf("%s: %q, want %q", report.Status, report.Reason, want)
	}
	for n := 1; n <= stretch.End; n++ {
		if u.begun[n].IsZero() {
			t.Errorf("number %d of the stretch or below it was not asked for", n)
		}
	}
	if report.Total != len(u.begun) || report.Succeeded != 60 || report.NoRecord != len(u.begun)-60 ||
		report.Failed != 0 {
		t.Errorf("%d = %d + %d + %d, %d numbers were asked for", report.Total, report.Succeeded, report.NoRecord,
			report.Failed, len(u.begun))
	}
	if u.late < limit/10 {
		t.Errorf("only %d answers came out of order", u.late)
	}
	p.checkOnce()
	return u, stretch
}

// In virtual time word of the stop takes none: nothing is begun after the last answer of the stretch, what is under way
// is finished. It lasts less than 15 s of that time: the server tells the age of a message by the real clock, so that
// from then on the fetcher's presence counts as expired.
func TestSafeStop_FinishesInFlight(t *testing.T) {
	for _, limit := range []int{100, 500}[:fcttest.Scaled(1, 2)] {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				u, stretch := stopAt(t, limit, 100*time.Millisecond)
				all, then, after := u.underWay(stretch, u.decided(stretch))
				t.Logf("%d numbers above the stretch, %d under way when it was decided, %d begun after; %d answers out of order", all, then, after, u.late)
				if after > 0 || then > 16 {
					t.Errorf("%d numbers were under way, %d begun after the last answer of the stretch", then, after)
				}
			})
		})
	}
}

// With a real broker word of the stop takes two writes to disk and a message, and at no pause at all much is asked for in
// the meantime: 6 to 90 numbers were measured, 800 are half a second of it.
func TestSafeStop_Quick(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{100, 500}[:fcttest.Scaled(1, 2)] {
		u, stretch := stopAt(t, limit, 20*time.Millisecond)
		all, then, after := u.underWay(stretch, u.decided(stretch))
		t.Logf("%d numbers above the stretch, %d under way when it was decided, %d begun after; %d answers out of order", all, then, after, u.late)
		if then > 16 || after > 800 {
			t.Errorf("%d numbers were under way, %d begun after the last answer of the stretch", then, after)
		}
	}
}

// A gap under the top stops a batch although the search has found what lies above it; the reason says how to go on.
func TestBatch_YearGoesOnAboveSafeStop(t *testing.T) {
	t.Parallel()
	last := fcttest.Scaled(400, 900)
	p := newFixture(t, courtsim.Options{Seed: 39, Max: last, Gaps: []contract.Range{{Start: 61, End: 220}}},
		map[string]string{"probe": "true", "concurrency": "8", "safe_stop_no_records": "100"})
	p.memory.court = newUneven(p.sim, 5*time.Millisecond)
	report := p.report(nil)
	known := slices.Min(recordsAbove(p, 220))
	want := fmt.Sprintf("100 consecutive no-record: IMM-61-25..IMM-160-25; a record is known above it: IMM-%d-25; go on with --start 161", known)
	if report.Status != contract.SafeStop || report.Reason != want || report.UpperBound != last {
		t.Fatalf("%s: %q, bound %d; want %q", report.Status, report.Reason, report.UpperBound, want)
	}
	rest := p.report(map[string]string{"start": "161"})
	if rest.Status != contract.Completed || report.Succeeded+rest.Succeeded != last-160 || rest.Start != 161 ||
		rest.End != last {
		t.Errorf("%s: %d to %d, %d and %d succeeded", rest.Status, rest.Start, rest.End, report.Succeeded,
			rest.Succeeded)
	}
	p.checkOnce()
}

// recordsAbove are the numbers above one that were asked for and exist.
func recordsAbove(p *fixture, number int) []int {
	var numbers []int
	for n := range p.asked() {
		if n > number && p.sim.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
