package fetcher

import "time"

// Hours are hours of the day in the machine's time zone, each as the time since midnight. To before From goes over midnight;
// the zero Hours are none.
type Hours struct{ From, To time.Duration }

// Left is how long the hours go on from at; 0 outside of them. The clock of the wall is what people mean by an hour, so a
// clock that is set moves them.
func (h Hours) Left(at time.Time) time.Duration {
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
