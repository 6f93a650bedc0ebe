package courtsim

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
)

// jsonRows is a decoded JSON response, for faults that change it.
type jsonRows struct {
	Count any              `json:"Count"`
	Data  []map[string]any `json:"data"`
	call  call
}

func parseRows(body []byte, op call) (*jsonRows, error) {
	rows := &jsonRows{call: op}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(rows); err != nil {
		return nil, err
	}
	return rows, nil
}

func (a *jsonRows) updateCount() { a.Count = len(a.Data) }

func (a *jsonRows) changeFields(change func(row int, name string, value any) any) {
	for i, row := range a.Data {
		for name, value := range row {
			row[name] = change(i, name, value)
		}
	}
}

func (c *Simulator) changeRows(kind *faultKind, q request, right reply) reply {
	rows, err := parseRows(right.body, q.call)
	if err != nil {
		return right
	}
	kind.changeRows(c, q.id, rows)
	if right.body, err = json.Marshal(rows); err != nil {
		return reply{500, asHTML, []byte(err.Error())}
	}
	return right
}

// longDocket is the number of entries of an oversized docket; its JSON has about 2 MB.
const longDocket = 2500

// rowKinds are responses with too many or too few rows, or with a wrong count.
func rowKinds() []faultKind {
	counted := func(name, about string, json func(rows int) any, page func(rows int) int) faultKind {
		kind := faultKind{name: name, about: about, changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) { a.Count = json(len(a.Data)) }}
		if page != nil {
			kind.changePage = func(_ *Simulator, _ contract.CaseID, v *view) {
				if v.Found != nil {
					v.Found.total = page(len(v.Found.all))
				}
			}
		}
		return kind
	}
	more, none := func(rows int) int { return rows + 3 }, func(int) int { return 0 }
	return []faultKind{
		{name: "prefix", about: "rows of the ten numbers that begin with this one before its own, if it has any", changeRows: prefixRows, changePage: prefixPage},
		{name: "duplicate", about: "every row twice", changeRows: duplicateRows, changePage: duplicatePage},
		{name: "divisions", about: "every row once more, in the other division", changeRows: divisionRows},
		{name: "long", about: "a docket of 2,500 entries", changeRows: longRows, changePage: longPage},
		{name: "rows-null", about: "null for the rows", changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) { a.Data = nil }},
		counted("count", "a count that is three too many", func(rows int) any { return more(rows) }, more),
		counted("count-zero", "a count of 0, whatever rows there are", func(int) any { return 0 }, none),
		counted("count-negative", "a count of -1", func(int) any { return -1 }, nil),
		counted("count-text", `a count that is a string`, func(int) any { return "1" }, nil),
	}
}

// prefixMatches returns the ten longer numbers that start with the same digits, as far as they are
// valid.
func prefixMatches(id contract.CaseID) (ids []contract.CaseID) {
	for n := id.Number * 10; id.Number > 0 && n <= min(id.Number*10+9, contract.MaxNumber); n++ {
		ids = append(ids, id.WithNumber(n))
	}
	return ids
}

func prefixRows(c *Simulator, id contract.CaseID, a *jsonRows) {
	if a.call == partiesCall || a.call == relatedCall { // their rows do not name a case
		return
	}
	var longer []map[string]any
	for _, other := range prefixMatches(id) {
		text, of := []byte(`{"data":[`), c.newFile(other)
		if a.call == docketCall {
			text = appendEntryRow(text, of, &c.newDocket(of)[0], true)
		} else {
			text = appendHeaderRow(text, of, true, a.call == fullerCall)
		}
		if more, err := parseRows(append(text, `]}`...), a.call); err == nil {
			longer = append(longer, more.Data...)
		}
	}
	a.Data = append(longer, a.Data...)
	a.updateCount()
}

func prefixPage(c *Simulator, id contract.CaseID, v *view) {
	if v.Found == nil {
		return
	}
	var longer []searchRow
	for _, other := range prefixMatches(id) {
		longer = append(longer, c.searchRow(v.L, other))
	}
	v.Found.all = append(longer, v.Found.all...)
	v.Found.total = len(v.Found.all)
}

func duplicateRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	a.Data = duplicate(a.Data)
	a.updateCount()
}

func duplicatePage(_ *Simulator, _ contract.CaseID, v *view) {
	switch {
	case v.Found != nil:
		v.Found.all = duplicate(v.Found.all)
		v.Found.total = len(v.Found.all)
	case v.Entries != nil:
		v.Entries.Rows = duplicate(v.Entries.Rows)
	case v.Parties != nil:
		v.Parties.Rows = duplicate(v.Parties.Rows)
	}
}

func duplicate[T any](rows []T) []T {
	twice := make([]T, 0, 2*len(rows))
	for _, row := range rows {
		twice = append(twice, row, row)
	}
	return twice
}

func divisionRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	for _, row := range slices.Clone(a.Data) {
		other := maps.Clone(row)
		for _, name := range []string{"DIVISION", "Division"} {
			if division, has := other[name]; has {
				other[name] = map[any]string{"T": "A", "A": "T"}[division]
			}
		}
		a.Data = append(a.Data, other)
	}
	a.updateCount()
}

func longRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	if a.call != docketCall || len(a.Data) == 0 {
		return
	}
	for n := len(a.Data); n < longDocket; n++ {
		row := maps.Clone(a.Data[n%len(a.Data)])
		row["RE_NO"] = n + 1
		a.Data = append(a.Data, row)
	}
	a.updateCount()
}

func longPage(_ *Simulator, _ contract.CaseID, v *view) {
	if v.Entries == nil || len(v.Entries.Rows) == 0 {
		return
	}
	for n := len(v.Entries.Rows); n < longDocket; n++ {
		row := v.Entries.Rows[n%len(v.Entries.Rows)]
		row.ID = n + 1
		v.Entries.Rows = append(v.Entries.Rows, row)
	}
}

// hostileText starts like a spreadsheet formula and holds markup, control characters and templates.
const hostileText = "=cmd|' /C calc'!A1 <script>alert(1)</script>\r\n{\"level\":\"ERROR\"} \x1b[2J\u202e\u2028{{.}} ${x} \x00 "

// fieldKinds are responses with wrong field values.
func fieldKinds() []faultKind {
	return []faultKind{
		{name: "nulls", about: "every field of every row null", changePage: blankPage, changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) {
			a.changeFields(func(int, string, any) any { return nil })
		}},
		{name: "bare", about: "rows that hold nothing but their number", changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) {
			for i, row := range a.Data {
				a.Data[i] = map[string]any{"COURT_NO": row["COURT_NO"]}
			}
		}},
		{name: "unknown-fields", about: "300 unknown fields in every row, __proto__ among them", changeRows: unknownFields},
		{name: "types", about: "numbers, lists and objects in place of texts", changeRows: wrongTypes},
		{name: "dates", about: "invalid days", changeRows: absurdDates, changePage: func(_ *Simulator, _ contract.CaseID, v *view) {
			v.changeTexts(func(i int, field, text string) string {
				if field == "day" {
					return absurdDay(i)
				}
				return text
			})
		}},
		{name: "numbers", about: "1e400, thirty digits, -1.5 in place of entry and document numbers", changeRows: absurdNumbers},
		{name: "padded", about: "court numbers with spaces and leading zeros, in lower case", changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) {
			a.changeFields(func(_ int, name string, value any) any {
				if text, is := value.(string); is && name == "COURT_NO" {
					return padded(text)
				}
				return value
			})
		}, changePage: func(_ *Simulator, _ contract.CaseID, v *view) {
			v.changeTexts(func(_ int, field, text string) string {
				if field == "number" {
					return padded(text)
				}
				return text
			})
		}},
		{name: "hostile", about: "markup, formulas, control characters and paths in every text", changeRows: hostileRows, changePage: func(_ *Simulator, _ contract.CaseID, v *view) {
			v.changeTexts(func(_ int, field, text string) string {
				switch field {
				case "text":
					return hostileText + text
				case "document":
					return hostileDocument(text)
				default:
					return text
				}
			})
		}},
	}
}

func blankPage(_ *Simulator, _ contract.CaseID, v *view) {
	v.changeTexts(func(int, string, string) string { return "" })
}

func unknownFields(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	for _, row := range a.Data {
		row["__proto__"] = map[string]any{"polluted": true}
		for n := 1; n < 300; n++ {
			row["UNKNOWN_"+strconv.Itoa(n)] = n
		}
	}
}

func wrongTypes(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	a.changeFields(func(row int, name string, value any) any {
		if _, text := value.(string); !text || name == "COURT_NO" {
			return value
		}
		return []any{12, []any{value}, map[string]any{"value": value}, true}[(row+len(name))%4]
	})
}

func isDay(name string) bool {
	return strings.HasSuffix(name, "_DT") || strings.HasSuffix(name, "_DATE")
}

func absurdDates(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	a.changeFields(func(row int, name string, value any) any {
		if isDay(name) {
			return absurdDay(row)
		}
		return value
	})
}

func absurdDay(n int) string {
	days := []string{"/Date(-62135596800000)/", "/Date(99999999999999999)/", "/Date()/", "0000-00-00", "2025-02-30T00:00:00", "soon"}
	return days[n%len(days)]
}

func absurdNumbers(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	numbers := []json.Number{"1e400", "123456789012345678901234567890", "-1.5"}
	a.changeFields(func(row int, name string, value any) any {
		switch name {
		case "RE_NO", "DOCNO", "PROCEEDING_CLASS_ID":
			return numbers[(row+len(name))%len(numbers)]
		default:
			return value
		}
	})
}

// padded returns a case number such as " imm-00013-25 ".
func padded(number string) string {
	id, err := contract.ParseCaseID(number)
	if err != nil {
		return number
	}
	return strings.ToLower(" " + id.Series + "-000" + strconv.Itoa(id.Number) + "-" + id.Year + " ")
}

func hostileRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	a.changeFields(func(_ int, name string, value any) any {
		text, is := value.(string)
		switch {
		case !is || name == "COURT_NO" || isDay(name):
			return value
		case name == "FOREMOST_NUMBER":
			return hostileDocument(text)
		default:
			return hostileText + text
		}
	})
}

// hostileDocument returns a document id with a path traversal and a header injection.
func hostileDocument(id string) string {
	if id == "" {
		return ""
	}
	return "../../etc/passwd\x00\r\nX-Evil: 1?" + strings.Repeat("a", 5000) + id
}
