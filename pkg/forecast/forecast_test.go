package forecast_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"fct-scraper/pkg/forecast"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func toronto(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestForecast_Calendar(t *testing.T) {
	t.Parallel()
	zone := toronto(t)
	at := func(day, hour, minute, second int) time.Time {
		return time.Date(2026, time.June, day, hour, minute, second, 0, zone)
	}
	const second, minute, hour = time.Second, time.Minute, time.Hour
	steady := forecast.Pace{Min: second, Max: 3 * second, Concurrency: 4}
	with := func(change func(*forecast.Pace)) forecast.Pace {
		pace := steady
		change(&pace)
		return pace
	}
	day := with(func(p *forecast.Pace) { p.Quiet = forecast.Hours{From: 8 * hour, To: 18 * hour} })
	night := with(func(p *forecast.Pace) { p.Quiet = forecast.Hours{From: 22 * hour, To: 6 * hour} })
	rests := with(func(p *forecast.Pace) { p.RestEvery, p.RestFor = 100, 5*minute })
	noon := at(1, 12, 0, 0)
	for name, c := range map[string]struct {
		in    forecast.Forecast
		end   time.Time
		quiet time.Duration
		rests int
		waits int
	}{
		"nothing left": {in: forecast.Forecast{Now: noon, Pace: steady}, end: noon},
		"steady":       {in: forecast.Forecast{Now: noon, Requests: 1800, Pace: steady}, end: at(1, 13, 0, 0)},
		"one number, no pause": {in: forecast.Forecast{Now: noon, Requests: 1,
			Pace: forecast.Pace{Latency: 2 * second}}, end: at(1, 12, 0, 4)},
		"latency is the limit": {in: forecast.Forecast{Now: noon, Requests: 100,
			Pace: forecast.Pace{Max: second, Concurrency: 2, Latency: 8 * second}}, end: at(1, 12, 6, 48)},
		"observed rate": {in: forecast.Forecast{Now: noon, Requests: 600, Rate: 10, Pace: steady}, end: at(1, 13, 0, 0)},
		"rests":         {in: forecast.Forecast{Now: noon, Requests: 300, Pace: rests}, end: at(1, 12, 19, 56), rests: 2},
		"rest is due": {in: forecast.Forecast{Now: noon, Requests: 1, SinceRest: 100, Pace: rests},
			end: at(1, 12, 5, 0), rests: 1},
		"half of the requests to a rest": {in: forecast.Forecast{Now: noon, Requests: 51, SinceRest: 50, Pace: rests},
			end: at(1, 12, 6, 40), rests: 1},
		"begins in quiet hours": {in: forecast.Forecast{Now: noon, Requests: 1800, Pace: day}, end: at(1, 19, 0, 0),
			quiet: 6 * hour, waits: 1},
		"quiet hours are ahead": {in: forecast.Forecast{Now: at(1, 7, 0, 0), Requests: 3600, Pace: day},
			end: at(1, 19, 0, 0), quiet: 10 * hour, waits: 1},
		"ends just before": {in: forecast.Forecast{Now: at(1, 7, 0, 0), Requests: 1799, Pace: day}, end: at(1, 7, 59, 58)},
		"pass midnight":    {in: forecast.Forecast{Now: at(1, 21, 0, 0), Requests: 3600, Pace: night}, end: at(2, 7, 0, 0), quiet: 8 * hour, waits: 1},
		"within, past it":  {in: forecast.Forecast{Now: at(1, 3, 0, 0), Requests: 1800, Pace: night}, end: at(1, 7, 0, 0), quiet: 3 * hour, waits: 1},
		// 14 hours a day are 25,200 requests. The first of a day is sent when its quiet hours end.
		"several days": {in: forecast.Forecast{Now: at(1, 18, 0, 0), Requests: 2*25200 + 1800, Pace: day},
			end: at(3, 19, 0, 0), quiet: 20 * hour, waits: 2},
		"a block first":      {in: forecast.Forecast{Now: noon, NotBefore: at(1, 14, 0, 0), Requests: 1800, Pace: steady}, end: at(1, 15, 0, 0)},
		"a block that ended": {in: forecast.Forecast{Now: noon, NotBefore: at(1, 11, 0, 0), Requests: 1800, Pace: steady}, end: at(1, 13, 0, 0)},
		"a rest ends in quiet hours": {in: forecast.Forecast{Now: at(1, 7, 58, 0), Requests: 1, SinceRest: 100,
			Pace: with(func(p *forecast.Pace) {
				p.RestEvery, p.RestFor, p.Quiet = 100, 5*minute, day.Quiet
			})}, end: at(1, 18, 0, 0), rests: 1, waits: 1, quiet: 9*hour + 57*minute},
	} {
		got := c.in.Result()
		if !got.End.Equal(c.end) || got.Unknown != "" || got.Quiet != c.quiet || got.RestCount != c.rests ||
			len(got.Waits) != c.waits {
			t.Errorf("%s: ends %s (%s), %s quiet, %d rests, %d waits; want %s, %s, %d, %d", name, got.End, got.Unknown,
				got.Quiet, got.RestCount, len(got.Waits), c.end, c.quiet, c.rests, c.waits)
		}
		if sum := got.Held + got.Pauses + got.Rests + got.Quiet; got.End.Sub(c.in.Now) != sum {
			t.Errorf("%s: the parts are %s of %s", name, sum, got.End.Sub(c.in.Now))
		}
	}
}

// The wall clock decides, also on the days on which it is set.
func TestForecast_ClockChange(t *testing.T) {
	t.Parallel()
	zone := toronto(t)
	const hour = time.Hour
	for name, c := range map[string]struct {
		now, end time.Time
		quiet    forecast.Hours
	}{
		"a night of seven hours": {time.Date(2026, time.March, 7, 22, 0, 0, 0, zone), time.Date(2026, time.March, 8, 6, 0, 1, 0, zone),
			forecast.Hours{From: 22 * hour, To: 6 * hour}},
		"a night of nine hours": {time.Date(2026, time.October, 31, 22, 0, 0, 0, zone), time.Date(2026, time.November, 1, 6, 0, 1, 0, zone),
			forecast.Hours{From: 22 * hour, To: 6 * hour}},
		"hours that begin in the missing hour": {time.Date(2026, time.March, 8, 3, 0, 0, 0, zone),
			time.Date(2026, time.March, 8, 6, 0, 1, 0, zone), forecast.Hours{From: 2*hour + hour/2, To: 6 * hour}},
	} {
		got := forecast.Forecast{Now: c.now, Requests: 1, Pace: forecast.Pace{Min: time.Second, Quiet: c.quiet}}.Result()
		if !got.End.Equal(c.end) || got.Quiet != c.end.Sub(c.now)-time.Second {
			t.Errorf("%s: %s, %s quiet; want %s", name, got.End, got.Quiet, c.end)
		}
	}
}

func TestForecast_Unknown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	for want, in := range map[string]forecast.Forecast{
		"it is unknown how many requests are left": {Now: now, Requests: -1},
		"never: the quiet hours last all day": {Now: now, Requests: 1,
			Pace: forecast.Pace{Quiet: forecast.Hours{To: 24 * time.Hour}}},
		"more than 100 years": {Now: now, Requests: 300_000, Pace: forecast.Pace{Min: 87600 * time.Hour}},
	} {
		if got := in.Result(); got.Unknown != want || !got.End.IsZero() {
			t.Errorf("%q, %s; want %q", got.Unknown, got.End, want)
		}
	}
	rests := forecast.Forecast{Now: now, Requests: 300_000,
		Pace: forecast.Pace{RestEvery: 1, RestFor: 87600 * time.Hour, Quiet: forecast.Hours{From: 1, To: 0}}}
	if got := rests.Result(); got.Unknown == "" {
		t.Errorf("rests of ten years end at %s", got.End)
	}
}
