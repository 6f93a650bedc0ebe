package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/sanitize"
)

const maxDuration = 10 * 365 * 24 * time.Hour

var errDuration = errors.New("allowed is a number of seconds, or a form such as 90s, 5m or 250ms, up to ten years")

// ParseDuration reads a duration, never negative and at most ten years: a bare number of seconds
// ("300", "0.5") or Go's form ("90s", "5m", "250ms").
func ParseDuration(text string) (time.Duration, error) {
	form := text
	if strings.Trim(form, "0123456789.") == "" {
		form += "s"
	}
	d, err := time.ParseDuration(form)
	if err != nil || d < 0 || d > maxDuration {
		return 0, fmt.Errorf("duration %.40q: %w", text, errDuration)
	}
	return d, nil
}

// FormatDuration returns Go's form without zero parts: "5m", not "5m0s".
func FormatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Bytes is a size, never negative. As text it is a bare number of bytes or a whole number with a
// unit: "16MiB", "500kB".
type Bytes int64

// KiB, MiB and GiB are the units that sizes are shown in.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)

var errBytes = errors.New("allowed is a whole number of bytes, or one with a unit: B, kB, MB, GB, KiB, MiB, GiB")

// unitSize is the number of bytes of a unit; 0 if the unit is unknown.
func unitSize(name string) int64 {
	switch strings.ToLower(name) {
	case "", "b":
		return 1
	case "kb":
		return 1e3
	case "mb":
		return 1e6
	case "gb":
		return 1e9
	case "kib":
		return int64(KiB)
	case "mib":
		return int64(MiB)
	case "gib":
		return int64(GiB)
	}
	return 0
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	name := strings.TrimLeft(string(text), "0123456789")
	count, err := strconv.ParseInt(strings.TrimSuffix(string(text), name), 10, 64)
	times := unitSize(strings.TrimPrefix(name, " "))
	if err != nil || times == 0 || count > math.MaxInt64/times {
		return fmt.Errorf("size %.40q: %w", text, errBytes)
	}
	*b = Bytes(count * times)
	return nil
}

// String returns the size in the largest unit of which it is a whole number.
func (b Bytes) String() string {
	switch {
	case b == 0:
	case b%GiB == 0:
		return strconv.FormatInt(int64(b/GiB), 10) + "GiB"
	case b%MiB == 0:
		return strconv.FormatInt(int64(b/MiB), 10) + "MiB"
	case b%KiB == 0:
		return strconv.FormatInt(int64(b/KiB), 10) + "KiB"
	}
	return strconv.FormatInt(int64(b), 10)
}

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

const hidden = "***"

// hideSecret replaces a secret, unless it is empty.
func hideSecret(text string) string {
	if text == "" {
		return ""
	}
	return hidden
}

// maskAddresses masks the credentials in a list of valid addresses.
func maskAddresses(text string) string {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = maskAddress(part)
	}
	return strings.Join(parts, ",")
}

// maskAddress masks possible credentials: everything between a scheme and the last @. In a list it
// keeps only the last host, so that no password with a comma is shown.
func maskAddress(text string) string {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return maskKey(text)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	scheme, _, found := strings.Cut(text[:at], "://")
	if !found || strings.Trim(strings.ToLower(scheme), letters) != "" {
		return hidden + text[at:]
	}
	return scheme + "://" + hidden + text[at:]
}

// maskKey masks a key that was given instead of the path of its file.
func maskKey(text string) string {
	if strings.Contains(text, "-----BEGIN") {
		return hidden
	}
	return sanitize.Mask(text)
}

// withoutSecrets masks possible secrets in a value, valid or not. A name that mentions a secret is
// no setting, but people try it; and an address may be given for a wrong setting.
func (t table) withoutSecrets(name, text string) string {
	s := t.byName[name]
	speaks := func(word string) bool { return strings.Contains(strings.ToLower(name), word) }
	switch {
	case s == nil && slices.ContainsFunc([]string{"pass", "secret", "token", "seed"}, speaks):
		return hidden
	case s != nil && s.isSecret:
		return hideSecret(text)
	case s == nil || s.isAddress || strings.Contains(text, "://"):
		return maskAddress(text)
	default:
		return maskKey(text)
	}
}
