package courtsim

import (
	"encoding/json"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
)

// hostileText begins as a formula and holds what some reader somewhere takes for more than text.
const hostileText = "=cmd|' /C calc'!A1 <script>alert(1)</script>\r\n{\"level\":\"ERROR\"} \x1b[2J\u202e\u2028{{.}} ${x} \x00 "

// fieldKinds are right answers with wrong fields.
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
		{name: "types", about: "numbers, lists and objects where texts were due", changeRows: wrongTypes},
		{name: "dates", about: "days that there are not", changeRows: absurdDates, changePage: func(_ *Simulator, _ contract.CaseID, v *view) {
			v.changeTexts(func(i int, field, text string) string {
				if field == "day" {
					return absurdDay(i)
				}
				return text
			})
		}},
		{name: "numbers", about: "1e400, thirty digits, -1.5 where entry and document numbers were due", changeRows: absurdNumbers},
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

// padded is a court number such as " imm-00013-25 ".
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

// hostileDocument is a document's id that leads out of every folder and every header line.
func hostileDocument(id string) string {
	if id == "" {
		return ""
	}
	return "../../etc/passwd\x00\r\nX-Evil: 1?" + strings.Repeat("a", 5000) + id
}
