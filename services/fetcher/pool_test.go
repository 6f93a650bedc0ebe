package fetcher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fetcher"
	"fct-scraper/streams"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// observed is a court that says when its requests left and how many were in flight at once.
type observed struct {
	*court
	// leaves is how long a request takes to leave the machine, takes how long its answer takes then, for a third of the numbers; two and
	// three times as long for the others.
	leaves, takes time.Duration

	mu             sync.Mutex
	last           time.Time
	shortest       time.Duration
	flight, most   int
	begun, settled int
}

func (w *observed) Fetch(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return w.court.Fetch(ctx, id, func(ctx context.Context) (time.Duration, error) {
		gap, err := before(ctx)
		if err != nil {
			return gap, err
		}
		time.Sleep(w.leaves)
		w.mu.Lock()
		now := time.Now()
		if !w.last.IsZero() && (w.shortest == 0 || now.Sub(w.last) < w.shortest) {
			w.shortest = now.Sub(w.last)
		}
		w.last, w.begun, w.flight = now, w.begun+1, w.flight+1
		w.most = max(w.most, w.flight)
		w.mu.Unlock()
		if trace := httptrace.ContextClientTrace(ctx); trace != nil {
			trace.WroteRequest(httptrace.WroteRequestInfo{})
		}
		return gap, nil
	})
}

func (w *observed) answered(ctx context.Context, n int) (contract.Exchange, error) {
	time.Sleep(time.Duration(1+n%3) * w.takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flight, w.settled = w.flight-1, w.settled+1
	return fine(ctx, n)
}

// until waits until the numbers of requests and answers are as they are to be.
func (w *observed) until(t *testing.T, condition func(begun, settled int) bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ; <-ticker.C {
		w.mu.Lock()
		begun, settled := w.begun, w.settled
		w.mu.Unlock()
		if condition(begun, settled) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests and %d answers after three minutes", begun, settled)
		}
	}
}

// damages are what somebody else may do to the pace of a site in mid-run.
func damages() map[string]func(p plant, js jetstream.JetStream) error {
	change := func(consumer string, by func(*jetstream.ConsumerConfig)) func(plant, jetstream.JetStream) error {
		return func(p plant, js jetstream.JetStream) error {
			there, err := js.Consumer(p.t.Context(), contract.StreamPace, consumer)
			if err != nil {
				return err
			}
			config := there.CachedInfo().Config
			by(&config)
			_, err = js.UpdateConsumer(p.t.Context(), contract.StreamPace, config)
			return err
		}
	}
	remove := func(consumers ...string) func(plant, jetstream.JetStream) error {
		return func(p plant, js jetstream.JetStream) error {
			for _, consumer := range consumers {
				if err := js.DeleteConsumer(p.t.Context(), contract.StreamPace, consumer); err != nil {
					return err
				}
			}
			return nil
		}
	}
	purge := func(p plant, js jetstream.JetStream) error {
		stream, err := js.Stream(p.t.Context(), contract.StreamPace)
		if err != nil {
			return err
		}
		return stream.Purge(p.t.Context())
	}
	return map[string]func(plant, jetstream.JetStream) error{
		"purged":                  purge,
		"turn's consumer removed": remove("turn-sim"), "slots' consumer removed": remove("slots-sim"),
		"purged and both removed": func(p plant, js jetstream.JetStream) error {
			if err := purge(p, js); err != nil {
				return err
			}
			return remove("turn-sim", "slots-sim")(p, js)
		},
		"one slot deleted": func(p plant, js jetstream.JetStream) error {
			stream, err := js.Stream(p.t.Context(), contract.StreamPace)
			if err != nil {
				return err
			}
			msg, err := stream.GetLastMsgForSubject(p.t.Context(), contract.SlotSubject("sim", 2))
			if err != nil {
				return err
			}
			return stream.DeleteMsg(p.t.Context(), msg.Sequence)
		},
		"stream made again": func(p plant, js jetstream.JetStream) error {
			if err := js.DeleteStream(p.t.Context(), contract.StreamPace); err != nil {
				return err
			}
			return streams.Ensure(p.t.Context(), js, streams.Options{})
		},
		"turn given once":      change("turn-sim", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 }),
		"slots given twice":    change("slots-sim", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 2 }),
		"another filter":       change("turn-sim", func(c *jetstream.ConsumerConfig) { c.FilterSubject = "turn.other" }),
		"more slots at a time": change("slots-sim", func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 50 }),
		"removed when idle":    change("slots-sim", func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Millisecond }),
	}
}

// Whatever becomes of the pace in mid-run, two fetchers go on together, never closer than the pause and never more than
// concurrency, however long what they hold by then lasts.
func TestDamagedPaceHeals(t *testing.T) {
	for _, site := range []struct {
		name          string
		leaves, takes time.Duration
		jobs          int
	}{{"quick", 0, 100 * time.Millisecond, 120}, {"slow answers", 0, 4 * time.Second, 36}, {"slow to leave", 4 * time.Second, 0, 12}} {
		for name, damage := range damages() {
			t.Run(site.name+"/"+name, func(t *testing.T) {
				fcttest.VirtualTime(t, func(t *testing.T) {
					heals(t, &observed{leaves: site.leaves, takes: site.takes}, site.jobs, damage)
				})
			})
		}
	}
}

// heals has two fetchers work on a run whose pace is damaged after a third of it.
func heals(t *testing.T, site *observed, jobs int, damage func(plant, jetstream.JetStream) error) {
	t.Helper()
	const concurrency, pause = 3, 20 * time.Millisecond
	p := setUp(t, jobs)
	site.court, p.court.answer = p.court, site.answered
	for i := range 2 {
		time.Sleep(500 * time.Millisecond) // they look at different times
		t.Cleanup(p.work(func(opts *fetcher.Options) {
			opts.ID, opts.Site, opts.Shared, opts.Concurrency = fmt.Sprintf("fetcher-%d", i), site, true, concurrency
			opts.Pace = fetcher.Pace{Min: pause, Max: pause + time.Millisecond}
		}))
	}
	site.until(t, func(begun, _ int) bool { return begun > jobs/3 })
	if err := damage(p, p.b.JetStream()); err != nil {
		t.Fatal(err)
	}
	site.until(t, func(_, settled int) bool { return settled == jobs })
	if all, most := p.court.requests(); all != jobs || most != 1 {
		t.Errorf("%d requests for %d jobs, %d for one of them", all, jobs, most)
	}
	site.mu.Lock()
	defer site.mu.Unlock()
	if site.shortest < pause {
		t.Errorf("two requests %s apart, want at least %s", site.shortest, pause)
	}
	if site.most > concurrency {
		t.Errorf("%d cases in flight, want at most %d", site.most, concurrency)
	}
}

func TestPoolLimitsComeBack(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := setUp(t, 0)
		defer p.work(func(opts *fetcher.Options) { opts.Shared = true })()
		js := p.b.JetStream()
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
		// What makes it slower is the operator's.
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

// TestDamagedPoolWaitsForItsHolder: a fetcher says at its next look that it holds messages of a damaged pool. Another one,
// which holds none, does not make the pool again before, whichever of the two looks first.
func TestDamagedPoolWaitsForItsHolder(t *testing.T) {
	for offset := time.Duration(0); offset < time.Second; offset += 250 * time.Millisecond {
		t.Run(offset.String(), func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				const concurrency, jobs = 3, 9
				p := setUp(t, jobs)
				site := &observed{court: p.court, takes: 3 * time.Second}
				p.court.answer = site.answered
				work := func(id string) {
					t.Cleanup(p.work(func(opts *fetcher.Options) {
						opts.ID, opts.Site, opts.Shared, opts.Concurrency = id, site, true, concurrency
					}))
				}
				work("holder")
				site.until(t, func(begun, _ int) bool { return begun == concurrency })
				time.Sleep(500 * time.Millisecond)
				work("other")
				time.Sleep(time.Second + offset)
				if err := p.b.JetStream().DeleteConsumer(t.Context(), contract.StreamPace, "slots-sim"); err != nil {
					t.Fatal(err)
				}
				site.until(t, func(_, settled int) bool { return settled == jobs })
				site.mu.Lock()
				defer site.mu.Unlock()
				if site.most > concurrency {
					t.Errorf("%d cases in flight, want at most %d", site.most, concurrency)
				}
			})
		})
	}
}

// TestIdlePoolIsMadeAgainAfterThreeSeconds: also a pool of which nobody holds a message waits, since a look may be late.
func TestIdlePoolIsMadeAgainAfterThreeSeconds(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := setUp(t, 0)
		defer p.work(func(opts *fetcher.Options) { opts.Shared = true })()
		js := p.b.JetStream()
		time.Sleep(1500 * time.Millisecond)
		if err := js.DeleteConsumer(t.Context(), contract.StreamPace, "slots-sim"); err != nil {
			t.Fatal(err)
		}
		const least, most = 3 * time.Second, 6 * time.Second
		began := time.Now()
		for time.Since(began) <= most {
			time.Sleep(100 * time.Millisecond)
			_, err := js.Consumer(t.Context(), contract.StreamPace, "slots-sim")
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < least {
				t.Errorf("made again after %s, want at least %s", took, least)
			}
			return
		}
		t.Errorf("not made again within %s", most)
	})
}
