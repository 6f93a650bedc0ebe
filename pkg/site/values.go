package site

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// errDay is the error for a text that is not a plausible day of a court file.
var errDay = errors.New("not a day")

// firstYear and lastYear bound the days of a court file: the Federal Court's predecessor was
// established in 1875.
const (
	firstYear = 1875
	lastYear  = 2200
)

// parseDay reads "/Date(ms)/", "/Date(ms-0400)/", "2024-11-21T00:00:00" (with or without an offset)
// and "2024-11-21". It returns YYYY-MM-DD: the day at the given offset, or else in zone.
func parseDay(written string, zone *time.Location) (string, error) {
	at, err := parseTime(written, zone)
	if err != nil || at.Year() < firstYear || at.Year() > lastYear {
		return "", errDay
	}
	return at.Format(time.DateOnly), nil
}

func parseTime(written string, zone *time.Location) (time.Time, error) {
	if inner, found := strings.CutPrefix(written, "/Date("); found {
		return parseMicrosoftDate(inner, zone)
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", time.DateOnly} {
		if at, err := time.Parse(layout, written); err == nil {
			return at, nil
		}
	}
	return time.Parse(time.RFC3339Nano, written)
}

// maxDigits limits the digits of milliseconds; more would overflow a time.Time.
const maxDigits = 15

// parseMicrosoftDate reads the rest of a date after "/Date(", as Microsoft's serializers write it:
// Unix milliseconds and an optional offset for display.
func parseMicrosoftDate(inner string, zone *time.Location) (time.Time, error) {
	inner, found := strings.CutSuffix(inner, ")/")
	if !found {
		return time.Time{}, errDay
	}
	// A sign after the first byte starts the offset.
	if at := strings.LastIndexAny(inner, "+-"); at > 0 {
		var err error
		if zone, err = parseOffset(inner[at:]); err != nil {
			return time.Time{}, err
		}
		inner = inner[:at]
	}
	ms, err := strconv.ParseInt(inner, 10, 64)
	if err != nil || inner[0] == '+' || len(strings.TrimPrefix(inner, "-")) > maxDigits {
		return time.Time{}, errDay
	}
	return time.UnixMilli(ms).In(zone), nil
}

// parseOffset reads an offset such as -0400, of at most 14 hours.
func parseOffset(written string) (*time.Location, error) {
	digits := written[1:]
	if len(digits) != 4 || strings.Trim(digits, "0123456789") != "" {
		return nil, errDay
	}
	// Four digits are always a number.
	value, _ := strconv.Atoi(digits)
	hours, minutes := value/100, value%100
	if hours > 14 || minutes > 59 {
		return nil, errDay
	}
	seconds := hours*3600 + minutes*60
	if written[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds), nil
}

// normalizeCaseID parses a case id as a site may write it: with spaces, in lower case, with leading
// zeros.
func normalizeCaseID(written string) (contract.CaseID, bool) {
	if id, err := contract.ParseCaseID(written); err == nil {
		return id, true
	}
	parts := strings.Split(strings.Map(upperASCII, written), "-")
	if len(parts) != 3 {
		return contract.CaseID{}, false
	}
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
	}
	parts[1] = strings.TrimLeft(parts[1], "0")
	id, err := contract.ParseCaseID(strings.Join(parts, "-"))
	return id, err == nil
}

// upperASCII converts ASCII letters only: some other letters have an ASCII letter as their capital.
func upperASCII(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}

// isPrefixMatch reports whether a site that matches numbers by prefix returns found for asked:
// IMM-130-25 for IMM-13-25.
func isPrefixMatch(found, asked contract.CaseID) bool {
	return found.Series == asked.Series && found.Year == asked.Year &&
		strings.HasPrefix(strconv.Itoa(found.Number), strconv.Itoa(asked.Number))
}
