package reporter

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go/jetstream"
)

func TestRoundFacts_Progress(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	pace := contract.FetcherPace{DelayMin: time.Second, DelayMax: 3 * time.Second, Concurrency: 4, Location: "UTC"}
	fetcher := func(change func(*contract.Presence)) []contract.Presence {
		own := pace
		p := contract.Presence{InFlight: 3, Pace: &own}
		if change != nil {
			change(&p)
		}
		return []contract.Presence{p, {InFlight: 1}}
	}
	wait := func(reason string, until time.Time) *contract.Wait {
		return &contract.Wait{Reason: reason, Until: until}
	}
	base := roundFacts{now: noon, planned: true, left: 100, perNumber: 1.5, latency: time.Second, fetchers: fetcher(nil)}
	with := func(change func(*roundFacts)) roundFacts {
		f := base
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		in      roundFacts
		phase   contract.Phase
		left    float64 // seconds; negative is unknown
		unknown string
	}{
		"at pace":       {base, contract.PhaseFetching, 300, ""},
		"observed rate": {with(func(f *roundFacts) { f.requestRate = 15 }), contract.PhaseFetching, 600, ""},
		"done":          {with(func(f *roundFacts) { f.left, f.perNumber = 0, 0 }), contract.PhaseFetching, 0, ""},
		"searching": {with(func(f *roundFacts) { f.planned, f.searching = false, true }), contract.PhaseSearching, -1,
			contract.LeftUnknownSearching},
		"a wait of the search": {with(func(f *roundFacts) {
			f.planned, f.searching, f.wait = false, true, wait(contract.WaitQuietHours, noon.Add(time.Hour))
		}), contract.PhaseWaiting, -1, contract.LeftUnknownSearching},
		"not planned yet": {with(func(f *roundFacts) { f.planned = false }), contract.PhaseFetching, -1,
			contract.LeftUnknownStarting},
		"no case is done": {with(func(f *roundFacts) { f.perNumber = 0 }), contract.PhaseFetching, -1,
			contract.LeftUnknownStarting},
		"paused": {with(func(f *roundFacts) { f.wait = wait(contract.WaitPaused, time.Time{}) }), contract.PhasePaused, -1,
			contract.LeftUnknownPaused},
		"a wait without an end": {with(func(f *roundFacts) { f.wait = wait("no route", time.Time{}) }), contract.PhaseWaiting,
			-1, "no route"},
		"a wait": {with(func(f *roundFacts) { f.wait = wait("status 503", noon.Add(time.Minute)) }),
			contract.PhaseWaiting, 360, ""},
		"quiet hours ahead": {with(func(f *roundFacts) {
			f.fetchers = fetcher(func(p *contract.Presence) { p.Pace.QuietFrom, p.Pace.QuietTo = 12*time.Hour+time.Minute, 13*time.Hour })
		}), contract.PhaseFetching, 300 + 59*60, ""},
		"quiet hours elsewhere": {with(func(f *roundFacts) {
			f.fetchers = fetcher(func(p *contract.Presence) {
				p.Pace.QuietFrom, p.Pace.QuietTo, p.Pace.Location, p.Pace.UTCOffset = 8*time.Hour, 9*time.Hour, "Local", -4*3600
			})
		}), contract.PhaseFetching, 300 + 3600, ""},
		"rests ahead": {with(func(f *roundFacts) {
			f.fetchers = fetcher(func(p *contract.Presence) {
				p.Pace.RestEvery, p.Pace.RestFor, p.Pace.SinceRest = 100, 62*time.Second, 50
			})
		}), contract.PhaseFetching, 360, ""},
		"a retry is the last": {with(func(f *roundFacts) {
			f.left, f.retries, f.lastRetry = 1, 1, noon.Add(4*time.Minute)
		}), contract.PhaseFetching, 241, ""},
		"retries to come": {with(func(f *roundFacts) { f.retryShare, f.retryDelay = 0.1, 10*time.Minute }),
			contract.PhaseFetching, 300 + 600 - 30, ""},
		"no fetcher after a pause": {with(func(f *roundFacts) { f.fetchers, f.paceSeen = nil, &pace }), contract.PhaseFetching,
			300, ""},
		"no pace after a restart": {with(func(f *roundFacts) { f.fetchers, f.latency = nil, 0 }), contract.PhaseFetching, -1,
			contract.LeftUnknownStarting},
		"only the latency is known": {with(func(f *roundFacts) { f.fetchers = nil }), contract.PhaseFetching, -1,
			contract.LeftUnknownStarting},
		"neither pause nor latency": {with(func(f *roundFacts) {
			f.fetchers, f.paceSeen, f.latency = nil, &contract.FetcherPace{Concurrency: 4}, 0
		}), contract.PhaseFetching, -1, contract.LeftUnknownStarting},
		"numbers without a request": {with(func(f *roundFacts) { f.left, f.perNumber = 1, 0.1 }), contract.PhaseFetching, 2, ""},
		"a fetcher of an older version": {with(func(f *roundFacts) { f.fetchers, f.requestRate = nil, 30 }),
			contract.PhaseFetching, 300, ""},
	} {
		got := c.in.progress()
		left := -1.0
		if got.LeftSeconds != nil {
			left = *got.LeftSeconds
		}
		if got.Phase != c.phase || math.Abs(left-c.left) > 3 || got.LeftUnknown != c.unknown {
			t.Errorf("%s: %s, %.1f s left, %q; want %s, %.1f, %q", name, got.Phase, left, got.LeftUnknown, c.phase, c.left,
				c.unknown)
		}
		if left == 0 && c.in.left > 0 {
			t.Errorf("%s: no time for %d numbers", name, c.in.left)
		}
		if c.in.fetchers != nil && (got.InFlight != 4 || got.Pause == nil || *got.Pause != contract.PauseBounds{Min: 1, Max: 3}) {
			t.Errorf("%s: %d in flight, pause %v", name, got.InFlight, got.Pause)
		}
	}
	paused := with(func(f *roundFacts) { f.rate, f.wait = 30, wait(contract.WaitPaused, time.Time{}) })
	if got := paused.progress().RatePerMinute; got != 0 {
		t.Errorf("paused: %.1f numbers a minute", got)
	}
	slowed := with(func(f *roundFacts) {
		f.fetchers = fetcher(func(p *contract.Presence) { p.Pace.SlowedMin, p.Pace.SlowedMax = 2*time.Second, 4*time.Second })
	})
	if got := slowed.progress().Pause; *got != (contract.PauseBounds{Min: 2, Max: 4}) {
		t.Errorf("slowed: %v", got)
	}
}

// An event tells what is planned before all jobs are published.
func TestEvents_Planned(t *testing.T) {
	t.Parallel()
	f := newFixture(t, contract.MaxNumber, func(m *contract.Manifest) { m.Probe, m.Bound = true, nil })
	event := func(enough func(contract.Event) bool) contract.Event {
		t.Helper()
		return awaitEvent(f, "progress", enough)
	}
	f.publishEntries(fcttest.Success(2), fcttest.NoRecord(2001))
	w := f.startReporter(f.options(), nil)
	if e := event(func(contract.Event) bool { return true }); e.Planned != 0 || e.Phase != contract.PhaseSearching {
		t.Errorf("while searching: %d planned, %s", e.Planned, e.Phase)
	}
	f.put(f.buckets.runs, f.manifest.RunID.PlannedKey(), contract.Planned{Version: contract.MessageVersion,
		Range: contract.Range{Start: 1, End: 2000}, Jobs: 1991, Beyond: []int{2001}, Skipped: 10})
	e := event(func(e contract.Event) bool { return e.Planned > 0 })
	if e.Planned != 1990 || e.Metrics.Planned != 1990 || e.Metrics.Left != 1989 || e.Phase != contract.PhaseFetching ||
		e.Range.End != 2000 || e.NoRecord != 0 {
		t.Errorf("with the bound: %+v, %+v", e, e.Metrics)
	}
	counts, err := Count(t.Context(), f.options(), f.manifest)
	if want := (Counts{Succeeded: 1, Planned: 1990}); err != nil || counts != want {
		t.Errorf("%+v, %v, want %+v", counts, err, want)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// The wait of a paused run is told once, also while its last cases end.
func TestEvents_PausedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	f.publishPlanned(0)
	w := f.startReporter(f.options(), nil)
	f.put(f.buckets.runs, f.manifest.RunID.ControlKey(), contract.Control{Paused: true})
	awaitEvent(f, "waiting", func(contract.Event) bool { return true })
	for done := 1; done <= 3; done++ {
		f.publishEntries(fcttest.Success(done))
		awaitEvent(f, "progress", func(e contract.Event) bool {
			return e.Succeeded == done && e.Wait != nil && e.Wait.Reason == contract.WaitPaused
		})
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	waiting, err := f.bus.Subjects(t.Context(), contract.StreamEvents, f.manifest.RunID.EventSubject("waiting"))
	if err != nil || len(waiting) != 1 || waiting[f.manifest.RunID.EventSubject("waiting")] != 1 {
		t.Errorf("%v, %v: want one event waiting", waiting, err)
	}
}

// The first cases in flight are told within about a second, though the bucket tells of no change.
func TestEvents_FirstInFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	f.publishPlanned(0)
	key := f.manifest.RunID.FetcherKey("f")
	f.put(f.buckets.fetchers, key, contract.Presence{At: time.Now()})
	w := f.startReporter(f.options(), nil)
	awaitEvent(f, "progress", func(contract.Event) bool { return true })
	put := time.Now()
	f.put(f.buckets.fetchers, key, contract.Presence{At: put, InFlight: 3})
	awaitEvent(f, "progress", func(e contract.Event) bool { return e.InFlight == 3 })
	if took := time.Since(put); took > 4*time.Second { // the watch would need five
		t.Errorf("told after %s", took)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// A paused run tells within about a second that no case is in flight, whether its fetcher says so or leaves.
func TestEvents_PausedInFlight(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *fixture, key string){
		"says so": func(f *fixture, key string) { f.put(f.buckets.fetchers, key, contract.Presence{At: time.Now()}) },
		"leaves": func(f *fixture, key string) {
			if err := f.buckets.fetchers.Delete(f.t.Context(), key); err != nil {
				f.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 9)
			f.publishPlanned(0)
			key := f.manifest.RunID.FetcherKey("f")
			f.put(f.buckets.fetchers, key, contract.Presence{At: time.Now(), InFlight: 4})
			w := f.startReporter(f.options(), nil)
			awaitEvent(f, "progress", func(e contract.Event) bool { return e.InFlight == 4 })
			f.put(f.buckets.runs, f.manifest.RunID.ControlKey(), contract.Control{Paused: true})
			awaitEvent(f, "waiting", func(e contract.Event) bool { return e.InFlight == 4 })
			ended := time.Now()
			end(f, key)
			awaitEvent(f, "progress", func(e contract.Event) bool { return e.Phase == contract.PhasePaused && e.InFlight == 0 })
			if took := time.Since(ended); took > 4*time.Second { // the watch would need five
				t.Errorf("told after %s", took)
			}
			if err := w.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitEvent waits for an event of a name that is enough.
func awaitEvent(f *fixture, name string, enough func(contract.Event) bool) (e contract.Event) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), testTimeout)
	defer cancel()
	consumer, err := f.bus.JetStream().OrderedConsumer(ctx, contract.StreamEvents, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{f.manifest.RunID.EventSubject(name)}})
	if err != nil {
		f.t.Fatal(err)
	}
	for {
		msg, err := consumer.Next(jetstream.FetchMaxWait(testTimeout))
		if err == nil {
			e = contract.Event{}
			err = json.Unmarshal(msg.Data(), &e)
		}
		if err != nil {
			f.t.Fatalf("the event %s: %v", name, err)
		}
		if enough(e) {
			return e
		}
	}
}

func TestObserved_Rates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	o := observed{began: now, at: now}
	p := roundFacts{}.pace()
	p.Min, p.Max = 2*time.Second, 2*time.Second
	for second := range 600 {
		now = now.Add(time.Second)
		if idle := second >= 300 && second < 420; idle {
			o.advance(now, true, p)
			continue
		}
		o.advance(now, false, p)
		if second%4 == 0 { // one case with two requests in four seconds
			o.outcomes++
			o.requests += 2
		}
		if cases, requests := o.rates(now); second > 30 && second < 300 && (math.Abs(cases-15) > 3 || math.Abs(requests-30) > 2) {
			t.Fatalf("after %d s: %.1f cases, %.1f requests a minute", second, cases, requests)
		}
	}
	cases, requests := o.rates(now)
	if math.Abs(requests-30) > 1 || math.Abs(cases-15) > 2 {
		t.Errorf("after a wait: %.1f cases, %.1f requests a minute", cases, requests)
	}
	p.Min, p.Max = 4*time.Second, 4*time.Second
	o.advance(now.Add(time.Second), false, p)
	if _, requests := o.rates(now); math.Abs(requests-15) > 1 {
		t.Errorf("after a change of the pace: %.1f requests a minute", requests)
	}
}

// A mean that the drawn pauses explain is that of the pace; another one is what was seen.
func TestObserved_Interval(t *testing.T) {
	t.Parallel()
	drawn := roundFacts{}.pace()
	drawn.Min, drawn.Max = time.Second, 3*time.Second
	fixed := drawn
	fixed.Min, fixed.Max = 2*time.Second, 2*time.Second
	for name, c := range map[string]struct {
		in   observed
		want float64
	}{ // the mean of a hundred pauses has a standard deviation of 0.058 s
		"longer by chance":  {observed{pace: drawn, requests: 100, busy: 210}, 2},
		"shorter by chance": {observed{pace: drawn, requests: 100, busy: 190}, 2},
		"longer":            {observed{pace: drawn, requests: 100, busy: 215}, 2.15},
		"few pauses":        {observed{pace: drawn, requests: 6, busy: 14}, 2},
		"never drawn":       {observed{pace: fixed, requests: 100, busy: 204}, 2.04},
	} {
		if got := c.in.interval(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %.3f s, want %.3f", name, got, c.want)
		}
	}
}
