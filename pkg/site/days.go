package site

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// errDay says that a text is no day on which a court can have done something.
var errDay = errors.New("not a day")

// A date as Microsoft's serializers write it: milliseconds of Unix time, and the offset it is to be shown in.
var microsoftDate = regexp.MustCompile(`^/Date\((-?\d{1,15})(?:([+-])(\d{2})(\d{2}))?\)/$`)

// firstYear and lastYear bound what a day of a court file can be: the court's forerunner was made in 1875.
const (
	firstYear = 1875
	lastYear  = 2200
)

// day reads "/Date(ms)/", "/Date(ms-0400)/", "2024-11-21T00:00:00" (with or without an offset) and "2024-11-21", and
// writes YYYY-MM-DD: the day in the offset given, else in zone.
func day(written string, zone *time.Location) (string, error) {
	at, err := moment(written, zone)
	if err != nil || at.Year() < firstYear || at.Year() > lastYear {
		return "", errDay
	}
	return at.Format(time.DateOnly), nil
}

func moment(written string, zone *time.Location) (time.Time, error) {
	if parts := microsoftDate.FindStringSubmatch(written); parts != nil {
		ms, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			return time.Time{}, err
		}
		if parts[2] != "" {
			zone = offset(parts[2], parts[3], parts[4])
		}
		return time.UnixMilli(ms).In(zone), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", time.DateOnly} {
		if at, err := time.Parse(layout, written); err == nil {
			return at, nil
		}
	}
	return time.Parse(time.RFC3339Nano, written)
}

func offset(sign, hours, minutes string) *time.Location {
	// The pattern lets nothing but digits through.
	h, _ := strconv.Atoi(hours)
	m, _ := strconv.Atoi(minutes)
	seconds := h*3600 + m*60
	if sign == "-" {
		seconds = -seconds
	}
	return time.FixedZone("", seconds)
}
