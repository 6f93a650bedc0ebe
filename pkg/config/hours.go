package config

import (
	"errors"
	"fmt"
	"time"
)

// Hours are hours of the day, each as the time since midnight; the zero value is none. As text they are "22:00-06:00", which
// goes over midnight, or "none".
type Hours struct{ From, To time.Duration }

var errHours = errors.New(`allowed is a form such as 22:00-06:00, or "none"`)

// UnmarshalText reads Hours.
func (h *Hours) UnmarshalText(text []byte) error {
	*h = Hours{}
	if string(text) == "none" {
		return nil
	}
	const form = "15:04"
	if len(text) != 2*len(form)+1 || text[len(form)] != '-' {
		return fmt.Errorf("hours %.40q: %w", text, errHours)
	}
	from, errFrom := time.Parse(form, string(text[:len(form)]))
	to, errTo := time.Parse(form, string(text[len(form)+1:]))
	if errFrom != nil || errTo != nil || from.Equal(to) {
		return fmt.Errorf("hours %.40q: %w", text, errHours)
	}
	h.From, h.To = sinceMidnight(from), sinceMidnight(to)
	return nil
}

// String is the text that UnmarshalText reads.
func (h Hours) String() string {
	if h.From == h.To {
		return "none"
	}
	midnight := time.Time{}
	return midnight.Add(h.From).Format("15:04") + "-" + midnight.Add(h.To).Format("15:04")
}

func sinceMidnight(at time.Time) time.Duration {
	return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
}
