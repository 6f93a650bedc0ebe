package reporter

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// The keys that the contract lists for each file.
const (
	reportKeys = `beyond busiest_minute_requests
		canary_requests changes config duration_seconds end end_id errors failed failed_count finished_at
		flags
		metrics min_request_gap_seconds
		next_command
		no_record no_record_count probes_used reason
		remaining
		requests retries run_id skipped
		slowed_seconds start start_id started_at status
		succeeded success_count total total_attempted
		unconfirmed
		upper_bound upper_bound_age_seconds upper_bound_at_limit upper_bound_confidence version
		waited_seconds`
	metricsKeys = `batch.job.duration_seconds batch.job.retry_count batch.run.done batch.run.duration_seconds
		batch.run.failure_rate batch.run.in_flight batch.run.left batch.run.pause_seconds batch.run.planned
		batch.run.waiting`
	auditKeys = `end_id
		failed
		failed_count finished_at no_record_count run_id start_id started_at success_count total_attempted`
	attemptKeys    = `attempt case_id duration_ms error html_path notes outcome run_id status_code timestamp`
	checkpointKeys = `failed next_number no_record range reason run_id status succeeded total written_at`
	sampleKeys     = `attempts case_id count error`
)

// object decodes a JSON object and compares its keys with a list.
func object(t *testing.T, text, keys string) map[string]any {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if diff := cmp.Diff(strings.Fields(keys), slices.Sorted(maps.Keys(value))); diff != "" {
		t.Errorf("keys: %s", diff)
	}
	return value
}

// mixedEntries is a ledger of the numbers 1 to 8 with retries, a block, replays and all outcomes.
func mixedEntries() []contract.Entry {
	transient, blocked := fcttest.Attempt(3, 1, contract.VerdictTransient, ""), fcttest.Attempt(5, 1, contract.VerdictBlocked, "")
	blocked.Raw, blocked.RawType = []byte("<h1>go away</h1>"), "html"
	failed := fcttest.Attempt(3, 2, contract.VerdictTransient, contract.Failed)
	asJSON := fcttest.Failure(7)
	asJSON.Raw, asJSON.RawType, asJSON.Error = []byte(`{"Count":`), "json", "cut off"
	again := fcttest.Success(5)
	again.StartedAt = again.StartedAt.Add(time.Hour)
	return []contract.Entry{fcttest.Success(1), fcttest.NoRecord(2), transient, blocked, fcttest.Success(4), transient, failed, fcttest.Success(1),
		again,
		fcttest.Failure(4), fcttest.NoRecord(6), asJSON, fcttest.Success(8)}
}

func TestReporterWritesAllFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	f.put(f.buckets.collected, f.manifest.Case(9).Key(), contract.Collected{Outcome: contract.Success, RunID: "before"})
	f.publishEach(mixedEntries()...)
	f.publishPlanned(1)
	state := f.runToEnd()
	files := f.files()
	want := []string{"attempts_run.ndjson", "audit_run.json", "cases/IMM/25/IMM-1-25.json",
		"cases/IMM/25/IMM-4-25.json",
		"cases/IMM/25/IMM-5-25.json", "cases/IMM/25/IMM-8-25.json", "html_failed/run/IMM-3-25.html",
		"html_failed/run/IMM-5-25.html",
		"html_failed/run/IMM-7-25.json", "report-20260301T133000Z.html", "report-20260301T133000Z.json"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Fatal(diff)
	}
	if state.Status != contract.Completed || state.File != "report-20260301T133000Z.json" ||
		files["html_failed/run/IMM-7-25.json"] != `{"Count":` {
		t.Errorf("%s, report in %q, raw answer %q", state.Status, state.File, files["html_failed/run/IMM-7-25.json"])
	}
	var record contract.Record
	if err := json.Unmarshal([]byte(files["cases/IMM/25/IMM-5-25.json"]), &record); err != nil ||
		record.CaseID.Number != 5 || record.FiledOn != "2025-01-02" {
		t.Errorf("record %+v, %v", record, err)
	}
	var inFile contract.Report
	if err := json.Unmarshal([]byte(files[state.File]), &inFile); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*state.Report, inFile); diff != "" {
		t.Errorf("the state's report and the file's: %s", diff)
	}
}

func TestReportKeysAndSums(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	f.put(f.buckets.collected, f.manifest.Case(9).Key(), contract.Collected{Outcome: contract.Success, RunID: "before"})
	f.put(f.buckets.runs, f.manifest.RunID.StateKey(), contract.State{Status: contract.Running, At: fcttest.StartTime(),
		Round: 2, ElapsedSeconds: 60})
	f.publishEach(mixedEntries()...)
	f.publishPlanned(1)
	state := f.runToEnd()
	files := f.files()
	report := object(t, files[state.File], reportKeys)
	metrics, err := json.Marshal(report["metrics"])
	if err != nil {
		t.Fatal(err)
	}
	object(t, string(metrics), metricsKeys)
	for i, sample := range state.Report.Errors {
		text, err := json.Marshal(sample)
		if err != nil || sample.CaseID.Number != []int{3, 7}[i] || sample.Attempts != []int{2, 1}[i] ||
			sample.Error == "" {
			t.Errorf("sample %+v, %v", sample, err)
		}
		object(t, string(text), sampleKeys)
	}
	got := *state.Report
	got.Errors, got.Metrics.JobDurationSeconds.Sum = nil, 0
	want := contract.Report{RunID: "run", Start: 1, End: 9, StartID: "IMM-1-25", EndID: "IMM-9-25", Total: 8,
		Succeeded: 4, NoRecord: 2, Failed: 2,
		Skipped: 1, TotalAttempted: 8, SuccessCount: 4, NoRecordCount: 2, FailedCount: 2, StartedAt: fcttest.StartTime(),
		FinishedAt: endTime, DurationSeconds: 60,
		Status: contract.Completed, UpperBound: 77, UpperBoundConfidence: 0.75, ProbesUsed: 11, Requests: 10,
		Retries: 2, MinRequestGapSeconds: 1.001, BusiestMinuteRequests: 10,
		Flags: map[string]int{}, Config: map[string]any{"prefix": "IMM"}, Version: "test",
		Changes: []contract.ControlChange{},
		Metrics: contract.Metrics{RunDurationSeconds: 60, JobRetryCount: 2,
			RunFailureRate: 0.25, Planned: 8,
			Done: map[contract.Outcome]int{contract.Success: 4, contract.NoRecord: 2, contract.Failed: 2},
			JobDurationSeconds: contract.JobDuration{Count: 10, Min: 0.25, Max: 0.25,
				Buckets: [...]int{0, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	audit := object(t, files["audit_run.json"], auditKeys)
	if audit["total_attempted"] != 8.0 || audit["success_count"] != 4.0 || audit["no_record_count"] != 2.0 ||
		audit["failed_count"] != 2.0 {
		t.Errorf("audit %v", audit)
	}
	for _, key := range []string{"started_at", "finished_at"} {
		if at, err := time.Parse("2006-01-02T15:04:05Z", report[key].(string)); err != nil ||
			audit[key] != report[key] {
			t.Errorf("%s: %v, %v in the audit, %v", key, at, audit[key], err)
		}
	}
}

func TestAttemptsFileLines(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEach(mixedEntries()...)
	f.publishPlanned(0)
	f.runToEnd()
	var got []string
	for line := range strings.Lines(f.files()["attempts_run.ndjson"]) {
		value := object(t, line, attemptKeys)
		var decoded contract.AttemptLine
		if err := json.Unmarshal([]byte(line), &decoded); err != nil {
			t.Fatal(err)
		}
		if decoded.RunID != "run" || decoded.StatusCode != 200 || decoded.DurationMS != 250 || value["notes"] == nil {
			t.Errorf("line %s", line)
		}
		got = append(got, strings.TrimSuffix(strings.Join([]string{decoded.CaseID.String(),
			string(rune('0' + decoded.Attempt)),
			decoded.Outcome, decoded.Error, path.Base(decoded.HTMLPath)}, " "), " ."))
	}
	want := []string{"IMM-1-25 1 success ", "IMM-2-25 1 no-record ", "IMM-3-25 1 transient ",
		"IMM-5-25 1 blocked  IMM-5-25.html", "IMM-4-25 1 success ",
		"IMM-3-25 2 failed status 500 IMM-3-25.html", "IMM-5-25 1 success ", "IMM-6-25 1 no-record ",
		"IMM-7-25 1 failed cut off IMM-7-25.json",
		"IMM-8-25 1 success "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReporterWritesKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.put(f.buckets.failed, f.manifest.Case(1).Key(), contract.Collected{Outcome: contract.Failed, RunID: "before"})
	f.put(f.buckets.failed, f.manifest.Case(3).Key(), contract.Collected{Outcome: contract.Failed, RunID: "before"})
	f.publishEach(mixedEntries()...)
	f.publishPlanned(0)
	f.runToEnd()
	collected, failed := f.keys()
	value := func(entry contract.Entry, filedOn string) contract.Collected {
		return contract.Collected{
			Outcome: entry.Outcome, Site: "court", RunID: "run", At: entry.StartedAt, FiledOn: filedOn,
			Size: len(entry.Record),
		}
	}
	again := mixedEntries()[8]
	wantCollected := map[int]contract.Collected{1: value(fcttest.Success(1), "2025-01-02"), 2: value(fcttest.NoRecord(2), ""),
		4: value(fcttest.Success(4), "2025-01-02"),
		5: value(again, "2025-01-02"), 6: value(fcttest.NoRecord(6), ""), 8: value(fcttest.Success(8), "2025-01-02")}
	wantFailed := map[int]contract.Collected{3: value(fcttest.Attempt(3, 2, contract.VerdictTransient, contract.Failed), ""),
		7: value(fcttest.Failure(7), "")}
	if diff := cmp.Diff(wantCollected, collected); diff != "" {
		t.Errorf("collected: %s", diff)
	}
	if diff := cmp.Diff(wantFailed, failed); diff != "" {
		t.Errorf("failed: %s", diff)
	}
}

func TestStoppedRunWritesCheckpointAndResumes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEach(mixedEntries()[:7]...) // 1 to 4 have outcomes, 5 was blocked
	f.put(f.buckets.runs, f.manifest.RunID.HaltKey(), contract.Halt{Status: contract.Blocked, Reason: "status 403",
		At: endTime})
	w := f.startReporter(f.options(), nil)
	state := f.awaitEnd()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	stop := object(t, f.files()["checkpoint-run.json"], checkpointKeys)
	if state.Status != contract.Blocked || stop["status"] != "blocked" || stop["reason"] != "status 403" ||
		stop["next_number"] != 5.0 || stop["total"] != 4.0 {
		t.Errorf("%s, checkpoint %v", state.Status, stop)
	}
	if diff := cmp.Diff(map[string]any{"start": 1.0, "end": 8.0}, stop["range"]); diff != "" {
		t.Error(diff)
	}
	if err := f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()); err != nil {
		t.Fatal(err)
	}
	f.setRunning()
	f.publishEach(mixedEntries()[7:]...)
	f.publishPlanned(0)
	if state := f.runToEnd(); state.Status != contract.Completed || state.Report.Total != 8 ||
		state.Report.Retries != 2 || state.File != "report-20260301T133000Z-2.json" {
		t.Errorf("then %s in %q: %+v", state.Status, state.File, state.Report)
	}
	if left, found := f.files()["checkpoint-run.json"]; found {
		t.Errorf("the checkpoint of a run that completed is still there: %s", left)
	}
}

// writerFunc is an io.Writer.
type writerFunc func([]byte)

func (w writerFunc) Write(data []byte) (int, error) {
	w(data)
	return len(data), nil
}

// The watches of states and halts outlive restarts of the server, and so does the service if the
// server is away when a run ends: a halt ends the run, and its next start is reported.
func TestReporterWatches_ServerRestart(t *testing.T) {
	t.Parallel()
	b, restart := fcttest.RestartableBroker(t)
	f := newFixtureOn(t, b, 8)
	options := f.options()
	ended, away := make(chan struct{}, 2), make(chan struct{})
	options.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
		if bytes.Contains(line, []byte("batch.run.end")) {
			ended <- struct{}{}
			<-away
		}
	}), nil))
	w := f.startReporter(options, nil)
	f.publishEach(mixedEntries()[:7]...)
	f.awaitFolded()
	restart(func() {})
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: endTime})
	if state := f.awaitEnd(); state.Status != contract.Stopped || state.Reason != "signal" {
		t.Errorf("%s: %q, want the halt", state.Status, state.Reason)
	}
	<-ended
	restart(func() { close(away) })
	f.must(f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()))
	f.setRunning()
	f.publishEach(mixedEntries()[7:]...)
	f.publishPlanned(0)
	select {
	case <-ended:
	case err := <-w.ended:
		t.Fatalf("the reporter has ended: %v", err)
	case <-time.After(testTimeout):
		t.Fatal("the second round was not reported")
	}
	if state := f.awaitEnd(); state.Status != contract.Completed || state.Report.Total != 8 {
		t.Errorf("%s of %+v", state.Status, state.Report)
	}
	f.must(w.stop())
}

func TestEndPublishesEventAndClearsJobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2)
	f.publish(f.manifest.RunID.JobSubject(1), nil)
	f.publish("job.other.1", nil)
	f.publishEach(fcttest.Success(1), fcttest.NoRecord(2))
	f.publishPlanned(0)
	events, err := f.bus.JetStream().OrderedConsumer(t.Context(), contract.StreamEvents,
		jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{f.manifest.RunID.EventSubject("finished")},
		})
	if err != nil {
		t.Fatal(err)
	}
	w := f.startReporter(f.options(), nil)
	msg, err := events.Next()
	if err != nil {
		t.Fatal(err)
	}
	var event contract.Event
	if err := json.Unmarshal(msg.Data(), &event); err != nil || event.Status != contract.Completed ||
		event.Report == nil || event.Report.Total != 2 || event.Planned != 2 {
		t.Errorf("event %s, %v", msg.Data(), err)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	jobs, err := f.bus.JetStream().Stream(t.Context(), contract.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := jobs.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("%d jobs left, %v; want the other run's", info.State.Msgs, err)
	}
}
