package fetcher_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/fetcher/limit"
	"fct-scraper/streams"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// observedSite is a site that records when requests left and how many cases were in flight at once.
type observedSite struct {
	*fakeSite
	// sendTime is how long a request takes to leave the machine. answerTime is how long the answer
	// takes then for a third of the numbers; it takes two and three times as long for the others.
	sendTime, answerTime time.Duration

	mu                    sync.Mutex
	last                  time.Time
	shortest              time.Duration
	inFlight, maxInFlight int
	started, answered     int
}

func (s *observedSite) Fetch(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
	return s.fakeSite.Fetch(ctx, id, func(ctx context.Context) (time.Duration, error) {
		gap, err := before(ctx)
		if err != nil {
			return gap, err
		}
		time.Sleep(s.sendTime)
		s.mu.Lock()
		now := time.Now()
		if !s.last.IsZero() && (s.shortest == 0 || now.Sub(s.last) < s.shortest) {
			s.shortest = now.Sub(s.last)
		}
		s.last, s.started, s.inFlight = now, s.started+1, s.inFlight+1
		s.maxInFlight = max(s.maxInFlight, s.inFlight)
		s.mu.Unlock()
		site.RequestSent(ctx)
		return gap, nil
	})
}

func (s *observedSite) respond(ctx context.Context, n int) (contract.Exchange, error) {
	time.Sleep(time.Duration(1+n%3) * s.answerTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight, s.answered = s.inFlight-1, s.answered+1
	return okExchange(ctx, n)
}

// waitUntil waits until the counts of requests and answers meet the condition.
func (s *observedSite) waitUntil(t *testing.T, condition func(started, answered int) bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ; <-ticker.C {
		s.mu.Lock()
		started, answered := s.started, s.answered
		s.mu.Unlock()
		if condition(started, answered) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests and %d answers after three minutes", started, answered)
		}
	}
}

// poolDamages are changes that an operator may make to the pools of a site during a run.
func poolDamages() map[string]func(f fixture, js jetstream.JetStream) error {
	change := func(consumer string, by func(*jetstream.ConsumerConfig)) func(fixture, jetstream.JetStream) error {
		return func(f fixture, js jetstream.JetStream) error {
			there, err := js.Consumer(f.t.Context(), contract.StreamPace, consumer)
			if err != nil {
				return err
			}
			config := there.CachedInfo().Config
			by(&config)
			_, err = js.UpdateConsumer(f.t.Context(), contract.StreamPace, config)
			return err
		}
	}
	remove := func(consumers ...string) func(fixture, jetstream.JetStream) error {
		return func(f fixture, js jetstream.JetStream) error {
			for _, consumer := range consumers {
				if err := js.DeleteConsumer(f.t.Context(), contract.StreamPace, consumer); err != nil {
					return err
				}
			}
			return nil
		}
	}
	purge := func(f fixture, js jetstream.JetStream) error {
		stream, err := js.Stream(f.t.Context(), contract.StreamPace)
		if err != nil {
			return err
		}
		return stream.Purge(f.t.Context())
	}
	return map[string]func(fixture, jetstream.JetStream) error{
		"purged":                  purge,
		"turn's consumer removed": remove("turn-sim"), "slots' consumer removed": remove("slots-sim"),
		"purged and both removed": func(f fixture, js jetstream.JetStream) error {
			if err := purge(f, js); err != nil {
				return err
			}
			return remove("turn-sim", "slots-sim")(f, js)
		},
		"one slot deleted": func(f fixture, js jetstream.JetStream) error {
			stream, err := js.Stream(f.t.Context(), contract.StreamPace)
			if err != nil {
				return err
			}
			msg, err := stream.GetLastMsgForSubject(f.t.Context(), contract.SlotSubject("sim", 2))
			if err != nil {
				return err
			}
			return stream.DeleteMsg(f.t.Context(), msg.Sequence)
		},
		"stream recreated": func(f fixture, js jetstream.JetStream) error {
			if err := js.DeleteStream(f.t.Context(), contract.StreamPace); err != nil {
				return err
			}
			return streams.Ensure(f.t.Context(), js, streams.Options{})
		},
		"turn delivered once":   change("turn-sim", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 }),
		"slots delivered twice": change("slots-sim", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 2 }),
		"another filter": change("turn-sim",
			func(c *jetstream.ConsumerConfig) { c.FilterSubject = "turn.other" }),
		"more slots at a time": change("slots-sim", func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 50 }),
		"removed when idle": change("slots-sim",
			func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Millisecond }),
	}
}

// TestDamagedPoolRestored checks that two fetchers recover from each damage of a pool, without
// requests closer than the pause or more cases in flight than the concurrency, however long the
// cases in flight last.
func TestDamagedPoolRestored(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	for _, site := range []struct {
		name          string
		leaves, takes time.Duration
		jobs          int
	}{{"quick", 0, 100 * time.Millisecond, 120}, {"slow answers", 0, 4 * time.Second, 36}, {"slow to leave",
		4 * time.Second, 0, 12}} {
		for name, damage := range poolDamages() {
			t.Run(site.name+"/"+name, func(t *testing.T) {
				fcttest.VirtualTime(t, func(t *testing.T) {
					checkRecovery(t, &observedSite{sendTime: site.leaves, answerTime: site.takes}, site.jobs, damage)
				})
			})
		}
	}
}

// checkRecovery lets two fetchers work on a run and damages a pool after a third of it.
func checkRecovery(t *testing.T, site *observedSite, jobs int, damage func(fixture, jetstream.JetStream) error) {
	t.Helper()
	const concurrency, pause = 3, 20 * time.Millisecond
	f := newFixture(t, jobs)
	site.fakeSite, f.site.answer = f.site, site.respond
	for i := range 2 {
		time.Sleep(500 * time.Millisecond) // they check the pools at different times
		t.Cleanup(f.startFetcher(func(opts *fetcher.Options) {
			opts.ID, opts.Site, opts.Shared, opts.Concurrency = fmt.Sprintf("fetcher-%d", i), site, true, concurrency
			opts.Pace = limit.Pace{Min: pause, Max: pause + time.Millisecond}
		}))
	}
	site.waitUntil(t, func(started, _ int) bool { return started > jobs/3 })
	if err := damage(f, f.bus.JetStream()); err != nil {
		t.Fatal(err)
	}
	site.waitUntil(t, func(_, answered int) bool { return answered == jobs })
	if total, maxPerNumber := f.site.requests(); total != jobs || maxPerNumber != 1 {
		t.Errorf("%d requests for %d jobs, %d for one of them", total, jobs, maxPerNumber)
	}
	site.mu.Lock()
	defer site.mu.Unlock()
	if site.shortest < pause {
		t.Errorf("two requests %s apart, want at least %s", site.shortest, pause)
	}
	if site.maxInFlight > concurrency {
		t.Errorf("%d cases in flight, want at most %d", site.maxInFlight, concurrency)
	}
}

func TestPoolLimitsRestored(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		f := newFixture(t, 0)
		defer f.startFetcher(func(opts *fetcher.Options) { opts.Shared = true })()
		js := f.bus.JetStream()
		config := func() jetstream.ConsumerConfig {
			there, err := js.Consumer(t.Context(), contract.StreamPace, "slots-sim")
			if err != nil {
				t.Fatal(err)
			}
			return there.CachedInfo().Config
		}
		want := config()
		for name, change := range map[string]func(*jetstream.ConsumerConfig){
			"ack_wait":           func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second },
			"backoff":            func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Second} },
			"max_ack_pending":    func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 50 },
			"inactive_threshold": func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour },
		} {
			changed := want
			change(&changed)
			if _, err := js.UpdateConsumer(t.Context(), contract.StreamPace, changed); err != nil {
				t.Fatal(name, err)
			}
			time.Sleep(3 * time.Second)
			if diff := cmp.Diff(want, config()); diff != "" {
				t.Error(name, diff)
			}
		}
		// A slower setting was made by the operator and stays.
		slower := want
		slower.AckWait, slower.MaxAckPending = time.Minute, 2
		if _, err := js.UpdateConsumer(t.Context(), contract.StreamPace, slower); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if diff := cmp.Diff(slower, config()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDamagedPoolWaitsForHolder checks that a fetcher without messages of a damaged pool does not
// restore it while another one holds some, whichever of the two checks the pool first.
func TestDamagedPoolWaitsForHolder(t *testing.T) {
	for offset := time.Duration(0); offset < time.Second; offset += 250 * time.Millisecond {
		t.Run(offset.String(), func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				const concurrency, jobs = 3, 9
				f := newFixture(t, jobs)
				site := &observedSite{fakeSite: f.site, answerTime: 3 * time.Second}
				f.site.answer = site.respond
				work := func(id string) {
					t.Cleanup(f.startFetcher(func(opts *fetcher.Options) {
						opts.ID, opts.Site, opts.Shared, opts.Concurrency = id, site, true, concurrency
					}))
				}
				work("holder")
				site.waitUntil(t, func(started, _ int) bool { return started == concurrency })
				time.Sleep(500 * time.Millisecond)
				work("other")
				time.Sleep(time.Second + offset)
				if err := f.bus.JetStream().DeleteConsumer(t.Context(), contract.StreamPace, "slots-sim"); err != nil {
					t.Fatal(err)
				}
				site.waitUntil(t, func(_, answered int) bool { return answered == jobs })
				site.mu.Lock()
				defer site.mu.Unlock()
				if site.maxInFlight > concurrency {
					t.Errorf("%d cases in flight, want at most %d", site.maxInFlight, concurrency)
				}
			})
		})
	}
}

// TestFreePoolRestoredAfterThreeSeconds checks that a pool of which no process holds a message is
// not restored at once either, since the check of another process may be late.
func TestFreePoolRestoredAfterThreeSeconds(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		f := newFixture(t, 0)
		defer f.startFetcher(func(opts *fetcher.Options) { opts.Shared = true })()
		js := f.bus.JetStream()
		time.Sleep(1500 * time.Millisecond)
		if err := js.DeleteConsumer(t.Context(), contract.StreamPace, "slots-sim"); err != nil {
			t.Fatal(err)
		}
		const least, most = 3 * time.Second, 6 * time.Second
		start := time.Now()
		for time.Since(start) <= most {
			time.Sleep(100 * time.Millisecond)
			_, err := js.Consumer(t.Context(), contract.StreamPace, "slots-sim")
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < least {
				t.Errorf("restored after %s, want at least %s", took, least)
			}
			return
		}
		t.Errorf("not restored within %s", most)
	})
}
