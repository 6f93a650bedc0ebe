package reporter

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// A search requests numbers above the bound that it finds. They are not part of the range; every
// count states which of the two it covers.
func TestReportCountsBeyondSeparately(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 4, func(m *contract.Manifest) { m.Probe = true })
	f.publishEach(fcttest.Success(2), fcttest.Failure(9), fcttest.NoRecord(8), fcttest.Failure(3), fcttest.Success(4), fcttest.NoRecord(7), fcttest.NoRecord(1))
	f.publishPlan(contract.Planned{Range: f.manifest.Range, Jobs: 7, Beyond: []int{7, 8, 9}})
	w := f.startReporter(f.options(), nil)
	state := f.awaitEnd()
	f.must(w.stop())
	r := state.Report
	got := []int{r.Total, r.Succeeded, r.NoRecord, r.Failed, r.Beyond, r.TotalAttempted, r.SuccessCount,
		r.NoRecordCount, r.FailedCount}
	if diff := cmp.Diff([]int{4, 2, 1, 1, 3, 7, 2, 3, 2}, got); diff != "" || state.Status != contract.Completed {
		t.Errorf("%s: %s", state.Status, diff)
	}
	audit := object(t, f.files()["audit_run.json"], auditKeys)
	for key, want := range map[string]float64{"total_attempted": 7, "success_count": 2, "no_record_count": 3,
		"failed_count": 2} {
		if audit[key] != want {
			t.Errorf("audit: %s is %v, want %v", key, audit[key], want)
		}
	}
	msg, err := f.bus.GetLast(t.Context(), contract.StreamEvents, f.manifest.RunID.EventSubject("finished"))
	if err != nil {
		t.Fatal(err)
	}
	var event contract.Event
	f.must(json.Unmarshal(msg.Data, &event))
	if event.Planned != 4 || event.Succeeded != 2 || event.NoRecord != 1 || event.Failed != 1 {
		t.Errorf("the event has %d planned, %d + %d + %d", event.Planned, event.Succeeded, event.NoRecord, event.Failed)
	}
	page := f.files()[strings.TrimSuffix(state.File, ".json")+".html"]
	if !strings.Contains(page, `<th>total</th><td class="n">4</td>`) ||
		!strings.Contains(page, `<th>beyond the end</th><td class="n">3</td>`) {
		t.Errorf("the page does not count beyond apart: %s", page)
	}
	if report, _, err := f.rewrite(); err != nil || !cmp.Equal(*r, report) {
		t.Errorf("written again: %v: %s", err, cmp.Diff(*r, report))
	}
}

// Every link of the page is relative and leads to a file or folder that exists.
func TestReportPageLinks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEach(mixedEntries()...)
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: endTime})
	state := f.runToEnd()
	name := strings.TrimSuffix(state.File, ".json") + ".html"
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(f.files()[name], -1)
	var got []string
	for _, link := range links {
		if _, err := os.Stat(f.path(link[1])); err != nil {
			t.Error(err)
		}
		got = append(got, strings.Split(strings.Split(link[1], "/")[0], "_")[0])
	}
	for _, want := range []string{"html", "report-20260301T133000Z.json", "audit", "attempts", "checkpoint-run.json", "cases"} {
		if !slices.Contains(got, want) {
			t.Errorf("no link to %s in %q", want, got)
		}
	}
}

// A replayed record counts once, a record of a failed number not at all.
func TestReportCountsFlags(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 11)
	flagged := func(number int, flags ...string) contract.Entry {
		entry := fcttest.Success(number)
		entry.Record = contract.Record{CaseID: f.manifest.Case(number),
			Header: contract.Header{StyleOfCause: `"flags": ["no"]`}, Flags: flags}.FileContent()
		return entry
	}
	f.publishEach(flagged(1, contract.FlagHeaderOnly, "other-rows"), flagged(2), flagged(2, contract.FlagHeaderOnly),
		flagged(3, "other-rows"), fcttest.NoRecord(4))
	for number := 5; number <= 11; number++ {
		f.publishEntries(flagged(number))
	}
	f.publishPlanned(0)
	state := f.runToEnd()
	if diff := cmp.Diff(map[string]int{contract.FlagHeaderOnly: 1, "other-rows": 2}, state.Report.Flags); diff != "" ||
		state.Report.TooManyHeaderOnly() {
		t.Errorf("1 of 10 header-only is too many: %t; %s", state.Report.TooManyHeaderOnly(), diff)
	}
	page := f.files()[strings.TrimSuffix(state.File, ".json")+".html"]
	if !strings.Contains(page, `<tr><td>other-rows</td><td class="n">2 of 10</td></tr>`) {
		t.Errorf("the page shows no flags: %s", page)
	}
	for _, c := range []struct {
		flagged, of int
		want        bool
	}{{0, 0, false}, {1, 1, true}, {1, 9, true}, {10, 100, false}, {11, 100, true}} {
		r := contract.Report{SuccessCount: c.of, Flags: map[string]int{contract.FlagHeaderOnly: c.flagged}}
		if r.TooManyHeaderOnly() != c.want {
			t.Errorf("%d of %d header-only are too many: %t", c.flagged, c.of, !c.want)
		}
	}
}

// Runs that end in the same second have that second in the names of their reports, also after a
// rewrite.
func TestReportNameIsEndTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	f.publishEntries(fcttest.Success(1))
	f.publishPlanned(0)
	files := []string{f.runToEnd().File}
	for _, run := range []contract.RunID{"second", "third"} {
		f.manifest.RunID = run
		f.put(f.buckets.runs, run.ManifestKey(), f.manifest)
		f.setRunning()
		f.publishEntries(fcttest.Success(1))
		f.publishPlanned(0)
		state := f.runToEnd()
		if _, file, err := f.rewrite(); err != nil || file != state.File {
			t.Errorf("%s was written again as %s: %v", state.File, file, err)
		}
		files = append(files, state.File)
	}
	want := []string{"report-20260301T133000Z.json", "report-20260301T133000Z-2.json", "report-20260301T133000Z-3.json"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	for i, name := range files {
		var r contract.Report
		f.must(json.Unmarshal([]byte(f.files()[name]), &r))
		if !strings.HasPrefix(name, "report-"+r.FinishedAt.Format("20060102T150405Z")) ||
			r.RunID != []contract.RunID{"run", "second", "third"}[i] {
			t.Errorf("%s is the report of %s, which ended at %s", name, r.RunID, r.FinishedAt)
		}
	}
}

// The process that planned the run may have another pace than the fetchers that sent the requests.
func TestReportShowsFetcherSettings(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2, func(m *contract.Manifest) {
		m.Config = map[string]any{"prefix": "IMM", "delay_min": "1s", "delay_max": "3s", "concurrency": 4}
	})
	held, err := f.bus.KV(t.Context(), contract.BucketHeld)
	if err != nil {
		t.Fatal(err)
	}
	putRecord := func(run contract.RunID, fetcher string, settings map[string]any) {
		f.put(held, run.FetcherKey(fetcher), contract.InFlightRecord{Version: contract.MessageVersion, RunID: run,
			Fetcher: fetcher, Settings: settings})
	}
	putRecord("run", "a", map[string]any{"delay_min": "5s", "delay_max": "6s", "concurrency": 2})
	putRecord("run", "b", map[string]any{"delay_min": "5s", "delay_max": "9s", "concurrency": 2})
	putRecord("run", "old", nil)
	putRecord("another", "a", map[string]any{"delay_min": "0s"})
	if _, err := held.Put(t.Context(), f.manifest.RunID.FetcherKey("damaged"), []byte("?")); err != nil {
		t.Fatal(err)
	}
	f.publishEach(fcttest.Success(1), fcttest.Success(2))
	f.publishPlanned(0)
	state := f.runToEnd()
	want := map[string]any{"prefix": "IMM", "delay_min": "5s", "delay_max": []any{"6s", "9s"}, "concurrency": 2.0}
	if diff := cmp.Diff(want, state.Report.Config); diff != "" {
		t.Error(diff)
	}
	if report, _, err := f.rewrite(); err != nil || !cmp.Equal(want, report.Config) {
		t.Errorf("written again: %v: %s", err, cmp.Diff(want, report.Config))
	}
}
