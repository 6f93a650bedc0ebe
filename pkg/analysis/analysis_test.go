package analysis_test

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/analysis"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// sample is a case as the tests describe it.
type sample struct {
	number                int
	status                string
	filed, leaveOn, ended string
	leave, judge          string
	office, visa          string
	asked                 string // day of a Rule 9 request
	rule9                 *int
	flags                 []string
	conflict              string
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

var fetched = time.Date(2025, 12, 31, 15, 0, 0, 0, time.UTC)

func (s sample) build() (*contract.Record, *facts.Case) {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: s.number}
	r := &contract.Record{
		CaseID: id, Header: contract.Header{OfficeEN: s.office, FiledOn: s.filed}, FetchedAt: fetched, Flags: s.flags,
		Source: "https://court.invalid/files",
	}
	c := &facts.Case{
		CaseID: id.String(), Status: s.status, FiledOn: optional(s.filed), ClosedOn: optional(s.ended),
		Leave:   optional(s.leave),
		LeaveOn: optional(s.leaveOn), LeaveJudge: optional(s.judge), VisaOffice: optional(s.visa), Rule9Days: s.rule9,
	}
	if s.leave != "" {
		c.Milestones = append(c.Milestones, facts.Milestone{Name: "leave_decision", Day: optional(s.leaveOn)})
	}
	if s.status == facts.StatusGranted || s.status == facts.StatusDismissed {
		c.Milestones = append(c.Milestones, facts.Milestone{Name: "review_decision", Day: optional(s.ended)})
	}
	if s.ended != "" && s.filed != "" {
		filed, _ := time.Parse(time.DateOnly, s.filed)
		ended, _ := time.Parse(time.DateOnly, s.ended)
		if days := int(ended.Sub(filed).Hours() / 24); days >= 0 {
			c.DaysToClose = &days
		}
	}
	if s.asked != "" {
		c.EntryFacts = append(c.EntryFacts, &facts.Entry{Kind: facts.KindRule9Request, Day: optional(s.asked)})
	}
	if s.conflict != "" {
		c.Conflict = append(c.Conflict, facts.Conflict{Fact: s.conflict}, facts.Conflict{Fact: s.conflict})
	}
	return r, c
}

func report(t *testing.T, a *analysis.Analysis, tallies int, samples []sample) *analysis.Report {
	t.Helper()
	all := make([]*analysis.Tally, tallies)
	for i := range all {
		all[i] = a.NewTally()
	}
	for i, s := range samples {
		if err := all[i%tallies].Add(s.build()); err != nil {
			t.Fatal(err)
		}
	}
	return a.Report(analysis.Options{Program: "fct-scraper test", Now: fetched, From: "the tests"})
}

func table(t *testing.T, r *analysis.Report, file string) string {
	t.Helper()
	for _, one := range r.Tables() {
		if one.File == file {
			return strings.ReplaceAll(string(one.CSV()), "\r\n", "\n")
		}
	}
	t.Fatalf("there is no table %s", file)
	return ""
}

// few are cases whose numbers are easy to count by hand.
func few() []sample {
	return []sample{
		{number: 1, status: facts.StatusLeaveDismissed, filed: "2025-01-01", leave: "dismissed",
			leaveOn: "2025-01-11", ended: "2025-01-11", judge: "Noël", office: "Toronto"},
		{number: 2, status: facts.StatusGranted, filed: "2025-01-01", leave: "granted", leaveOn: "2025-01-21",
			ended: "2025-03-02", judge: "NOEL", office: "Toronto", visa: "Ankara", rule9: new(12)},
		{number: 3, status: facts.StatusDiscontinued, filed: "2025-01-10", ended: "2025-01-25", office: "Ottawa",
			asked: "2025-01-15"},
		{number: 4, status: facts.StatusAwaitingLeave, filed: "2025-03-01", office: "Ottawa", rule9: new(0)},
		{number: 5, status: facts.StatusActive, filed: "2025-03-01", leave: "granted", leaveOn: "2025-03-31",
			judge: ""},
		{number: 8, status: facts.StatusDismissed, filed: "2025-03-02", ended: "2025-01-01",
			conflict: "leave"}, // before the filing
		{number: 9, status: facts.StatusAwaitingLeave, flags: []string{contract.FlagHeaderOnly}},
		{number: 10, status: facts.StatusClosedOther, filed: "2025-03-01", ended: "2025-03-31"},
	}
}

func TestReport_CountedByHand(t *testing.T) {
	t.Parallel()
	for _, tallies := range []int{1, 3} {
		r := report(t, analysis.New(), tallies, few())
		for file, want := range map[string]string{
			"volume.csv": `month,awaiting_leave,active,leave_dismissed,dismissed,granted,granted_on_consent,discontinued,closed_other,cases
2025-01,0,0,1,0,1,0,1,0,3
2025-02,0,0,0,0,0,0,0,0,0
2025-03,1,1,0,1,0,0,0,1,4
`,
			"outcomes.csv": `status,cases,share
awaiting_leave,2,0.250000
active,1,0.125000
leave_dismissed,1,0.125000
dismissed,1,0.125000
granted,1,0.125000
granted_on_consent,0,0.000000
discontinued,1,0.125000
closed_other,1,0.125000
`,
			"time_to_close.csv": `status,cases,minimum,whisker_low,quartile_1,median,quartile_3,whisker_high,maximum,beyond_whiskers
all,4,10,10,13.75,22.5,37.5,60,60,0
leave_dismissed,1,10,10,10,10,10,10,10,0
granted,1,60,60,60,60,60,60,60,0
discontinued,1,15,15,15,15,15,15,15,0
closed_other,1,30,30,30,30,30,30,30,0
`,
			// 6 at risk: decided after 10, 20, 30 and 30 days, discontinued after 15, open for 305.
			"first_decision.csv": `days,at_risk,events,censored,survival,standard_error,lower_95,upper_95
10,6,1,0,0.833333,0.152145,0.273123,0.974712
15,5,0,1,0.833333,0.152145,0.273123,0.974712
20,4,1,0,0.625000,0.213478,0.141853,0.893051
30,3,2,0,0.208333,0.184388,0.008737,0.595062
305,1,0,1,0.208333,0.184388,0.008737,0.595062
`,
			"judges.csv": `judge,leave_decisions,leave_granted,rate,lower_95,upper_95
1 with under 20 decisions,2,1,0.500000,0.094531,0.905469
no judge named,1,1,1.000000,0.206549,1.000000
all,3,2,0.666667,0.207660,0.938508
`,
			"offices.csv": `office,cases,open,median_days_to_close,leave_decisions,leave_granted,rate,lower_95,upper_95
not stated,4,2,30,1,1,1.000000,0.206549,1.000000
Ottawa,2,1,15,0,0,,,
Toronto,2,0,35,2,1,0.500000,0.094531,0.905469
`,
			"rule9.csv": `days,at_risk,events,censored,survival,standard_error,lower_95,upper_95
0,3,1,0,0.666667,0.272166,0.054073,0.945206
10,2,0,1,0.666667,0.272166,0.054073,0.945206
12,1,1,0,0.000000,,,
`,
			"coverage.csv": "series,year,highest,records,without_record\nIMM,2025,10,8,2\n",
		} {
			if diff := cmp.Diff(want, table(t, r, file)); diff != "" {
				t.Errorf("%d tallies: %s (-want +got):\n%s", tallies, file, diff)
			}
		}
		points := strings.Join(r.Sections[len(r.Sections)-1].Points, "\n")
		for _, want := range []string{
			"without a record: 2 (IMM-6-25 to IMM-7-25)", "header only): 1 of 8",
			"in 1 case rules or entries disagree (leave 1)",
			"1 case has no day of filing", "1 case has days in an impossible order", "court.invalid",
			"31 December 2025, 15:00 UTC",
		} {
			if !strings.Contains(points, want) {
				t.Errorf("the limits lack %q:\n%s", want, points)
			}
		}
		if r.Cases != 8 || r.Open != 3 || r.Conflicting != 1 {
			t.Errorf("%d cases, %d open, %d conflicting", r.Cases, r.Open, r.Conflicting)
		}
	}
}

// TestReport_Edges checks samples at the edges of the statistics.
func TestReport_Edges(t *testing.T) {
	t.Parallel()
	closed := func(number int, filed, ended string) sample {
		return sample{number: number, status: facts.StatusLeaveDismissed, filed: filed, leave: "dismissed", leaveOn: ended,
			ended: ended, office: "Ottawa"}
	}
	const boxHead = "status,cases,minimum,whisker_low,quartile_1,median,quartile_3,whisker_high,maximum,beyond_whiskers\n"
	const curveHead = "days,at_risk,events,censored,survival,standard_error,lower_95,upper_95\n"
	for name, test := range map[string]struct {
		samples        []sample
		closed, curve  string
		volume, limits string
		median         string
	}{
		"nothing": {nil, "", "", "No record states the day of filing.", "0 cases have no day of filing", "not reached"},
		"one": {[]sample{closed(1, "2025-01-01", "2025-01-31")}, "all,1,30,30,30,30,30,30,30,0\n",
			"30,1,1,0,0.000000,,,\n", "1 case was filed in January 2025.", "0 cases have days in an impossible", "30"},
		"all open": {[]sample{{number: 1, status: facts.StatusAwaitingLeave, filed: "2025-12-01"},
			{number: 2, status: facts.StatusAwaitingLeave, filed: "2025-12-21"}}, "",
			"10,2,0,1,1.000000,0.000000,,\n30,1,0,1,1.000000,0.000000,,\n", "2 cases were filed in December 2025.",
			"0 are closed without a day", "not reached"},
		"closed on the day of filing": {
			[]sample{closed(1, "2025-05-05", "2025-05-05"), closed(2, "2025-05-05", "2025-05-05")},
			"all,2,0,0,0,0,0,0,0,0\n", "0,2,2,0,0.000000,,,\n", "2 cases were filed in May 2025.", "0 cases have days", "0"},
		"leap day and two years": {[]sample{closed(1, "2024-02-28", "2024-03-01"), closed(2, "2024-12-31", "2025-01-02")},
			"all,2,2,2,2,2,2,2,2,0\n", "2,2,2,0,0.000000,,,\n",
			"2 cases were filed between February 2024 and December 2024, most of them (1) in February 2024.", "", "2"},
		"closed before it was filed and after it was fetched": {
			[]sample{closed(1, "2025-05-05", "2025-05-04"), closed(2, "2025-05-05", "2026-05-05"),
				closed(3, "2025-05-05", "2025-05-15")},
			"all,1,10,10,10,10,10,10,10,0\n", "10,1,1,0,0.000000,,,\n", "3 cases were filed in May 2025.",
			"2 cases have days in an impossible order", "10"},
	} {
		r := report(t, analysis.New(), 1, test.samples)
		boxes, _, _ := strings.Cut(strings.TrimPrefix(table(t, r, "time_to_close.csv"), boxHead), "leave_dismissed")
		if boxes != test.closed {
			t.Errorf("%s: time to close:\n%swant:\n%s", name, boxes, test.closed)
		}
		if curve := strings.TrimPrefix(table(t, r, "first_decision.csv"), curveHead); curve != test.curve {
			t.Errorf("%s: first decision:\n%swant:\n%s", name, curve, test.curve)
		}
		if text := r.Sections[0].Text[0]; text != test.volume {
			t.Errorf("%s: %q, want %q", name, text, test.volume)
		}
		if points := strings.Join(r.Sections[len(r.Sections)-1].Points, "\n"); !strings.Contains(points, test.limits) {
			t.Errorf("%s: no %q in\n%s", name, test.limits, points)
		}
		if got := r.Figures[2].Value; got != test.median {
			t.Errorf("%s: median %s, want %s", name, got, test.median)
		}
		// The median of an office leaves out the same cases.
		offices := table(t, r, "offices.csv")
		if want := ",10,3,0,"; strings.HasPrefix(name, "closed before") && !strings.Contains(offices, want) {
			t.Errorf("%s: no %q in\n%s", name, want, offices)
		}
	}
}

// TestReport_OfficeOfDocket: a record without a header has the office of its oldest entry.
func TestReport_OfficeOfDocket(t *testing.T) {
	t.Parallel()
	a := analysis.New()
	record, c := sample{number: 1, status: facts.StatusAwaitingLeave, filed: "2025-01-01"}.build()
	record.Docket = []contract.DocketEntry{
		{EntryNumber: 2, EnteredOn: "2025-01-03", OfficeEN: "Toronto"},
		{EntryNumber: 1, EnteredOn: "2025-01-01", OfficeFR: "Québec"},
	}
	if err := a.NewTally().Add(record, c); err != nil {
		t.Fatal(err)
	}
	if offices := table(t, a.Report(analysis.Options{}), "offices.csv"); !strings.Contains(offices, "\nQuébec,1,1,") {
		t.Errorf("no row of Québec in\n%s", offices)
	}
}

// TestReport_Judges checks the limit of 20 decisions and that one judge has one row.
func TestReport_Judges(t *testing.T) {
	t.Parallel()
	var samples []sample
	add := func(judge string, granted, dismissed int) {
		for i := range granted + dismissed {
			s := sample{number: len(samples) + 1, status: facts.StatusActive, filed: "2025-01-01", leave: "granted",
				leaveOn: "2025-02-01", judge: judge}
			if i >= granted {
				s.status, s.leave, s.ended = facts.StatusLeaveDismissed, "dismissed", s.leaveOn
			}
			samples = append(samples, s)
		}
	}
	add("Tremblay-Lamer", 5, 14)
	add("TREMBLAY-LAMER", 0, 1)
	add("Doe", 3, 16)
	add("=Roe", 10, 10)
	want := `judge,leave_decisions,leave_granted,rate,lower_95,upper_95
'=Roe,20,10,0.500000,0.299298,0.700702
Tremblay-Lamer,20,5,0.250000,0.111862,0.468701
1 with under 20 decisions,19,3,0.157895,0.055205,0.375655
all,59,18,0.305085,0.202536,0.431463
`
	if diff := cmp.Diff(want, table(t, report(t, analysis.New(), 2, samples), "judges.csv")); diff != "" {
		t.Error(diff)
	}
}

func TestReport_Coverage(t *testing.T) {
	t.Parallel()
	a := analysis.New()
	for number, add := range map[int]func(contract.CaseID){
		2:  func(id contract.CaseID) { a.AddNumber(id, contract.NoRecord, false) },
		3:  func(id contract.CaseID) { a.AddNumber(id, contract.NoRecord, true) },
		4:  func(id contract.CaseID) { a.AddNumber(id, contract.Failed, false) },
		6:  func(id contract.CaseID) { a.AddNumber(id, "", false) },
		12: func(id contract.CaseID) { a.AddNumber(id, contract.NoRecord, false) },
	} {
		add(contract.CaseID{Series: "IMM", Year: "25", Number: number})
	}
	samples := []sample{{number: 1, status: facts.StatusAwaitingLeave, filed: "2025-01-01"},
		{number: 5, status: facts.StatusAwaitingLeave, filed: "2025-01-01"}}
	r := report(t, a, 1, samples)
	want := "series,year,highest,records,no_record,unconfirmed,failed,without_outcome,never_requested\nIMM,2025,12,2,2,1,1,1,5\n"
	if diff := cmp.Diff(want, table(t, r, "coverage.csv")); diff != "" {
		t.Error(diff)
	}
	points := strings.Join(r.Sections[len(r.Sections)-1].Points, "\n")
	for _, want := range []string{"Failed numbers: 1. Unconfirmed numbers without a record: 1. Requested without an outcome: 1.", "never requested: 5 (IMM-7-25 to IMM-11-25)"} {
		if !strings.Contains(points, want) {
			t.Errorf("the limits lack %q:\n%s", want, points)
		}
	}
	// Nothing is decided: no median is made up.
	if got := r.Figures[2].Value; got != "not reached" {
		t.Errorf("median %q, want not reached", got)
	}
}

func TestTally_CaseTwice(t *testing.T) {
	t.Parallel()
	a := analysis.New()
	one, other := a.NewTally(), a.NewTally()
	s := sample{number: 7, status: facts.StatusActive}
	if err := one.Add(s.build()); err != nil {
		t.Fatal(err)
	}
	if err := other.Add(s.build()); !errors.Is(err, analysis.ErrTwice) || !strings.Contains(err.Error(), "IMM-7-25") {
		t.Errorf("error %v", err)
	}
	if r := a.Report(analysis.Options{}); r.Cases != 1 {
		t.Errorf("%d cases, want 1", r.Cases)
	}
}

// TestPage_Hostile checks that texts of the site cannot leave their place, and that the page loads
// nothing.
func TestPage_Hostile(t *testing.T) {
	t.Parallel()
	hostile := `<script>alert(1)</script>"'&--><img src=//evil.invalid/x>`
	samples := few()
	for i := range samples {
		samples[i].office, samples[i].visa = hostile, hostile+"é\u202e"
	}
	for i := range 25 {
		samples = append(samples, sample{number: 20 + i, status: facts.StatusActive, filed: "2025-02-02",
			leave: "granted", leaveOn: "2025-04-01", judge: hostile})
	}
	checkPage(t, report(t, analysis.New(), 1, samples), hostile)
}

func TestPage_Empty(t *testing.T) {
	t.Parallel()
	checkPage(t, report(t, analysis.New(), 1, nil), "")
	checkPage(t, report(t, analysis.New(), 1, []sample{{number: 1, status: facts.StatusAwaitingLeave}}), "")
}

// TestPage_AnyRecords makes pages of random cases: none may break a chart.
func TestPage_AnyRecords(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	for seed := range uint64(20) {
		checkPage(t, report(t, analysis.New(), 2, randomSamples(rand.New(rand.NewPCG(seed, 5)), int(seed*seed*2))), "")
	}
}

// TestPage_NothingCut: all statuses and usual names fit into the charts of a phone.
func TestPage_NothingCut(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := report(t, analysis.New(), 1, randomSamples(rand.New(rand.NewPCG(1, 5)), 9000)).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if cut := regexp.MustCompile(`<text[^>]*>[^<]*…</text>`).FindAllString(b.String(), -1); len(cut) > 0 {
		t.Errorf("cut: %q", cut)
	}
}

func randomSamples(random *rand.Rand, n int) (samples []sample) {
	all := []string{
		facts.StatusAwaitingLeave, facts.StatusActive, facts.StatusLeaveDismissed, facts.StatusDismissed,
		facts.StatusGranted,
		facts.StatusOnConsent, facts.StatusDiscontinued, facts.StatusClosedOther,
	}
	day := func(from time.Time, most int) (time.Time, string) {
		at := from.AddDate(0, 0, random.IntN(most))
		return at, at.Format(time.DateOnly)
	}
	for i := range n {
		s := sample{number: i + 1, status: all[random.IntN(len(all))],
			office: fmt.Sprintf("Office %d", random.IntN(20))}
		filed, text := day(time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC), 500)
		decided, decidedText := day(filed, 200)
		_, endedText := day(decided, 100)
		if random.IntN(10) > 0 {
			s.filed = text
		}
		if s.status != facts.StatusAwaitingLeave && random.IntN(3) > 0 {
			s.leave, s.leaveOn, s.judge = "granted", decidedText, fmt.Sprintf("Judge %d", random.IntN(30))
			if s.status == facts.StatusLeaveDismissed {
				s.leave = "dismissed"
			}
		}
		if s.status != facts.StatusAwaitingLeave && s.status != facts.StatusActive {
			s.ended = endedText
		}
		if random.IntN(2) == 0 {
			s.visa, s.rule9 = fmt.Sprintf("City %d", random.IntN(30)), new(random.IntN(90)-2)
		}
		samples = append(samples, s)
	}
	return samples
}

// checkPage checks that the page is well-formed, loads nothing and has a caption for each table, title
// and description for each image, and valid CSV.
func checkPage(t *testing.T, r *analysis.Report, hostile string) {
	t.Helper()
	var b strings.Builder
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if hostile != "" && (strings.Contains(page, hostile) || strings.Contains(page, "<img") ||
		strings.Contains(page, "<script")) {
		t.Error("a text of the site is markup")
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Error("the page has a number that is not defined")
	}
	if found := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed)\b|\b(src|href)=|url\(|@import|https?://`).FindAllString(page, -1); hostile == "" && len(found) > 0 {
		t.Errorf("the page refers to %q", found)
	}
	decoder := xml.NewDecoder(strings.NewReader(page))
	decoder.Entity = xml.HTMLEntity
	seen := map[string]int{}
	ids := map[string]bool{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// A boolean attribute is no XML.
			t.Fatalf("the page is not well-formed: %v", err)
		}
		if element, is := token.(xml.StartElement); is {
			seen[element.Name.Local]++
			for _, a := range element.Attr {
				if a.Name.Local == "id" {
					if ids[a.Value] {
						t.Errorf("the id %s is there twice", a.Value)
					}
					ids[a.Value] = true
				}
			}
		}
	}
	for _, pair := range [][2]string{{"table", "caption"}, {"svg", "desc"}} {
		if seen[pair[0]] != seen[pair[1]] {
			t.Errorf("%d %s, but %d %s", seen[pair[0]], pair[0], seen[pair[1]], pair[1])
		}
	}
	if seen["title"] != seen["svg"]+1 {
		t.Errorf("%d titles of %d images and a page", seen["title"], seen["svg"])
	}
	var names []string
	for _, table := range r.Tables() {
		rows, err := csv.NewReader(strings.NewReader(string(table.CSV()))).ReadAll()
		if err != nil || len(rows) != len(table.Rows)+1 {
			t.Errorf("%s: %d rows, want %d and a header: %v", table.File, len(rows), len(table.Rows), err)
		}
		names = append(names, table.File)
	}
	if slices.Sort(names); len(slices.Compact(names)) != 9 {
		t.Errorf("files %v, want 9 different", names)
	}
}
