package limit

import (
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata"

	"fct-scraper/pkg/forecast"
)

// TestForecast_AgainstPacer compares a forecast with the requests that the pacer would send one by
// one. A forecast that ends just before quiet hours may be hours too early: then the requests must be
// 2 % off at most.
func TestForecast_AgainstPacer(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		t.Fatal(err)
	}
	const cases, requests = 40, 10_000
	byTime := 0
	for seed := range uint64(cases) {
		random := rand.New(rand.NewPCG(seed, 17))
		duration := func(most time.Duration) time.Duration { return time.Duration(random.Float64() * float64(most)) }
		pace := Pace{Min: duration(5 * time.Second)}
		pace.Max = pace.Min + time.Millisecond + duration(5*time.Second)
		if random.IntN(2) == 0 {
			pace.RestEvery, pace.RestFor = 5+random.IntN(2000), duration(20*time.Minute)
		}
		if random.IntN(3) > 0 {
			pace.Quiet = Hours{duration(24 * time.Hour).Truncate(time.Minute), duration(24 * time.Hour).Truncate(time.Minute)}
		}
		concurrency := 1 + random.IntN(8)
		latency := duration(time.Duration(concurrency) * pace.Max * 6 / 5)
		// Half of the cases pass one of the days on which the clock is set.
		now := time.Date(2026, time.March, 7, random.IntN(24), 0, 0, 0, zone).AddDate(0, 0, 10*random.IntN(2))
		in := forecast.Forecast{Now: now, Requests: requests, SinceRest: random.IntN(1 + pace.RestEvery),
			Pace: pace.Forecast(concurrency, latency)}
		end := simulate(in, pace, random)
		got := in.Result()
		off := end.Sub(got.End).Abs()
		if limit := end.Sub(now) / 50; off <= limit {
			byTime++
			continue
		}
		early, late := in, in
		early.Requests, late.Requests = requests*98/100, requests*102/100
		if end.Before(early.Result().End) || end.After(late.Result().End) {
			t.Errorf("seed %d: %+v, concurrency %d, latency %s: forecast %s, in fact %s", seed, pace, concurrency, latency,
				got.End.Sub(now), end.Sub(now))
		}
	}
	if byTime < cases*9/10 {
		t.Errorf("%d of %d forecasts are within 2 %% of the time", byTime, cases)
	}
	t.Logf("%d of %d forecasts are within 2 %% of the time", byTime, cases)
}

// simulate sends the requests of a forecast one by one and returns when the last response arrives.
func simulate(f forecast.Forecast, pace Pace, random *rand.Rand) time.Time {
	started := make([]time.Time, f.Pace.Concurrency)
	now := f.Now
	for i := range f.Requests {
		pause := pace.pause(f.SinceRest+i, random.Float64())
		if f.SinceRest+i == 0 { // a process starts with a pause
			pause = pace.pause(1, random.Float64())
		}
		place := &started[i%len(started)]
		if now = now.Add(pause); !place.IsZero() && place.Add(f.Pace.Latency).After(now) {
			now = place.Add(f.Pace.Latency)
		}
		for left := pace.Quiet.left(now); left > 0; left = pace.Quiet.left(now) {
			now = now.Add(min(left, recheckInterval))
		}
		*place = now
	}
	return now.Add(f.Pace.Latency)
}
