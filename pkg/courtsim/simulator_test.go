package courtsim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"
)

func newSimulator(t testing.TB, options courtsim.Options) *courtsim.Simulator {
	t.Helper()
	sim, err := courtsim.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

func caseNo(n int) contract.CaseID { return contract.CaseID{Series: "IMM", Year: "25", Number: n} }

func callPath(call string, n int) string {
	return fmt.Sprintf("/CourtFilesAndDecisions/%s?division=t&courtnumber=IMM-%d-25", call, n)
}

// get sends a request to a handler in memory.
func get(sim http.Handler, target string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	sim.ServeHTTP(response, httptest.NewRequest(http.MethodGet, target, nil))
	return response
}

func TestNew_Deterministic(t *testing.T) {
	t.Parallel()
	options := courtsim.Options{Seed: 9, Max: 300, Missing: 0.1}
	one, two := newSimulator(t, options), newSimulator(t, options)
	options.Seed++
	other := newSimulator(t, options)
	differ := 0
	for n := 300; n > 0; n-- {
		get(two, callPath("proceedingQueriesRE", n))
	}
	for n := 1; n <= 300; n++ {
		for _, call := range []string{"proceedingQueriesRE", "proceedingQueriesCourtNumberList", "PublicPartiesListInfo", "proceedingQueriesAddInfo", "RelatedListInfo"} {
			got, again := get(one, callPath(call, n)).Body.String(), get(two, callPath(call, n)).Body.String()
			if got != again {
				t.Fatalf("%s of %d differs between two courts of one seed", call, n)
			}
			if got != get(other, callPath(call, n)).Body.String() {
				differ++
			}
		}
	}
	if differ < 500 {
		t.Errorf("another seed changed %d responses of 1500", differ)
	}
}

// TestResponsesAreWellFormed: every response is well-formed JSON with a correct count.
func TestResponsesAreWellFormed(t *testing.T) {
	t.Parallel()
	numbers := fcttest.Scaled(600, 2000)
	sim := newSimulator(t, courtsim.Options{Seed: 2, Max: numbers, Missing: 0.1})
	rows, french, bytes, most := 0, 0, 0, 0
	for n := 1; n <= numbers; n++ {
		response := get(sim, callPath("proceedingQueriesRE", n))
		var got struct {
			Count int              `json:"Count"`
			Data  []map[string]any `json:"data"`
		}
		if err := json.Unmarshal(response.Body.Bytes(), &got); err != nil || got.Count != len(got.Data) || got.Data == nil {
			t.Fatalf("number %d: %v: Count %d, %d rows", n, err, got.Count, len(got.Data))
		}
		for _, row := range got.Data {
			if len(row) != 24 {
				t.Fatalf("number %d: a row of %d fields", n, len(row))
			}
			if row["RE_LANG_CD"] == "F" {
				french++
			}
		}
		rows, bytes, most = rows+got.Count, bytes+response.Body.Len(), max(most, got.Count)
	}
	if mean := float64(rows) / (0.9 * float64(numbers)); mean < 9 || mean > 18 || most < 40 || french == 0 {
		t.Errorf("%.1f entries a case, %d at most, %d French ones", mean, most, french)
	}
	t.Logf("%d bytes a response", bytes/numbers)
}

func TestExists(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 4, Max: 5000, Missing: 0.1, Gaps: []contract.Range{{Start: 100, End: 200}, {Start: 4990, End: 5000}}})
	missing := 0
	for n := 1; n <= 5100; n++ {
		exists := sim.Exists(caseNo(n))
		if exists && (n >= 100 && n <= 200 || n > 4989) {
			t.Errorf("%d exists in a gap", n)
		}
		if !exists && n < 4990 && (n < 100 || n > 200) {
			missing++
		}
	}
	if !sim.Exists(caseNo(4989)) {
		t.Error("the highest number does not exist")
	}
	if share := float64(missing) / 4888; share < 0.08 || share > 0.12 {
		t.Errorf("%.3f of the numbers are missing, want 0.1", share)
	}
	if sim.Exists(contract.CaseID{Series: "imm", Year: "25", Number: 5}) {
		t.Error("an id that is none exists")
	}
}

func TestFilingDays(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 4, Max: 5000})
	before := ""
	for n := 1; n <= 5000; n += 50 {
		var got struct {
			Data []struct {
				Filed string `json:"FILE_DT"`
			} `json:"data"`
		}
		if err := json.Unmarshal(get(sim, callPath("proceedingQueriesCourtNumberList", n)).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		var ms int64
		if _, err := fmt.Sscanf(got.Data[0].Filed, "/Date(%d", &ms); err != nil {
			t.Fatal(err)
		}
		day := time.UnixMilli(ms).UTC().Format(time.DateOnly)
		if day < before || day < "2025-01-01" || day > "2025-12-31" {
			t.Errorf("number %d was filed on %s, the one before on %s", n, day, before)
		}
		before = day
	}
	if before < "2025-12-01" {
		t.Errorf("the last case was filed on %s", before)
	}
}

// TestProfileReadsSimulator: the program's own profile reads exactly the existing cases, over real
// HTTP.
func TestProfileReadsSimulator(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 6, Max: 300, Missing: 0.15})
	server, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	profile, err := site.Load("fct-cf")
	if err != nil {
		t.Fatal(err)
	}
	client, err := site.NewClient(site.Options{Profile: profile, Origin: server.URL, UserAgent: "test", RequestTimeout: time.Minute, JobTimeout: time.Minute, MaxBody: 1 << 24, Parties: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now := func(context.Context) (time.Duration, error) { return 0, nil }
	for n := 1; n <= 310; n++ {
		exchanges, err := client.Fetch(t.Context(), caseNo(n), now)
		if err != nil {
			t.Fatal(err)
		}
		reading := profile.Read(caseNo(n), exchanges)
		want := contract.VerdictNoRecord
		if sim.Exists(caseNo(n)) {
			want = contract.VerdictSuccess
		}
		if reading.Verdict != want {
			t.Errorf("%d: %s (%s: %s), want %s", n, reading.Verdict, reading.Rule, reading.Error, want)
		}
		if reading.Record != nil && (len(reading.Record.Parties) == 0 || reading.Record.StyleOfCause == "" || reading.Record.FiledOn == "") {
			t.Errorf("%d: a record without parties, style or filing day: %+v", n, reading.Record.Header)
		}
	}
}

// TestDockets_Facts: the dockets go the ways that the program's rules tell apart.
func TestDockets_Facts(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers = 600
	server, err := newSimulator(t, courtsim.Options{Seed: 6, Max: numbers}).Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	profile, err := site.Load("fct-cf")
	if err != nil {
		t.Fatal(err)
	}
	client, err := site.NewClient(site.Options{Profile: profile, Origin: server.URL, UserAgent: "test",
		RequestTimeout: time.Minute, JobTimeout: time.Minute, MaxBody: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	rules, err := facts.Load("federal-court")
	if err != nil {
		t.Fatal(err)
	}
	reader := rules.NewReader()
	seen := map[string]map[string]int{}
	count := func(fact string, value *string) {
		if value == nil {
			return
		}
		if seen[fact] == nil {
			seen[fact] = map[string]int{}
		}
		seen[fact][*value]++
	}
	noWait := func(context.Context) (time.Duration, error) { return 0, nil }
	waits := 0
	for n := 1; n <= numbers; n++ {
		exchanges, err := client.Fetch(t.Context(), caseNo(n), noWait)
		if err != nil {
			t.Fatal(err)
		}
		record := profile.Read(caseNo(n), exchanges).Record
		record.FetchedAt = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		c := reader.Of(record)
		if len(c.Conflict) > 0 {
			t.Errorf("%s: conflicts %+v", c.CaseID, c.Conflict)
		}
		if c.Rule9Days != nil {
			waits++
		}
		count("status", &c.Status)
		count("leave", c.Leave)
		count("judge", c.LeaveJudge)
		count("review", c.Review)
		count("stay", c.StayOutcome)
		count("visa office", c.VisaOffice)
		for _, e := range c.EntryFacts {
			count("kind", &e.Kind)
		}
	}
	for fact, want := range map[string]int{
		"status": 7, "leave": 2, "judge": 12, "review": 2, "stay": 2, "visa office": 6,
	} {
		if len(seen[fact]) != want {
			t.Errorf("%s: %v, want %d values", fact, seen[fact], want)
		}
	}
	granted, dismissed := seen["leave"]["granted"], seen["leave"]["dismissed"]
	if share := float64(granted) / float64(granted+dismissed); share < 0.33 || share > 0.5 {
		t.Errorf("%d of %d leaves granted", granted, granted+dismissed)
	}
	if open := seen["status"]["awaiting_leave"] + seen["status"]["active"]; open < numbers/20 || open > numbers/3 {
		t.Errorf("%d of %d cases are open", open, numbers)
	}
	if waits < numbers/5 {
		t.Errorf("%d waits for an answer under Rule 9", waits)
	}
	for _, kind := range []string{facts.KindRule9Request, facts.KindRule9Record, facts.KindHearing, facts.KindMotion,
		facts.KindDiscontinuance} {
		if seen["kind"][kind] == 0 {
			t.Errorf("no entry is a %s", kind)
		}
	}
}

// TestDockets_NotInTheFuture: nothing is entered after the current day.
func TestDockets_NotInTheFuture(t *testing.T) {
	t.Parallel()
	today := time.Date(2025, 4, 1, 3, 59, 59, 0, time.UTC) // the last second of 31 March in Toronto
	sim := newSimulator(t, courtsim.Options{Seed: 6, Max: 400, Today: today})
	entries := 0
	for n := 1; n <= 400; n++ {
		var got struct {
			Data []struct {
				Day string `json:"DOC_DT"`
			} `json:"data"`
		}
		if err := json.Unmarshal(get(sim, callPath("proceedingQueriesRE", n)).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for _, row := range got.Data {
			var ms int64
			day, err := time.Parse("2006-01-02T15:04:05", row.Day)
			if _, scanned := fmt.Sscanf(row.Day, "/Date(%d", &ms); scanned == nil {
				day, err = time.UnixMilli(ms), nil
			}
			if err != nil || day.After(today) {
				t.Errorf("number %d has an entry of %q (%v)", n, row.Day, err)
			}
			entries++
		}
	}
	if entries < 800 {
		t.Errorf("%d entries of 400 cases", entries)
	}
}

func TestStats_Concurrent(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 6, Max: 100, Latency: 2 * time.Millisecond})
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for n := 1; n <= 50; n++ {
				get(sim, callPath("proceedingQueriesRE", n))
			}
		})
	}
	clients.Wait()
	var stats courtsim.Stats
	if err := json.Unmarshal(get(sim, "/__stats").Body.Bytes(), &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Requests != 800 || stats.PerNumber["IMM-25"]["50"]["docket"] != 16 || stats.MaxInFlight < 2 || stats.MaxInFlight > 16 || stats.MinGapSeconds == nil {
		t.Errorf("%d requests, %d of number 50, %d in flight, gap %v", stats.Requests, stats.PerNumber["IMM-25"]["50"]["docket"], stats.MaxInFlight, stats.MinGapSeconds)
	}
	if stats.AfterBlock != 0 || stats.FirstBlock != "" || len(stats.Faults) != 0 {
		t.Errorf("blocks and faults in a court without any: %+v", stats.Faults)
	}
	var truth struct {
		Exists []int `json:"exists"`
	}
	if err := json.Unmarshal(get(sim, "/__truth?from=99&to=102").Body.Bytes(), &truth); err != nil || len(truth.Exists) != 2 {
		t.Errorf("%v: %v", err, truth.Exists)
	}
	if code := get(sim, "/__truth?from=x").Code; code != http.StatusBadRequest {
		t.Errorf("status %d for no range", code)
	}
	if code := get(sim, "/robots.txt").Code; code != http.StatusNotFound {
		t.Errorf("status %d for what there is not", code)
	}
}

func BenchmarkResponses(b *testing.B) {
	sim := newSimulator(b, courtsim.Options{Seed: 6, Max: 99999})
	requests := make([]*http.Request, 1000)
	for n := range requests {
		requests[n] = httptest.NewRequest(http.MethodGet, callPath("proceedingQueriesRE", n+1), nil)
	}
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			sim.ServeHTTP(discard{http.Header{}}, requests[n%1000])
		}
	})
}

// discard is a ResponseWriter that discards the response.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
