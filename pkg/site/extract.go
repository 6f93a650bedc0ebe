package site

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// extraction fills a record from rows.
type extraction struct {
	zone *time.Location
	// bad are the fields with an unusable value, each with the first such value.
	bad []badValue
}

// badValue is a value that was left out of the record.
type badValue struct{ field, value string }

func (x *extraction) addBadValue(m mapping, value string) {
	for _, known := range x.bad {
		if known.field == m.path.Text {
			return
		}
	}
	x.bad = append(x.bad, badValue{m.path.Text, value})
}

// text returns a field of a row as text; days are converted to YYYY-MM-DD.
func (x *extraction) text(m mapping, row *jsontree.Node) string {
	node, err := m.path.First(row)
	if err != nil {
		x.addBadValue(m, err.Error())
		return ""
	}
	value, err := text(node)
	if err != nil {
		x.addBadValue(m, err.Error())
		return ""
	}
	if value == "" || !m.isDay {
		return value
	}
	written, err := parseDay(value, x.zone)
	if err != nil {
		x.addBadValue(m, value)
	}
	return written
}

// fill sets the fields of a part of a record that are still empty: every row of a case repeats the
// header, and some rows have more of it.
func (x *extraction) fill(part any, fields []mapping, row *jsontree.Node) {
	value := reflect.ValueOf(part).Elem()
	for _, m := range fields {
		field := value.Field(m.index)
		if !field.IsZero() && (field.Kind() != reflect.Slice || field.Len() > 0) {
			continue
		}
		switch to := field.Addr().Interface().(type) {
		case *string:
			*to = x.text(m, row)
		case *[]string:
			*to = x.list(m, row)
		case *int:
			*to = x.number(m, x.text(m, row))
		case *contract.YesNo:
			*to = x.yesNo(m, x.text(m, row))
		}
	}
}

// list returns the texts of a list, without nulls; nil if there is no list.
func (x *extraction) list(m mapping, row *jsontree.Node) []string {
	var texts []string
	if m.path.Holder != nil {
		holder, err := m.path.Holder.First(row)
		if err == nil && holder != nil && holder.Kind != jsontree.Null && holder.Kind != jsontree.Array {
			x.addBadValue(m, "not a list")
			return nil
		}
		if err == nil && holder != nil && holder.Kind == jsontree.Array {
			texts = []string{}
		}
	}
	nodes, err := m.path.All(row)
	if err != nil {
		x.addBadValue(m, err.Error())
	}
	for _, node := range nodes {
		value, err := text(node)
		if err != nil {
			x.addBadValue(m, err.Error())
		} else if value != "" {
			texts = append(texts, value)
		}
	}
	return texts
}

// number parses a non-negative integer; an empty text is 0.
func (x *extraction) number(m mapping, value string) int {
	if value == "" {
		return 0
	}
	number, err := strconv.Atoi(value)
	if err != nil || number < 0 {
		x.addBadValue(m, value)
		return 0
	}
	return number
}

func (x *extraction) yesNo(m mapping, value string) contract.YesNo {
	switch strings.ToUpper(value) {
	case "":
		return contract.Unknown
	case "Y", "TRUE":
		return contract.Yes
	case "N", "FALSE":
		return contract.No
	default:
		x.addBadValue(m, value)
		return contract.Unknown
	}
}

// fieldsOf returns the fields of a part of a record by their names in JSON.
func fieldsOf[Part any]() map[string]reflect.StructField {
	fields := make(map[string]reflect.StructField)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Part]()) {
		fields[f.Tag.Get("json")] = f
	}
	return fields
}

// table holds the rows of a well-formed response: the rows of the requested case, and the ids of
// the other rows.
type table struct {
	rows    []*jsontree.Node
	foreign []string
	// unrelated is set if a row belongs to a case that the query cannot have matched: the site
	// mixed up its responses.
	unrelated bool
	// paging is the state after this page, and inputs are its hidden inputs; both are unset for
	// JSON.
	paging paging
	inputs [][2]string
}

// foreignCases returns the ids of the other rows, sorted and without duplicates.
func (t *table) foreignCases() string {
	slices.Sort(t.foreign)
	return strings.Join(slices.Compact(slices.Clone(t.foreign)), " ")
}

// responseError is why a response cannot be used: the rule that was broken, and the error.
type responseError struct {
	rule string
	err  error
}

func (t *responseError) Error() string { return t.err.Error() }

// read extracts the table of a response, which is valid as long as the parser's tree; prev is the
// state after the earlier pages of the call.
func (c *call) read(
	parser *jsontree.Parser, id contract.CaseID, exchange contract.Exchange, prev paging,
) (table, *responseError) {
	var t table
	if c.page != nil {
		return c.page.read(id, exchange, prev)
	}
	if !isOK(exchange.Status) {
		return t, &responseError{"status", statusError(exchange.Status)}
	}
	doc, err := parseJSON(parser, exchange.Body, exchange.ContentType)
	if errors.Is(err, errCharset) {
		return t, &responseError{"charset", err}
	}
	if err != nil {
		return t, &responseError{"malformed", err}
	}
	rows, err := c.tableRows(doc)
	if err != nil {
		return t, &responseError{"shape", err}
	}
	if err := c.checkCount(doc, len(rows)); err != nil {
		return t, &responseError{"count", err}
	}
	for _, row := range rows {
		if err := t.addJSONRow(c, id, row); err != nil {
			return t, &responseError{"shape", err}
		}
	}
	if name := c.unexpectedMember(doc); name != "" && len(t.rows) == 0 {
		return t, &responseError{"shape", fmt.Errorf("no row of the case, but a member %.40q", name)}
	}
	return t, nil
}

// unexpectedMember returns the name of the first non-empty member other than the rows and their
// count. If there are no rows, such a member probably explains why, so that the response proves
// nothing about the case.
func (c *call) unexpectedMember(doc *jsontree.Node) string {
	var known []*jsontree.Node
	for _, path := range []*jsontree.Path{c.count, c.rows.Holder} {
		if path == nil {
			continue
		}
		node, err := path.First(doc)
		for ; err == nil && node != nil; node = node.Parent {
			known = append(known, node)
		}
	}
	for child := doc.First; child != nil && doc.Kind == jsontree.Object; child = child.Next {
		value, err := text(child)
		empty := err == nil && (value == "" || value == "0") || err != nil && child.First == nil
		if !empty && !slices.Contains(known, child) {
			return child.Name
		}
	}
	return ""
}

// addJSONRow adds a row to the rows of the case or to the foreign ones.
func (t *table) addJSONRow(c *call, id contract.CaseID, row *jsontree.Node) error {
	if row.Kind != jsontree.Object {
		return errors.New("a row that is not an object")
	}
	if c.caseNumber == nil {
		if !c.hasParty(row) {
			return errors.New("a row without any of a party's fields")
		}
		t.rows = append(t.rows, row)
		return nil
	}
	node, err := c.caseNumber.First(row)
	if err != nil {
		return err
	}
	whose, err := text(node)
	if err != nil || whose == "" {
		return fmt.Errorf("a row without %s", c.caseNumber.Text)
	}
	t.addRow(id, whose, row)
	return nil
}

// addRow adds a row by the case id that it holds.
func (t *table) addRow(id contract.CaseID, whose string, row *jsontree.Node) {
	if found, ok := normalizeCaseID(whose); ok && found == id {
		t.rows = append(t.rows, row)
	} else {
		t.foreign = append(t.foreign, whose)
		t.unrelated = t.unrelated || !ok || !isPrefixMatch(found, id)
	}
}

// hasParty reports whether a row has any field of a party, even an empty one.
func (c *call) hasParty(row *jsontree.Node) bool {
	return slices.ContainsFunc(c.party, func(m mapping) bool {
		node, err := m.path.First(row)
		return err == nil && node != nil
	})
}

// tableRows returns the rows. An empty list is valid; any other kind of value is not.
func (c *call) tableRows(doc *jsontree.Node) ([]*jsontree.Node, error) {
	if holder := c.rows.Holder; holder != nil {
		list, err := holder.First(doc)
		switch {
		case err != nil:
			return nil, err
		case list == nil:
			return nil, fmt.Errorf("no %s", holder.Text)
		case list.Kind != jsontree.Array:
			return nil, fmt.Errorf("%s is not a list", holder.Text)
		}
	}
	return c.rows.All(doc)
}

// checkCount compares the response's row count with the actual number of rows.
func (c *call) checkCount(doc *jsontree.Node, rows int) error {
	if c.count == nil {
		return nil
	}
	node, err := c.count.First(doc)
	switch {
	case err != nil:
		return err
	case node == nil:
		return fmt.Errorf("no %s", c.count.Text)
	case node.Kind != jsontree.Number:
		return fmt.Errorf("%s is not a number", c.count.Text)
	case plainNumber(node.Text) != strconv.Itoa(rows):
		return fmt.Errorf("%s is %.20s, but there are %d rows", c.count.Text, node.Text, rows)
	}
	return nil
}

// divisions returns the distinct divisions of the case's rows.
func (c *call) divisions(t table) []string {
	if c.division == nil {
		return nil
	}
	var names []string
	for _, row := range t.rows {
		node, err := c.division.First(row)
		if err != nil {
			continue
		}
		if name, err := text(node); err == nil && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// containsCase reports whether a JSON body has a row of the case in its usual form, without parsing
// it. A string value cannot match by accident, because its quotation marks would be escaped.
func (c *call) containsCase(id contract.CaseID, body []byte) bool {
	return c.casePrefix != "" && startsAsJSON(body) && bytes.Contains(body, []byte(c.casePrefix+id.String()+`"`))
}

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
