// Package contract holds the types that the services of fct-scraper exchange: case ids, messages,
// subjects, outcomes and reports. It has no behaviour beyond encoding and checks, and depends only
// on the standard library and the mirror of its encoding/json/v2.
package contract

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
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

// FullYear returns the year that two digits stand for, 1971 to 2070: the court's numbers start in
// 1971. It is 0 for any other text.
func FullYear(yy string) int {
	if CheckYear(yy) != nil {
		return 0
	}
	year := int(yy[0]-'0')*10 + int(yy[1]-'0')
	if year > 70 {
		return 1900 + year
	}
	return 2000 + year
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

// CaseList is a set of cases of one series and year; its zero value lists none. Two equal values
// list the same cases.
//
// Its JSON form is a list of texts, each a case id, a range of ids or, as long lists have, a bitmap:
//
//	"IMM-231-25"
//	"IMM-240-25..IMM-260-25"
//	"IMM-25:AQIE"
//
// The bitmap is base64 (RFC 4648, section 4); bit n%8 of byte n/8, the lowest bit first, stands for
// number n. So a list of all MaxNumber cases needs at most 17 KB.
type CaseList struct {
	Series, Year string
	// numbers is the bitmap without zero bytes at its end.
	numbers string
}

// IsZero reports whether l lists no case.
func (l CaseList) IsZero() bool { return l.numbers == "" }

// Equal reports whether l and o list the same cases, as == does.
func (l CaseList) Equal(o CaseList) bool { return l == o }

// Contains reports whether l lists the case of a number.
func (l CaseList) Contains(n int) bool {
	return n > 0 && n/8 < len(l.numbers) && l.numbers[n/8]>>(n%8)&1 == 1
}

// Numbers yields the numbers of the listed cases, ascending.
func (l CaseList) Numbers() iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := range len(l.numbers) * 8 {
			if l.Contains(n) && !yield(n) {
				return
			}
		}
	}
}

// Size is how many cases l lists.
func (l CaseList) Size() int {
	size := 0
	for i := range len(l.numbers) {
		size += bits.OnesCount8(l.numbers[i])
	}
	return size
}

// Range is from the first to the last listed number; the zero Range if l lists none.
func (l CaseList) Range() (r Range) {
	for n := range l.Numbers() {
		r.Start = n
		break
	}
	if last := len(l.numbers) - 1; last >= 0 {
		r.End = last*8 + bits.Len8(l.numbers[last]) - 1
	}
	return r
}

// maxPlainList is the size in bytes up to which a list is written as ids and ranges. The bitmap of a
// whole year has about as many.
const maxPlainList = 16 << 10

const (
	rangeMark  = ".."
	bitmapMark = ":"
)

// Elements returns l in its JSON form.
func (l CaseList) Elements() []string {
	elements, size := []string{}, 0
	for r := range l.ranges() {
		id := CaseID{Series: l.Series, Year: l.Year, Number: r.Start}
		element := id.String()
		if r.Size() > 1 {
			id.Number = r.End
			element += rangeMark + id.String()
		}
		if size += len(element) + len(`"",`); size > maxPlainList {
			return []string{l.Series + "-" + l.Year + bitmapMark + base64.StdEncoding.EncodeToString([]byte(l.numbers))}
		}
		elements = append(elements, element)
	}
	return elements
}

// ranges yields the longest ranges of listed numbers, ascending.
func (l CaseList) ranges() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		var open Range
		for n := range l.Numbers() {
			if open.Start > 0 && n == open.End+1 {
				open.End = n
				continue
			}
			if open.Start > 0 && !yield(open) {
				return
			}
			open = Range{Start: n, End: n}
		}
		if open.Start > 0 {
			yield(open)
		}
	}
}

// MarshalJSON writes l as Elements.
func (l CaseList) MarshalJSON() ([]byte, error) { return json.Marshal(l.Elements()) }

// UnmarshalJSON reads the form of MarshalJSON; its error wraps ErrCaseID.
func (l *CaseList) UnmarshalJSON(data []byte) error {
	var elements []string
	if err := json.Unmarshal(data, &elements); err != nil {
		return fmt.Errorf("%w: %w", ErrCaseID, err)
	}
	var problems []Problem
	*l, problems = ParseCaseList(elements)
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s %s: allowed is %s", ErrCaseID, problems[0].Value, problems[0].Reason,
			problems[0].Allowed)
	}
	return nil
}

// AllowedCaseList describes the JSON form of a CaseList.
const AllowedCaseList = `a list of ids of one series and year, such as ["IMM-231-25", "IMM-240-25..IMM-260-25"], 1 to 99999 each`

// ParseCaseList reads the JSON form of a list. It returns a problem of the field ids for each kind of
// mistake, with the first few elements that have it.
func ParseCaseList(elements []string) (CaseList, []Problem) {
	if len(elements) == 0 {
		return CaseList{}, []Problem{{Field: FieldIDs, Value: "[]", Reason: "it is empty", Allowed: AllowedCaseList}}
	}
	var lists CaseLists
	var malformed, foreign wrongElements
	for _, element := range elements {
		part, err := parseElement(element)
		switch {
		case err != nil:
			malformed.add(element, err)
			continue
		case len(lists.sets) > 0 && !lists.Has(part.Series, part.Year):
			foreign.add(element, nil)
			continue
		}
		lists.addAll(part)
	}
	var problems []Problem
	if malformed.count > 0 {
		problems = append(problems, Problem{Field: FieldIDs, Value: malformed.String(), Reason: malformed.err.Error(),
			Allowed: AllowedCaseList})
	}
	if foreign.count > 0 {
		first := lists.Lists()[0]
		problems = append(problems, Problem{Field: FieldIDs, Value: foreign.String(),
			Reason:  fmt.Sprintf("the first id is of series %s and year %s", first.Series, first.Year),
			Allowed: AllowedCaseList})
	}
	if len(problems) > 0 {
		return CaseList{}, problems
	}
	return lists.Lists()[0], nil
}

// FieldIDs is the key of the list of a batch.
const FieldIDs = "ids"

// maxNamedElements is how many wrong elements a problem shows.
const maxNamedElements = 5

// wrongElements collects elements of a list that have the same mistake.
type wrongElements struct {
	first []string
	count int
	// err is the mistake of the first one.
	err error
}

func (w *wrongElements) add(element string, err error) {
	if w.count++; w.count == 1 {
		w.err = err
	}
	if len(w.first) < maxNamedElements {
		w.first = append(w.first, fmt.Sprintf("%.40q", element))
	}
}

func (w *wrongElements) String() string {
	text := strings.Join(w.first, ", ")
	if more := w.count - len(w.first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// parseElement reads one element of a list.
func parseElement(element string) (CaseList, error) {
	if head, bitmap, found := strings.Cut(element, bitmapMark); found {
		return parseBitmap(head, bitmap)
	}
	first, last, isRange := strings.Cut(element, rangeMark)
	from, err := ParseCaseID(first)
	to := from
	if isRange && err == nil {
		to, err = ParseCaseID(last)
	}
	switch {
	case err != nil:
		return CaseList{}, err
	case from.Series != to.Series || from.Year != to.Year || from.Number > to.Number:
		return CaseList{}, errors.New("a range is from a lower number to a higher one of its series and year")
	}
	numbers := make([]byte, to.Number/8+1)
	for n := from.Number; n <= to.Number; n++ {
		if n%8 == 0 && n+7 <= to.Number { // a command may have thousands of long ranges
			numbers[n/8] = 0xff
			n += 7
			continue
		}
		numbers[n/8] |= 1 << (n % 8)
	}
	return CaseList{Series: from.Series, Year: from.Year, numbers: string(numbers)}, nil
}

func parseBitmap(head, bitmap string) (l CaseList, err error) {
	l.Series, l.Year, _ = strings.Cut(head, "-")
	numbers, err := base64.StdEncoding.DecodeString(bitmap)
	if err == nil {
		err = errors.Join(CheckSeries(l.Series), CheckYear(l.Year))
	}
	if err != nil {
		return CaseList{}, fmt.Errorf("not a bitmap of the form <series>-<yy>:<base64>: %w", err)
	}
	if l.numbers = strings.TrimRight(string(numbers), "\x00"); l.IsZero() || l.numbers[0]&1 == 1 ||
		l.Range().End > MaxNumber {
		return CaseList{}, fmt.Errorf("a bitmap has one or more numbers, 1 to %d", MaxNumber)
	}
	return l, nil
}

// CaseLists collects cases and sorts them by series and year. Its zero value is empty.
type CaseLists struct{ sets map[CaseList][]byte }

// Add adds a case, and reports whether it is a new one. The id must be valid.
func (c *CaseLists) Add(id CaseID) (added bool) {
	set := c.set(CaseList{Series: id.Series, Year: id.Year}, id.Number/8+1)
	before := set[id.Number/8]
	set[id.Number/8] |= 1 << (id.Number % 8)
	return set[id.Number/8] != before
}

// set returns the bitmap of a series and year, with at least size bytes.
func (c *CaseLists) set(key CaseList, size int) []byte {
	if c.sets == nil {
		c.sets = make(map[CaseList][]byte)
	}
	set := c.sets[key]
	if len(set) < size {
		set = append(set, make([]byte, size-len(set))...)
	}
	c.sets[key] = set
	return set
}

func (c *CaseLists) addAll(l CaseList) {
	set := c.set(CaseList{Series: l.Series, Year: l.Year}, len(l.numbers))
	for i := range len(l.numbers) {
		set[i] |= l.numbers[i]
	}
}

// Has reports whether there is a case of a series and year.
func (c *CaseLists) Has(series, year string) bool {
	_, found := c.sets[CaseList{Series: series, Year: year}]
	return found
}

// Count is how many series and years the cases have.
func (c *CaseLists) Count() int { return len(c.sets) }

// Lists returns a list for each series and year, ordered by series, then year.
func (c *CaseLists) Lists() []CaseList {
	var lists []CaseList
	for key, set := range c.sets {
		key.numbers = string(set)
		lists = append(lists, key)
	}
	slices.SortFunc(lists, func(a, b CaseList) int {
		return strings.Compare(a.Series+"-"+a.Year, b.Series+"-"+b.Year)
	})
	return lists
}
