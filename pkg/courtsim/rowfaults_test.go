package courtsim_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"

	"github.com/antchfx/htmlquery"
)

// changedResponse is a response with wrong rows or fields.
type changedResponse struct {
	Count json.RawMessage  `json:"Count"`
	Data  []map[string]any `json:"data"`
}

func (s changedResponse) numbers() (numbers []string) {
	for _, row := range s.Data {
		number, _ := row["COURT_NO"].(string)
		numbers = append(numbers, number)
	}
	return numbers
}

// rowChecks checks what each kind makes of the docket of IMM-1-25, compared with the correct
// response.
func rowChecks() map[string]func(got, right changedResponse) bool {
	is := func(count string) func(got, right changedResponse) bool {
		return func(got, right changedResponse) bool {
			return string(got.Count) == count && len(got.Data) == len(right.Data)
		}
	}
	every := func(holds func(name string, value, before any) bool) func(got, right changedResponse) bool {
		return func(got, right changedResponse) bool {
			for i, row := range got.Data {
				for name, value := range row {
					if !holds(name, value, right.Data[i][name]) {
						return false
					}
				}
			}
			return len(got.Data) == len(right.Data)
		}
	}
	return map[string]func(got, right changedResponse) bool{
		"prefix": func(got, right changedResponse) bool {
			return got.numbers()[0] == "IMM-10-25" && got.numbers()[9] == "IMM-19-25" && got.numbers()[10] == "IMM-1-25" && len(got.Data) == len(right.Data)+10
		},
		"duplicate": func(got, right changedResponse) bool {
			return len(got.Data) == 2*len(right.Data) && got.Data[0]["RE_NO"] == got.Data[1]["RE_NO"]
		},
		"divisions": func(got, right changedResponse) bool {
			return len(got.Data) == 2*len(right.Data) && got.Data[0]["Division"] == "T" && got.Data[len(right.Data)]["Division"] == "A"
		},
		"long": func(got, _ changedResponse) bool { return len(got.Data) == 2500 && got.Data[2499]["RE_NO"] == 2500. },
		"rows-null": func(got, right changedResponse) bool {
			return got.Data == nil && string(got.Count) == strings.TrimSpace(string(right.Count)) && len(right.Data) > 0
		},
		"count-zero": is("0"), "count-negative": is("-1"), "count-text": is(`"1"`),
		"count": func(got, right changedResponse) bool {
			var said int
			return json.Unmarshal(got.Count, &said) == nil && said == len(right.Data)+3 && len(got.Data) == len(right.Data)
		},
		"nulls": every(func(_ string, value, _ any) bool { return value == nil }),
		"bare":  every(func(name string, value, before any) bool { return name == "COURT_NO" && value == before }),
		"unknown-fields": func(got, right changedResponse) bool {
			_, proto := got.Data[0]["__proto__"]
			return proto && len(got.Data[0]) == len(right.Data[0])+300
		},
		"types": every(func(name string, value, before any) bool {
			_, wasText := before.(string)
			_, isText := value.(string)
			return name == "COURT_NO" || !wasText || !isText
		}),
		"dates": func(got, _ changedResponse) bool {
			return got.Data[0]["DOC_DT"] == "/Date(-62135596800000)/" && got.Data[1]["DOC_DT"] == "/Date(99999999999999999)/" && got.Data[0]["FILING_DATE"] == got.Data[0]["DOC_DT"]
		},
		"padded": func(got, _ changedResponse) bool { return got.Data[0]["COURT_NO"] == " imm-0001-25 " },
		"hostile": every(func(name string, value, before any) bool {
			text, is := value.(string)
			return !is || value == before || strings.HasPrefix(text, "=cmd|") || name == "FOREMOST_NUMBER" && strings.HasPrefix(text, "../../etc/passwd\x00")
		}),
	}
}

// rowFaults returns the kinds under test.
func rowFaults() []string {
	kinds := []string{"numbers"}
	for kind := range rowChecks() {
		kinds = append(kinds, kind)
	}
	return kinds
}

func TestRowFaults(t *testing.T) {
	t.Parallel()
	var right changedResponse
	if err := json.Unmarshal([]byte(plainResponse(t, 1)), &right); err != nil {
		t.Fatal(err)
	}
	for kind, holds := range rowChecks() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			_, url := serve(t, courtsim.Fault{Kind: kind, Share: 1})
			response := fetch(t, url+callPath("proceedingQueriesRE", 1), time.Minute)
			var got changedResponse
			if err := json.Unmarshal([]byte(response.body), &got); err != nil {
				t.Fatalf("%v: %.80q", err, response.body)
			}
			if !holds(got, right) {
				t.Errorf("count %s, %d rows, right are %d: %q", got.Count, len(got.Data), len(right.Data), got.numbers())
			}
		})
	}
}

// TestRowFaults_Numbers: numbers out of range are written literally.
func TestRowFaults_Numbers(t *testing.T) {
	t.Parallel()
	_, url := serve(t, courtsim.Fault{Kind: "numbers", Share: 1})
	response := fetch(t, url+callPath("proceedingQueriesRE", 1), time.Minute)
	for _, number := range []string{"1e400", "123456789012345678901234567890", "-1.5"} {
		if !strings.Contains(response.body, number) {
			t.Errorf("no %s in %.200q", number, response.body)
		}
	}
}

// TestRowFaults_MissingCase: a case that does not exist has no rows to change, except that longer
// numbers are still added.
func TestRowFaults_MissingCase(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"prefix": "10", "count": "3", "count-text": `"1"`, "duplicate": "0", "nulls": "0"} {
		_, url := serve(t, courtsim.Fault{Kind: kind, Share: 1})
		response := fetch(t, url+callPath("proceedingQueriesCourtNumberList", 101), time.Minute)
		var got changedResponse
		if err := json.Unmarshal([]byte(response.body), &got); err != nil || string(got.Count) != want || slices.Contains(got.numbers(), "IMM-101-25") {
			t.Errorf("%s: count %s, %v: %v", kind, got.Count, got.numbers(), err)
		}
	}
}

// TestRowFaults_Pages: the HTML page has its own version of the same kinds.
func TestRowFaults_Pages(t *testing.T) {
	t.Parallel()
	cell := `//table[@id="datatable"]/tbody/tr[1]/td[1]`
	for kind, want := range map[string]struct{ event, expr, text string }{
		"softblock": {"search", cell, "No data available in table"}, "wrong": {"search", cell, "IMM-2-25"}, "padded": {"search", cell, "imm-0001-25"},
		"count": {"search", `//div[@id="datatable_info"]`, "Showing 1 to 1 of 4 entries"}, "count-zero": {"search", `//div[@id="datatable_info"]`, "Showing 0 to 0 of 0 entries"},
		"duplicate": {"search", `//table[@id="datatable"]/tbody/tr[2]/td[1]`, "IMM-1-25"}, "prefix": {"search", cell, "IMM-10-25"},
		"nulls": {"re", `//div[@id="ModalForm"]//p[1]`, "Type :"}, "dates": {"re", `//div[@id="ModalForm"]//table[2]/tbody/tr[1]/td[2]`, "/Date(-62135596800000)/"},
		"hostile": {"more", `//div[@id="ModalForm"]//tbody/tr[1]/td[1]`, "=cmd|' /C calc'!A1 <script>alert(1)</script>"},
		"long":    {"re", `//div[@id="ModalForm"]//table[2]/tbody/tr[2500]/td[1]`, "2500"}, "types": {"search", cell, "IMM-1-25"},
		"500": {"search", "//h1", "Server Error in '/' Application."}, "waf": {"search", "//title", "Request Rejected"}, "html": {"search", "//h2", "Sorry, an error"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100, Faults: []courtsim.Fault{{Kind: kind, Share: 1}}})
			v := newVisitor(t, sim, englishPage)
			v.post(v.form(want.event, "IMM-1-25", ""))
			if got := v.text(want.expr); !strings.HasPrefix(got, want.text) {
				t.Errorf("%q, want %q", got, want.text)
			}
			if got, counted := sim.Stats().Faults[kind], kind != "types"; (got > 0) != counted {
				t.Errorf("%d faults counted", got)
			}
		})
	}
}

// TestPage_SecondPage: eleven rows take two pages.
func TestPage_SecondPage(t *testing.T) {
	t.Parallel()
	v := newVisitor(t, newSimulator(t, courtsim.Options{Seed: 3, Max: 100, Faults: []courtsim.Fault{{Kind: "prefix", Share: 1}}}), englishPage)
	v.post(v.form("search", "IMM-1-25", ""))
	if got := v.text(`//div[@id="datatable_info"]`); got != "Showing 1 to 10 of 11 entries" {
		t.Errorf("first page: %q", got)
	}
	if got := v.text(`//a[contains(@class,"paginate_button")]/@data-page`); got != "1|2" {
		t.Errorf("pages %q", got)
	}
	next := htmlquery.FindOne(v.doc, `//a[@id="datatable_next"]`)
	v.post(v.form("search", "IMM-1-25", htmlquery.SelectAttr(next, "data-page")))
	if got := v.text(`//table[@id="datatable"]/tbody/tr/td[1]`); got != "IMM-1-25" {
		t.Errorf("second page: %q", got)
	}
	if got := v.text(`//div[@id="datatable_info"]`) + v.text(`//a[@id="datatable_next"]/@class`); got != "Showing 11 to 11 of 11 entriesnext disabled" {
		t.Errorf("second page: %q", got)
	}
}
