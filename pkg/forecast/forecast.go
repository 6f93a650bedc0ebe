// Package forecast estimates when a run ends, from the requests that are left and the pace at which
// they are sent. It is pure: it reads no clock and sends nothing. Every result is an estimate.
package forecast

import (
	"math"
	"math/rand/v2"
	"time"
)

// Pace is how requests are sent, as services/fetcher/limit does it.
type Pace struct {
	// Min and Max bound the pause between the starts of two requests, drawn uniformly. A Max below
	// Min counts as Min.
	Min, Max time.Duration
	// RestEvery is the number of requests after which a rest of RestFor replaces a shorter pause; 0
	// means never.
	RestEvery int
	RestFor   time.Duration
	Quiet     Hours
	// Concurrency is how many requests may be in flight, at least 1; Latency is how long each takes.
	Concurrency int
	Latency     time.Duration
}

// Interval returns the mean time between the starts of two requests outside of rests and quiet hours.
// A pause below Latency/Concurrency is not the limit: the next request then waits for a response.
func (p Pace) Interval() time.Duration {
	inFlight := max(1, p.Concurrency)
	least, most := p.Min, max(p.Min, p.Max)
	switch share := p.Latency / time.Duration(inFlight); {
	case share <= least:
		return least + (most-least)/2
	case share >= most:
		return share
	}
	return p.drawnInterval(inFlight, least, most)
}

// drawnInterval returns the mean interval where now the pause and now the latency is the limit, for
// which there is no short formula: request i starts after both a pause from request i−1 and the
// response to request i−inFlight. The draws are the same in each call.
func (p Pace) drawnInterval(inFlight int, least, most time.Duration) time.Duration {
	const draws = 20_000
	random := rand.New(rand.NewPCG(1, 2))
	started := make([]float64, inFlight) // of the last requests, by i mod inFlight
	last, latency := 0.0, float64(p.Latency)
	for i := range draws {
		last += float64(least) + random.Float64()*float64(most-least)
		if i >= inFlight {
			last = max(last, started[i%inFlight]+latency)
		}
		started[i%inFlight] = last
	}
	return time.Duration(last / draws)
}

// rest returns the mean length of a rest: that of the longer one of RestFor and a pause.
func (p Pace) rest(interval time.Duration) time.Duration {
	least, most, rest := float64(p.Min), float64(max(p.Min, p.Max)), float64(p.RestFor)
	if rest <= least || rest >= most {
		return max(interval, p.RestFor)
	}
	mean := (rest*(rest-least) + (most*most-rest*rest)/2) / (most - least)
	return max(interval, time.Duration(mean))
}

// day is a day by the wall clock.
const day = 24 * time.Hour

// Hours are hours of the day without requests, each as the time since midnight by the wall clock.
// They pass midnight if To is before From. Equal ones are no hours; To − From of a day or more is all
// hours.
type Hours struct{ From, To time.Duration }

func (h Hours) none() bool { return !h.allDay() && (h.To-h.From)%day == 0 }

func (h Hours) allDay() bool { return h.To-h.From >= day }

// at reports whether the hours include t, and until when that is so at least. A change of the time
// zone's offset ends such a period, because the wall clock steps there.
func (h Hours) at(t time.Time) (quiet bool, until time.Time) {
	hour, minute, second := t.Clock()
	clock := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second +
		time.Duration(t.Nanosecond())
	length, since := (h.To-h.From+day)%day, (clock-h.From+day)%day
	left := day - since
	if quiet = since < length; quiet {
		left = length - since
	}
	until = t.Add(left)
	if _, end := t.ZoneBounds(); !end.IsZero() && end.Before(until) {
		until = end
	}
	return quiet, until
}

// change returns the first time from t on at which the hours include what they did not, or the
// reverse. They must not be none or all hours.
func (h Hours) change(t time.Time) time.Time {
	now, until := h.at(t)
	for quiet := now; quiet == now; {
		t = until
		quiet, until = h.at(t)
	}
	return t
}

// Forecast is what is known of a run that goes on.
type Forecast struct {
	// Now is the time from which on the requests are sent. Quiet hours count in its location.
	Now time.Time
	// Requests is how many requests are left; a negative number stands for unknown.
	Requests int
	Pace     Pace
	// SinceRest is how many requests were sent since the last rest, or since the process started. The
	// next pause is a rest if that is RestEvery.
	SinceRest int
	// NotBefore is the end of a wait for another reason, such as a block; zero without one.
	NotBefore time.Time
	// Rate is how many requests a minute were observed outside of rests and quiet hours; 0 takes the
	// interval of Pace.
	Rate float64
}

// Result is an estimate.
type Result struct {
	// End is when the last response has arrived; zero if Unknown is not empty.
	End time.Time
	// Unknown is why there is no End.
	Unknown string
	// Held is the wait until NotBefore, Pauses the sum of the pauses and the last response, Rests that
	// of the rests, and Quiet how long requests wait for the end of quiet hours. They add up to the
	// time from Now to End.
	Held, Pauses, Rests, Quiet time.Duration
	// RestCount is the number of rests.
	RestCount int
	// Waits are the waits of Quiet.
	Waits []Wait
}

// Wait is a time in which a request waits for the end of quiet hours.
type Wait struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// horizon is how far a forecast reaches. Beyond it there is no End.
const horizon = 100 * 365 * day

// Result estimates when the requests are done.
func (f Forecast) Result() Result {
	switch {
	case f.Requests < 0:
		return Result{Unknown: "it is unknown how many requests are left"}
	case f.Requests > 0 && f.Pace.Quiet.allDay():
		return Result{Unknown: "never: the quiet hours last all day"}
	}
	w := walk{pace: f.Pace, interval: f.Pace.Interval(), now: f.Now, limit: f.Now.Add(horizon)}
	if f.Rate > 0 {
		w.interval = time.Duration(min(float64(time.Minute)/f.Rate, float64(horizon)))
	}
	if f.Requests == 0 {
		return Result{End: f.Now}
	}
	if f.NotBefore.After(w.now) {
		w.Held = f.NotBefore.Sub(w.now)
		w.now = f.NotBefore.In(f.Now.Location())
	}
	w.waitQuiet()
	for left, since := f.Requests, f.SinceRest; left > 0 && w.now.Before(w.limit); {
		count := left
		if every := f.Pace.RestEvery; every > 0 {
			if since >= every {
				w.rest()
				left, since = left-1, 1
				continue
			}
			count = min(left, every-since)
		}
		w.requests(count)
		left, since = left-count, since+count
	}
	if !w.now.Before(w.limit) {
		return Result{Unknown: "more than 100 years"}
	}
	w.Pauses += f.Pace.Latency
	w.End = w.now.Add(f.Pace.Latency)
	return w.Result
}

// walk follows the requests through the calendar.
type walk struct {
	Result
	pace       Pace
	interval   time.Duration
	now, limit time.Time
}

// requests sends so many requests, each after a pause. A pause that ends in quiet hours goes on there.
func (w *walk) requests(count int) {
	for count > 0 && w.now.Before(w.limit) {
		free := count // requests before the next quiet hours
		if !w.pace.Quiet.none() && w.interval > 0 {
			left := w.pace.Quiet.change(w.now).Sub(w.now)
			free = min(count, int((left-1)/w.interval))
		}
		if math.Abs(float64(free)*float64(w.interval)) > float64(horizon) {
			w.now = w.limit
			return
		}
		w.pause(time.Duration(free) * w.interval)
		if count -= free; count > 0 {
			w.pause(w.interval)
			w.waitQuiet()
			count--
		}
	}
}

func (w *walk) pause(d time.Duration) {
	w.Pauses += d
	w.now = w.now.Add(d)
}

// rest sends one request after a rest.
func (w *walk) rest() {
	d := w.pace.rest(w.interval)
	w.Rests += d
	w.RestCount++
	w.now = w.now.Add(d)
	w.waitQuiet()
}

// waitQuiet waits until the quiet hours end, if it is within them.
func (w *walk) waitQuiet() {
	if w.pace.Quiet.none() {
		return
	}
	if quiet, _ := w.pace.Quiet.at(w.now); !quiet {
		return
	}
	end := w.pace.Quiet.change(w.now)
	w.Waits = append(w.Waits, Wait{From: w.now, Until: end})
	w.Quiet += end.Sub(w.now)
	w.now = end
}
