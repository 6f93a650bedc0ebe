package facts

import (
	"strconv"
	"strings"
	"time"
)

// datePattern matches a date in folded text, in the forms that registries write: 20-may-2015, may
// 20, 2015, 20 mai 2015, 1er fevrier 2016, the 20th day of may, 2015, 2015-05-20.
const datePattern = `(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}` +
	`|\d{1,2}(?:st|nd|rd|th|er)?(?: day)?(?: of| de)?[-. /]{1,2}` + monthPattern + `\.?,?[-. /]{0,2}\d{4}` +
	`|` + monthPattern + `\.?[- ]?\d{1,2}(?:st|nd|rd|th|er)?,?[- /]{1,2}\d{4})\b`

// monthPattern matches a month by its first letters, in English and French.
const monthPattern = `(?:jan|feb|fev|mar|apr|avr|may|mai|jun|jui|jul|aug|aou|sep|oct|nov|dec)[a-z]*`

// parseDate returns a folded date as YYYY-MM-DD, or "" if there is no such day.
func parseDate(text string) string {
	var numbers []int
	month := 0
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') &&
			(r < 'a' || r > 'z')
	}) {
		digits := strings.TrimRight(word, "abcdefghijklmnopqrstuvwxyz")
		if n, err := strconv.Atoi(digits); err == nil {
			numbers = append(numbers, n)
		} else if m := monthOf(word); m > 0 {
			month = m
		}
	}
	switch {
	case len(numbers) == 3 && month == 0: // 2015-05-20
		return dateOf(numbers[0], numbers[1], numbers[2])
	case len(numbers) == 2 && month > 0:
		return dateOf(numbers[1], month, numbers[0])
	}
	return ""
}

// monthOf returns the month that a folded word names or abbreviates, 0 if none.
func monthOf(word string) int {
	if len(word) < 3 {
		return 0
	}
	switch word[:3] {
	case "jan":
		return 1
	case "feb", "fev":
		return 2
	case "mar":
		return 3
	case "apr", "avr":
		return 4
	case "may", "mai":
		return 5
	case "jun":
		return 6
	case "jul":
		return 7
	case "aug", "aou":
		return 8
	case "sep":
		return 9
	case "oct":
		return 10
	case "nov":
		return 11
	case "dec":
		return 12
	case "jui":
		if strings.HasPrefix(word, "juil") {
			return 7
		}
		return 6
	}
	return 0
}

func dateOf(year, month, day int) string {
	at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if at.Year() != year || int(at.Month()) != month || at.Day() != day || year < 1900 || year > 2199 {
		return ""
	}
	return at.Format(time.DateOnly)
}

// daysBetween returns the days from one YYYY-MM-DD to another; false if either is none.
func daysBetween(from, to string) (int, bool) {
	a, errA := time.Parse(time.DateOnly, from)
	b, errB := time.Parse(time.DateOnly, to)
	if errA != nil || errB != nil {
		return 0, false
	}
	return int(b.Sub(a).Hours() / 24), true
}
