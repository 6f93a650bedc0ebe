package limit

import "time"

// Hours are hours of the day in the machine's time zone, each as the time since midnight. They span
// midnight if To is before From. The zero Hours are empty.
type Hours struct{ From, To time.Duration }

// left returns how long the hours continue from at; 0 outside of them. It uses the wall clock,
// since that is what people mean by an hour: setting the clock moves the hours.
func (h Hours) left(at time.Time) time.Duration {
	if h.From == h.To {
		return 0
	}
	hour, minute, second := at.Clock()
	now := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second +
		time.Duration(at.Nanosecond())
	const day = 24 * time.Hour
	since := (now - h.From + day) % day
	return max(0, (h.To-h.From+day)%day-since)
}
