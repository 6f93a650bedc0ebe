// Package contract holds the types that the services of fct-scraper exchange: case ids, messages,
// subjects, outcomes and reports. It has no behaviour beyond encoding and checks, and depends only
// on the standard library.
package contract

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxNumber is the highest number of a series in one year.
const MaxNumber = 99999

// ErrCaseID is wrapped by every error about a text that is not a case id.
var ErrCaseID = errors.New("not a case id")

// CaseID names one case of a court, such as IMM-231-25. The zero value is invalid. A CaseID from
// ParseCaseID or NewCaseID is safe in subjects, keys and file names.
type CaseID struct {
	// Series is one to five capital ASCII letters.
	Series string
	// Year is the year's last two digits.
	Year string
	// Number is 1 to MaxNumber.
	Number int
}

// NewCaseID checks the parts of a case id; its error wraps ErrCaseID and names the wrong part.
func NewCaseID(series string, number int, year string) (CaseID, error) {
	if err := CheckSeries(series); err != nil {
		return CaseID{}, fmt.Errorf("%w: %w", ErrCaseID, err)
	}
	if err := CheckYear(year); err != nil {
		return CaseID{}, fmt.Errorf("%w: %w", ErrCaseID, err)
	}
	if err := CheckNumber(number); err != nil {
		return CaseID{}, fmt.Errorf("%w: %w", ErrCaseID, err)
	}
	return CaseID{Series: series, Year: year, Number: number}, nil
}

// ParseCaseID reads the canonical form "IMM-231-25" and nothing else: no spaces, lower case letters
// or leading zeros. Its error wraps ErrCaseID.
func ParseCaseID(text string) (CaseID, error) {
	parts := strings.Split(text, "-")
	if len(text) > 16 || len(parts) != 3 {
		return CaseID{}, fmt.Errorf("%w: %.40q: allowed is <series>-<number>-<yy>, such as IMM-231-25", ErrCaseID, text)
	}
	number, err := parseNumber(parts[1])
	if err != nil {
		return CaseID{}, fmt.Errorf("%w: %q: %w", ErrCaseID, text, err)
	}
	id, err := NewCaseID(parts[0], number, parts[2])
	if err != nil {
		return CaseID{}, fmt.Errorf("%q: %w", text, err)
	}
	return id, nil
}

func parseNumber(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(number) != text {
		return 0, fmt.Errorf("number %q: allowed is 1 to %d without leading zeros", text, MaxNumber)
	}
	return number, CheckNumber(number)
}

// CheckSeries returns an error unless text is a series: one to five capital ASCII letters.
func CheckSeries(text string) error {
	if len(text) < 1 || len(text) > 5 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return fmt.Errorf("series %.40q: allowed are 1 to 5 capital ASCII letters", text)
	}
	return nil
}

// ParseYear reads a year as "25" or "2025" and returns its last two digits. Four digits are 2000 to
// 2099.
func ParseYear(text string) (string, error) {
	short := text
	if len(text) == 4 {
		short = strings.TrimPrefix(text, "20")
	}
	if err := CheckYear(short); err != nil {
		return "", fmt.Errorf("year %.40q: allowed are two digits, or 2000 to 2099", text)
	}
	return short, nil
}

// CheckYear returns an error unless text is a year: two ASCII digits.
func CheckYear(text string) error {
	if len(text) != 2 || strings.Trim(text, "0123456789") != "" {
		return fmt.Errorf("year %.40q: allowed are two ASCII digits", text)
	}
	return nil
}

// CheckNumber returns an error unless n is the number of a case: 1 to MaxNumber.
func CheckNumber(n int) error {
	if n < 1 || n > MaxNumber {
		return fmt.Errorf("number %d: allowed is 1 to %d", n, MaxNumber)
	}
	return nil
}

// String returns the canonical form: IMM-231-25.
func (c CaseID) String() string {
	return c.Series + "-" + strconv.Itoa(c.Number) + "-" + c.Year
}

// Key returns the form of keys and subjects: IMM.25.231.
func (c CaseID) Key() string {
	return c.Series + "." + c.Year + "." + strconv.Itoa(c.Number)
}

// ParseKey reads the form of Key; its error wraps ErrCaseID.
func ParseKey(key string) (CaseID, error) {
	parts := strings.Split(key, ".")
	if len(parts) != 3 {
		return CaseID{}, fmt.Errorf("%w: key %.40q: allowed is <series>.<yy>.<number>", ErrCaseID, key)
	}
	return ParseCaseID(parts[0] + "-" + parts[2] + "-" + parts[1])
}

// Compare orders by series, year and number, as cmp.Compare.
func (c CaseID) Compare(o CaseID) int {
	return cmp.Or(cmp.Compare(c.Series, o.Series), cmp.Compare(c.Year, o.Year), cmp.Compare(c.Number, o.Number))
}

// WithNumber returns the case of the same series and year with another number, which it does not
// check.
func (c CaseID) WithNumber(number int) CaseID {
	c.Number = number
	return c
}

// MarshalText returns the canonical form; an invalid id is an error, so that none is ever stored.
func (c CaseID) MarshalText() ([]byte, error) {
	if _, err := NewCaseID(c.Series, c.Number, c.Year); err != nil {
		return nil, err
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads the canonical form.
func (c *CaseID) UnmarshalText(text []byte) error {
	id, err := ParseCaseID(string(text))
	if err != nil {
		return err
	}
	*c = id
	return nil
}

// Range is an interval of numbers, both ends included. A Range with End < Start is empty.
type Range struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// Size is how many numbers the range has.
func (r Range) Size() int { return max(0, r.End-r.Start+1) }

// Contains reports whether n is in the range.
func (r Range) Contains(n int) bool { return n >= r.Start && n <= r.End }
