package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Hours are hours of the day, each as the time since midnight; the zero value is none. As text they
// are "22:00-06:00", which passes midnight, or "none".
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

// String returns the form that UnmarshalText reads.
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

// requireZone refuses quiet hours in an unknown time zone: Go would use UTC and send requests in
// quiet hours.
func (l *loader) requireZone(zone string) {
	s := l.settings
	if s.QuietHours == (Hours{}) || l.bad["quiet_hours"] || isZone(zone) {
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("$TZ: TZ = %.80q: want the name of a time zone such as America/Toronto or UTC, for quiet_hours = %s (%s)",
		zone, s.QuietHours, s.origins["quiet_hours"]))
}

// isZone reports whether Go's time.Local reads the value of TZ as a time zone: a name, a file, or
// empty. Rules such as EST5EDT,M3.2.0,M11.1.0 are not read. On Windows time.Local is the system's.
func isZone(zone string) bool {
	zone = strings.TrimPrefix(zone, ":")
	if zone == "" || runtime.GOOS == "windows" {
		return true
	}
	if filepath.IsAbs(zone) {
		data, err := os.ReadFile(zone)
		if err == nil {
			_, err = time.LoadLocationFromTZData(zone, data)
		}
		return err == nil
	}
	_, err := time.LoadLocation(zone)
	return err == nil && zone != "Local" // only LoadLocation accepts that name
}
