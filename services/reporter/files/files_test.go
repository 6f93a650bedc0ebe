package files

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/fold"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// hostile are texts of a site that try to leave their place in the page.
func hostile() []string {
	return []string{
		`<script>alert(1)</script><style>*{background:url(//x)}</style>`, `"><img src=x onerror=alert(1)>`,
		`</details></title></style><svg onload=alert(1)>`, `' autofocus onfocus='alert(1)`,
		`javascript:alert(1)`, "\u202egnp.exe \u2066<b>", "{{.Policy}}", `<!-- -->`, `&lt;script&gt;`,
	}
}

// reportPage returns the page of a run of some numbers with hostile texts wherever a text of the site
// or of a setting reaches it.
func reportPage(t *testing.T, texts []string) string {
	t.Helper()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 40},
		CreatedAt: fcttest.StartTime(), Config: map[string]any{}}
	tally, details := &fold.Tally{}, &Details{}
	var entries []contract.Entry
	for i, text := range texts {
		entry := fcttest.Failure(i + 1)
		entry.CaseID, entry.Error, entry.Rule = m.Case(i+1), text, text
		entry.Notes, entry.RawType, entry.Raw = []string{text}, "html", []byte(text)
		entry.Requests = []contract.Exchange{{Call: text, URL: text, Error: text, StartedAt: entry.StartedAt}}
		record := fcttest.Success(i + 20)
		record.CaseID = m.Case(i + 20)
		record.Record = contract.Record{CaseID: record.CaseID, Flags: []string{text},
			Header: contract.Header{StyleOfCause: text}}.FileContent()
		entries = append(entries, entry, record)
		m.Config[text] = text
	}
	message := ledger.Message{Sequence: 1, Entries: entries}
	tally.AddMessage(message, 0)
	details.Add(m, message)
	s := Summary{Manifest: m, Tally: tally, Status: contract.Stopped, Reason: strings.Join(texts, " "),
		Version: strings.Join(texts, " "), Details: details, Changes: []contract.ControlChange{
			{At: fcttest.StartTime(), Command: "tune", Settings: map[string]any{"delay_max": "0s", "concurrency": 16}},
			{At: fcttest.StartTime(), Command: strings.Join(texts, " ")}}}
	r := s.Report()
	r.NextCommand = strings.Join(texts, " ")
	content, err := newPage(s, r, "report-1.json", func(string) bool { return true })
	var data []byte
	if err == nil {
		data, err = render(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The page's policy forbids everything but its own style, also when text of a site contains a
// style.
func TestReportPagePolicy(t *testing.T) {
	t.Parallel()
	text := reportPage(t, hostile())
	meta := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatchIndex(text)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(text, -1)
	if meta == nil || len(style) != 1 || meta[0] > strings.Index(text, "<style>") {
		t.Fatalf("policy at %v, %d styles; want one policy before one style", meta, len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'"
	if got := html.UnescapeString(text[meta[2]:meta[3]]); got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	if strings.Contains(text, " style=") || strings.Contains(text, "<script") || strings.Contains(text, "<img") {
		t.Error("the page holds what its policy forbids")
	}
}

func TestReportPage_Changes(t *testing.T) {
	t.Parallel()
	const want = "<td>tune</td><td>concurrency 16 delay_max 0s </td>"
	if text := reportPage(t, []string{"<b>"}); !strings.Contains(text, want) || !strings.Contains(text, "<td>&lt;b&gt;</td>") {
		t.Errorf("no %q and no command as text in\n%s", want, text)
	}
}

// The order of what is added does not matter, and the buckets stay few however long the run is.
func TestTimeline(t *testing.T) {
	t.Parallel()
	for _, length := range []time.Duration{0, time.Second, 95 * time.Second, 96 * time.Second, 7 * time.Minute,
		3 * time.Hour, 100 * time.Hour, 400 * 24 * time.Hour, 40 * 365 * 24 * time.Hour} {
		const count = 500
		var forwards, backwards timeline
		for i := range count {
			forwards.addRequest(fcttest.StartTime().Add(length / count * time.Duration(i+1)))
			backwards.addRequest(fcttest.StartTime().Add(length / count * time.Duration(count-i)))
		}
		if diff := cmp.Diff(forwards, backwards, cmp.AllowUnexported(timeline{}, bucketCounts{})); diff != "" {
			t.Errorf("%v: the order matters: %s", length, diff)
		}
		sum, view := 0, forwards.view()
		for _, row := range view.Rows {
			sum += row.Requests
		}
		if sum != count || len(view.Rows) > maxBuckets || view.To.Sub(view.From) < length-length/count ||
			int64(length/time.Second) > 1000 && len(view.Rows) < maxBuckets/6 {
			t.Errorf("%v: %d requests in %d buckets of %v", length, sum, len(view.Rows), view.Bucket)
		}
	}
}

func TestTimeline_Outcomes(t *testing.T) {
	t.Parallel()
	created := fcttest.StartTime()
	var line timeline
	for outcome, count := range map[contract.Outcome]int{contract.Success: 3, contract.NoRecord: 2, contract.Failed: 1, "": 5} {
		for range count {
			line.addEntry(fold.Counted{Entry: contract.Entry{Outcome: outcome, StartedAt: created, Seconds: 1.5}}, created)
		}
	}
	copied := contract.Entry{Outcome: contract.Success, StartedAt: created.AddDate(-1, 0, 0)}
	line.addEntry(fold.Counted{Entry: copied}, created)
	want := []timelineRow{{created, 0, 1, 0, 0}, {created.Add(time.Second), 0, 3, 2, 1}}
	if diff := cmp.Diff(want, line.view().Rows); diff != "" {
		t.Error(diff)
	}
	if none := (&timeline{}).view(); none != nil {
		t.Errorf("a run without attempts has the timeline %v", none)
	}
}

func TestBusiestMinute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seconds []float64
		want    int
	}{
		"none": {nil, 0}, "one": {[]float64{5}, 1}, "60 s apart": {[]float64{0, 60, 120}, 1},
		"just within": {[]float64{0, 59.999, 60, 119.999}, 2}, "unordered": {[]float64{300, 10, 305, 20, 290, 900}, 3},
		"the middle": {[]float64{0, 30, 59, 61, 62, 63, 64, 130}, 6},
	} {
		var b busiestMinute
		for _, at := range c.seconds {
			b.add(fcttest.StartTime().Add(time.Duration(at * float64(time.Second))))
		}
		if got := b.requests(); got != c.want {
			t.Errorf("%s: %d requests, want %d", name, got, c.want)
		}
	}
}

func TestShortDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{time.Second: "1s", 30 * time.Second: "30s", time.Minute: "1m",
		30 * time.Minute: "30m", time.Hour: "1h", 12 * time.Hour: "12h", 48 * time.Hour: "48h"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%d s are %q, want %q", d/time.Second, got, want)
		}
	}
}

// largeRun is the summary of a run of so many numbers, of which a fifth has no record and every
// twentieth failed.
func largeRun(tb testing.TB, size int) Summary {
	tb.Helper()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: size},
		CreatedAt: fcttest.StartTime()}
	tally, details := &fold.Tally{}, &Details{}
	source := rand.New(rand.NewPCG(1, 2))
	for number := 1; number <= size; number++ {
		entry := fcttest.Success(number)
		switch chance := source.Float64(); {
		case chance < 0.05:
			entry = fcttest.Failure(number)
			entry.Error = fmt.Sprintf("call %c: status 500", 'a'+number%25)
			entry.RawType, entry.Raw = "html", []byte("answer")
		case chance < 0.25:
			entry = fcttest.NoRecord(number)
		}
		entry.CaseID = m.Case(number)
		entry.StartedAt = fcttest.StartTime().Add(time.Duration(number) * 2 * time.Second)
		entry.Requests = []contract.Exchange{{StartedAt: entry.StartedAt, Status: 200}}
		message := ledger.Message{Sequence: uint64(number), Entries: []contract.Entry{entry}}
		tally.AddMessage(message, 0)
		details.Add(m, message)
	}
	return Summary{Manifest: m, Tally: tally, Status: contract.Completed, Details: details}
}

// pageOf returns the page of a summary whose files all exist.
func pageOf(tb testing.TB, s Summary) string {
	tb.Helper()
	content, err := newPage(s, s.Report(), "report-1.json", func(string) bool { return true })
	var data []byte
	if err == nil {
		data, err = render(content)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestReportPage_Small(t *testing.T) {
	t.Parallel()
	s := largeRun(t, contract.MaxNumber)
	text := pageOf(t, s)
	if len(text) > 600_000 {
		t.Errorf("the page of %d numbers has %d bytes", contract.MaxNumber, len(text))
	}
	if got := s.Report().BusiestMinuteRequests; got != 30 {
		t.Errorf("busiest minute: %d requests, want 30", got)
	}
	if again := pageOf(t, s); again != text {
		t.Error("the page differs when it is made again")
	}
}

func BenchmarkReportPage(b *testing.B) {
	s := largeRun(b, contract.MaxNumber)
	for b.Loop() {
		pageOf(b, s)
	}
}

// BenchmarkDetails folds the entries of a run with the details and without them.
func BenchmarkDetails(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprint("details ", with), func(b *testing.B) {
			entry := fcttest.Success(1)
			for b.Loop() {
				var tally fold.Tally
				var details Details
				for number := 1; number <= contract.MaxNumber; number++ {
					entry.CaseID.Number = number
					entry.StartedAt = fcttest.StartTime().Add(time.Duration(number) * 2 * time.Second)
					entry.Requests[0].StartedAt = entry.StartedAt
					message := ledger.Message{Sequence: uint64(number), Entries: []contract.Entry{entry}}
					if with {
						details.Add(contract.Manifest{}, message)
					} else {
						tally.AddMessage(message, 0)
					}
				}
				details.busiest.requests()
			}
		})
	}
}

// What is planned and skipped is known with the jobs.
func TestReportMetrics_Planned(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9}}
	searching := m
	searching.Probe = true
	tally := fold.Tally{}
	tally.AddMessage(ledger.Message{Sequence: 1, Entries: []contract.Entry{fcttest.Success(2)}}, 0)
	planned := &contract.Planned{Range: m.Range, Jobs: 7, Beyond: []int{12}, Skipped: 3}
	for name, c := range map[string]struct {
		summary                Summary
		planned, left, skipped int
	}{
		"planned":     {Summary{Manifest: m, Tally: &tally, Planned: planned, Skipped: 2}, 6, 5, 3},
		"not planned": {Summary{Manifest: m, Tally: &tally, Skipped: 2}, 0, 0, 2},
		"searching":   {Summary{Manifest: searching, Tally: &tally}, 0, 0, 0},
	} {
		r := c.summary.Report()
		if got := r.Metrics; got.Planned != c.planned || got.Left != c.left || r.Skipped != c.skipped || got.Done[contract.Success] != 1 {
			t.Errorf("%s: %d planned, %d left, %d skipped, %v done; want %d, %d and %d", name, got.Planned, got.Left, r.Skipped,
				got.Done, c.planned, c.left, c.skipped)
		}
	}
}

// TestNumberMap shows each state.
func TestNumberMap(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 8}}
	tally := &fold.Tally{}
	blocked := fcttest.Attempt(5, 1, contract.VerdictBlocked, "")
	retried := fcttest.Attempt(6, 1, contract.VerdictTransient, "")
	for i, entry := range []contract.Entry{fcttest.NoRecord(1), fcttest.Success(2), fcttest.NoRecord(3), fcttest.Failure(4),
		blocked, retried} {
		tally.AddMessage(ledger.Message{Sequence: uint64(i + 1), Entries: []contract.Entry{entry}}, 0)
	}
	s := Summary{Manifest: m, Tally: tally, SkippedNumber: func(number int) bool { return number == 7 || number == 2 }}
	data, err := json.Marshal(s.numberMap())
	if err != nil || !strings.Contains(string(data), `"runs":"NSQFBUKU"`) {
		t.Errorf("%s: %v", data, err)
	}
}

// tagsOf returns the tags of a page with their attributes, and all links.
func tagsOf(text string) (tags, links []string) {
	tags = regexp.MustCompile(`<[a-zA-Z/!][^>]*>`).FindAllString(text, -1)
	for _, href := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		links = append(links, href[1])
	}
	return tags, links
}

// Foreign text stays text: the page of hostile texts has the same tags as that of harmless ones.
func TestReportPage_HostileText(t *testing.T) {
	t.Parallel()
	harmless := make([]string, len(hostile()))
	for i := range harmless {
		harmless[i] = "harmless " + strings.Repeat("x", i)
	}
	wantTags, wantLinks := tagsOf(reportPage(t, harmless))
	text := reportPage(t, hostile())
	tags, links := tagsOf(text)
	slices.Sort(wantTags)
	slices.Sort(tags)
	slices.Sort(links)
	slices.Sort(wantLinks)
	if diff := cmp.Diff(wantTags, tags); diff != "" {
		t.Errorf("tags: %s", diff)
	}
	if diff := cmp.Diff(wantLinks, links); diff != "" {
		t.Errorf("links: %s", diff)
	}
	if strings.ContainsAny(text, "\u202e\u2066") {
		t.Error("a character that changes the text direction is not escaped")
	}
	if !strings.Contains(text, "&lt;script&gt;alert(1)") {
		t.Error("the page does not show the texts")
	}
}

// The wall clock is set back by a day during the run.
func TestReportTimes_ClockSetBack(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9},
		CreatedAt: fcttest.StartTime()}
	folded := &fold.Tally{}
	first := contract.Entry{CaseID: m.Case(1), Attempt: 1, Verdict: contract.VerdictTransient,
		StartedAt: fcttest.StartTime().Add(time.Minute), Seconds: 0.5}
	second := contract.Entry{CaseID: m.Case(1), Attempt: 2, Verdict: contract.VerdictNoRecord,
		Outcome: contract.NoRecord, StartedAt: fcttest.StartTime().Add(time.Minute - 24*time.Hour)}
	other := contract.Entry{CaseID: m.Case(2), Attempt: 1, Verdict: contract.VerdictNoRecord,
		Outcome: contract.NoRecord, StartedAt: second.StartedAt}
	d, err := Derive(m, folded.AddMessage(ledger.Message{Sequence: 1, Entries: []contract.Entry{first, second, other}}, 0),
		func(contract.CaseID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var stamps []time.Time
	for line := range strings.Lines(string(d.Lines)) {
		var attempt contract.AttemptLine
		if err := json.Unmarshal([]byte(line), &attempt); err != nil {
			t.Fatal(err)
		}
		stamps = append(stamps, attempt.Timestamp)
	}
	if diff := cmp.Diff([]time.Time{first.StartedAt, first.StartedAt, fcttest.StartTime()}, stamps); diff != "" {
		t.Errorf("timestamps of the attempts: %s", diff)
	}
	r := Summary{Manifest: m, Tally: folded, Finished: fcttest.StartTime().Add(-24 * time.Hour),
		Elapsed: 90 * time.Second}.Report()
	if !r.StartedAt.Equal(fcttest.StartTime()) || !r.FinishedAt.Equal(fcttest.StartTime().Add(90*time.Second)) || r.DurationSeconds != 90 {
		t.Errorf("from %s to %s, %v s", r.StartedAt, r.FinishedAt, r.DurationSeconds)
	}
	r = Summary{Manifest: m, Tally: folded, Finished: fcttest.StartTime().Add(time.Hour), Elapsed: 90 * time.Second}.Report()
	if !r.FinishedAt.Equal(fcttest.StartTime().Add(time.Hour)) || r.DurationSeconds != 90 {
		t.Errorf("set forward: until %s, %v s", r.FinishedAt, r.DurationSeconds)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
