package generator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/generator"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// fixture is a server on which a test runs generators.
type fixture struct {
	t  *testing.T
	b  *bus.Bus
	kv jetstream.KeyValue
}

func setUp(t *testing.T) fixture {
	t.Helper()
	b := fcttest.Broker(t)
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{t, b, kv}
}

func (f fixture) runService() (stop func()) {
	f.t.Helper()
	return f.runServiceAt("sim", "")
}

// runServiceAt runs a generator for a site at an origin until stop is called.
func (f fixture) runServiceAt(site, origin string) (stop func()) {
	f.t.Helper()
	service, err := generator.New(f.t.Context(), generator.Options{
		Bus: f.b, Log: fcttest.Logger(f.t), Defaults: defaults(), Site: site, Origin: origin, Program: "test",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	known, err := micro.AddService(f.b.Conn(), micro.Config{Name: "fct-generator", Version: "1.0.0"})
	if err == nil {
		err = service.AddEndpoints(known)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	return func() {
		if err := known.Stop(); err != nil {
			f.t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
	}
}

func (f fixture) send(subject, body string) contract.CommandResult {
	f.t.Helper()
	reply := f.request(&nats.Msg{Subject: subject, Data: []byte(body)})
	stored := await[contract.CommandResult](f, f.kv, contract.CommandKey(reply.Sequence))
	if stored.RunID != reply.RunID || stored.Rejected != reply.Error {
		f.t.Errorf("replied %+v, stored %+v", reply, stored)
	}
	return stored
}

// request sends a command with a reply subject, as nats req does, and returns the reply.
func (f fixture) request(msg *nats.Msg) contract.CommandReply {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	answer, err := f.b.Conn().RequestMsgWithContext(ctx, msg)
	if err != nil {
		f.t.Fatal(err)
	}
	var reply contract.CommandReply
	if err := json.Unmarshal(answer.Data, &reply); err != nil {
		f.t.Fatalf("%v: %s", err, answer.Data)
	}
	return reply
}

// await waits until a key is written and returns its value.
func await[T any](f fixture, kv jetstream.KeyValue, key string) T {
	f.t.Helper()
	var value T
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	watcher, err := kv.Watch(ctx, key, jetstream.IgnoreDeletes())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = watcher.Stop() }()
	for entry := range watcher.Updates() {
		if entry == nil {
			continue
		}
		if err := json.Unmarshal(entry.Value(), &value); err != nil {
			f.t.Fatal(err)
		}
		return value
	}
	f.t.Fatalf("key %s was not written", key)
	return value
}

// ackJobs acknowledges the jobs of a run in order until the planned entry exists and none is left.
// A fetch returns no more than may be unacknowledged at once, so it takes several.
func (f fixture) ackJobs(run contract.RunID) (numbers []int, planned contract.Planned) {
	f.t.Helper()
	consumer, err := f.b.JetStream().Consumer(f.t.Context(), contract.StreamJobs, run.ConsumerName())
	if err != nil {
		f.t.Fatal(err)
	}
	ledger, err := f.b.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
	if err != nil {
		f.t.Fatal(err)
	}
	for {
		end, err := ledger.GetLastMsgForSubject(f.t.Context(), run.PlannedSubject())
		isPlanned := err == nil
		for msg := range fetch(f.t, consumer).Messages() {
			var job contract.Job
			if err := json.Unmarshal(msg.Data(), &job); err != nil {
				f.t.Fatal(err)
			}
			numbers = append(numbers, job.CaseID.Number)
			if err := msg.Ack(); err != nil {
				f.t.Fatal(err)
			}
		}
		info, err := consumer.Info(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		last, err := f.b.LastSequence(f.t.Context(), contract.StreamJobs, run.JobFilter())
		if err != nil {
			f.t.Fatal(err)
		}
		// The consumer may count a stored message as pending only a moment later.
		if isPlanned && info.AckFloor.Stream >= last {
			if err := json.Unmarshal(end.Data, &planned); err != nil {
				f.t.Fatal(err)
			}
			return numbers, planned
		}
	}
}

func fetch(t *testing.T, consumer jetstream.Consumer) jetstream.MessageBatch {
	t.Helper()
	batch, err := consumer.FetchNoWait(1000)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func (f fixture) storeOutcomes(bucket string, numbers map[int]contract.Outcome) {
	f.t.Helper()
	kv, err := f.b.KV(f.t.Context(), bucket)
	if err != nil {
		f.t.Fatal(err)
	}
	for number, outcome := range numbers {
		value, err := json.Marshal(contract.Collected{Outcome: outcome, RunID: "before"})
		if err != nil {
			f.t.Fatal(err)
		}
		if _, err := kv.Put(f.t.Context(), fmt.Sprintf("IMM.25.%d", number), value); err != nil {
			f.t.Fatal(err)
		}
	}
}

func TestStart_SkipsCollectedNumbers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.storeOutcomes(contract.BucketCollected, map[int]contract.Outcome{1500: contract.NoRecord, 1501: contract.Success})
	f.storeOutcomes(contract.BucketFailed, map[int]contract.Outcome{900: contract.Failed, 2: contract.Failed,
		5000: contract.Failed})
	defer f.runService()()
	result := f.send(contract.SubjectStart, `{"year":"25","start":10,"end":2009}`)
	if result.Rejected != "" {
		t.Fatal(result.Rejected)
	}
	numbers, planned := f.ackJobs(result.RunID)
	want := []int{900}
	for n := 10; n <= 2009; n++ {
		if n != 900 && n != 1500 && n != 1501 {
			want = append(want, n)
		}
	}
	if diff := cmp.Diff(want, numbers); diff != "" {
		t.Error(diff)
	}
	if planned.Jobs != 1998 || planned.Skipped != 2 {
		t.Errorf("planned %+v, want 1998 jobs and 2 skipped", planned)
	}
}

func TestStart_List(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.storeOutcomes(contract.BucketCollected, map[int]contract.Outcome{20: contract.NoRecord, 30: contract.Success,
		31: contract.Success})
	f.storeOutcomes(contract.BucketFailed, map[int]contract.Outcome{900: contract.Failed, 2: contract.Failed})
	stop := f.runService()
	first := f.send(contract.SubjectStart, `{"ids":["IMM-900-25","IMM-18-25..IMM-22-25","IMM-30-25","IMM-5-25"],"max_retries":1}`)
	if first.Rejected != "" {
		t.Fatal(first.Rejected)
	}
	// The same list in another order, with a duplicate, is the same batch, also after a restart.
	stop()
	defer f.runService()()
	same := `{"ids":["IMM-5-25","IMM-5-25","IMM-22-25","IMM-30-25","IMM-18-25..IMM-21-25","IMM-900-25"],"prefix":"IMM","year":"2025","probe":false}`
	if again := f.send(contract.SubjectStart, same); again.RunID != first.RunID {
		t.Errorf("started %v, then %v", first, again)
	}
	numbers, planned := f.ackJobs(first.RunID)
	if diff := cmp.Diff([]int{900, 5, 18, 19, 21, 22}, numbers); diff != "" {
		t.Error(diff)
	}
	if planned.Jobs != 6 || planned.Skipped != 2 || planned.Range != (contract.Range{Start: 5, End: 900}) ||
		len(planned.Beyond) > 0 {
		t.Errorf("planned %+v, want 6 jobs and 2 skipped of 5..900", planned)
	}
	m, err := runs.Manifest(t.Context(), f.kv, first.RunID)
	if err != nil || m.IDs.Size() != 8 || m.Searching() {
		t.Errorf("manifest %+v, %v", m, err)
	}
	if got := string(m.Command); got != `{"max_retries":1}` && got != `{"prefix":"IMM","probe":false,"year":"2025"}` {
		t.Errorf("command %s, want the one without ids", got)
	}
	if other := f.send(contract.SubjectStart, `{"ids":["IMM-5-25","IMM-900-25"]}`); other.RunID == first.RunID ||
		other.Rejected != "" {
		t.Errorf("another list of the same range: %+v", other)
	}
	if other := f.send(contract.SubjectStart, fmt.Sprintf(`{"ids":["IMM-5-25"],"run_id":%q}`,
		first.RunID)); !strings.Contains(other.Rejected, "another batch") {
		t.Errorf("another list with the run id: %+v", other)
	}
}

// The manifest of the longest list is small: every start reads all manifests.
func TestStart_LongList(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	var lists contract.CaseLists
	for n := 1; n <= contract.MaxNumber; n += 2 {
		lists.Add(contract.CaseID{Series: "IMM", Year: "25", Number: n})
	}
	body, err := json.Marshal(map[string]any{"ids": lists.Lists()[0]})
	if err != nil {
		t.Fatal(err)
	}
	result := f.send(contract.SubjectStart, string(body))
	if result.Rejected != "" {
		t.Fatal(result.Rejected)
	}
	entry, err := f.kv.Get(t.Context(), result.RunID.ManifestKey())
	if err != nil || len(entry.Value()) > 20<<10 {
		t.Errorf("%v, %d bytes", err, len(entry.Value()))
	}
	m, err := runs.Manifest(t.Context(), f.kv, result.RunID)
	if err != nil || m.IDs != lists.Lists()[0] {
		t.Errorf("%v, %d ids", err, m.IDs.Size())
	}
}

func TestJobs_ResumeAfterRestart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stop := f.runService()
	run := f.send(contract.SubjectStart, `{"year":"25","end":3000}`).RunID
	stream, err := f.b.JetStream().Stream(t.Context(), contract.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	for {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs >= 512 { // maxPending is reached
			break
		}
	}
	stop()
	// Meanwhile this run has collected two of its numbers.
	f.storeOutcomes(contract.BucketCollected, map[int]contract.Outcome{1: contract.Success, 2: contract.NoRecord})
	defer f.runService()()
	numbers, planned := f.ackJobs(run)
	slices.Sort(numbers)
	if len(numbers) != 3000 || numbers[0] != 1 || numbers[2999] != 3000 || len(slices.Compact(numbers)) != 3000 {
		t.Errorf("%d jobs", len(numbers))
	}
	if planned.Jobs != 3000 || planned.Skipped != 0 {
		t.Errorf("planned %+v", planned)
	}
}

func TestStart_SameBatchIsOneRun(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	const body = `{"year":"25","end":5}`
	first := f.send(contract.SubjectStart, body)
	if again := f.send(contract.SubjectStart, body); again.RunID != first.RunID {
		t.Errorf("started %v, then %v", first, again)
	}
	if other := f.send(contract.SubjectStart, `{"year":"25","end":6}`); other.RunID == first.RunID {
		t.Error("another batch joined the run")
	}
	if stopped := f.send(contract.SubjectStop, fmt.Sprintf(`{"run_id":%q}`, first.RunID)); stopped.Rejected != "" {
		t.Fatal(stopped.Rejected)
	}
	halt, err := runs.Get[contract.Halt](t.Context(), f.kv, first.RunID.HaltKey())
	if err != nil || halt.Status != contract.Stopped {
		t.Errorf("halt %+v, %v", halt, err)
	}
	if early := f.send(contract.SubjectStart, body); early.Rejected == "" || early.RunID != "" {
		t.Errorf("%+v; want a rejection without a run: it is being stopped", early)
	}
	end := func(status contract.Status) {
		state, err := json.Marshal(contract.State{Status: status, Round: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.kv.Put(t.Context(), first.RunID.StateKey(), state); err != nil {
			t.Fatal(err)
		}
	}
	end(contract.Stopped)
	if again := f.send(contract.SubjectStart, body); again.RunID != first.RunID {
		t.Errorf("a stopped run was resumed as %v", again)
	}
	state, err := runs.Get[contract.State](t.Context(), f.kv, first.RunID.StateKey())
	if err != nil || state.Status != contract.Running || state.Round != 2 {
		t.Errorf("state %+v, %v; want running in its second round", state, err)
	}
	end(contract.Completed)
	if again := f.send(contract.SubjectStart, body); again.RunID == first.RunID {
		t.Error("a completed run was resumed")
	}
}

func TestStart_SupersedesStoppedRuns(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	const body = `{"year":"25","end":5}`
	stopped := f.send(contract.SubjectStart, body).RunID
	f.endRun(stopped, contract.Stopped)
	otherYear := f.send(contract.SubjectStart, `{"year":"24","end":6}`)
	if state := await[contract.State](f, f.kv, stopped.StateKey()); state.Superseded {
		t.Errorf("superseded by a run of another year: %+v", otherYear)
	}
	other := f.send(contract.SubjectStart, `{"year":"25","end":6}`).RunID
	if state := await[contract.State](f, f.kv, stopped.StateKey()); !state.Superseded ||
		state.Status != contract.Stopped {
		t.Errorf("%+v, want a stopped run that %s supersedes", state, other)
	}
	if again := f.send(contract.SubjectStart, body); again.RunID == "" || again.RunID == stopped {
		t.Errorf("%+v, want a new run", again)
	}
	if state := await[contract.State](f, f.kv, other.StateKey()); state.Superseded {
		t.Error("a running run was superseded")
	}
}

func TestRejectionsStored(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	for _, c := range []struct{ subject, body string }{
		{contract.SubjectStart, `{"start":0}`}, {contract.SubjectStart, `{"probe_only":true}`},
		{contract.SubjectStart, "\xff"},
		{contract.SubjectStop, `{"run_id":"nobody"}`}, {contract.SubjectStop, `{}`},
	} {
		if result := f.send(c.subject, c.body); result.Rejected == "" {
			t.Errorf("%s %q started %q", c.subject, c.body, result.RunID)
		}
	}
	stored, err := f.b.Subjects(t.Context(), contract.StreamEvents, contract.SubjectRejected)
	if err != nil {
		t.Fatal(err)
	}
	if got := stored[contract.SubjectRejected]; got != 5 {
		t.Errorf("%d rejections stored, want 5", got)
	}
	first := f.send(contract.SubjectStart, `{"end":5,"run_id":"mine"}`)
	if first.RunID != "mine" {
		t.Errorf("named %q, want mine", first.RunID)
	}
	if other := f.send(contract.SubjectStart, `{"end":6,"run_id":"mine"}`); other.Rejected == "" {
		t.Error("two batches with one run id")
	}
}

func TestJobs_WaitForBound(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	run := f.send(contract.SubjectStart, `{"start":3,"probe":true}`).RunID
	manifest, err := runs.Manifest(t.Context(), f.kv, run)
	if err != nil || !manifest.Searching() || manifest.Range != (contract.Range{Start: 3, End: contract.MaxNumber}) {
		t.Fatalf("%+v, %v; want a search up to the highest number there can be", manifest.Range, err)
	}
	// The search requested two numbers, one of them above the bound.
	for _, number := range []int{5, 8} {
		if _, err := f.b.Publish(t.Context(), &nats.Msg{Subject: run.JobSubject(number),
			Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	manifest.Bound, manifest.Range.End = &contract.Bound{Number: 6}, 6
	value, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.kv.Put(t.Context(), run.ManifestKey(), value); err != nil {
		t.Fatal(err)
	}
	_, planned := f.ackJobs(run)
	if want := (contract.Planned{Version: 1, Range: manifest.Range, Jobs: 5, Beyond: []int{8}}); !cmp.Equal(planned,
		want) {
		t.Errorf("planned %+v, want %+v", planned, want)
	}
}

func TestRun_CanceledBeforeStart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	service, err := generator.New(t.Context(), generator.Options{Bus: f.b, Log: fcttest.Logger(t),
		Defaults: defaults(), Site: "sim", Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := service.Run(ctx); err != nil {
		t.Error(err)
	}
}

// One generator receives the request; another one executes the command before the first watches for
// results.
func TestReply_ResultBeforeWatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	service, err := generator.New(t.Context(), generator.Options{Bus: f.b, Log: fcttest.Logger(t),
		Defaults: defaults(), Site: "sim", Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	known, err := micro.AddService(f.b.Conn(), micro.Config{Name: "fct-generator", Version: "1.0.0"})
	if err == nil {
		err = service.AddEndpoints(known)
	}
	if err != nil {
		t.Fatal(err)
	}
	replies := make(chan contract.CommandReply, 1)
	go func() { replies <- f.request(&nats.Msg{Subject: contract.SubjectStop, Data: []byte(`{}`)}) }()
	other, err := generator.New(t.Context(), generator.Options{Bus: f.b, Log: fcttest.Logger(t), Defaults: defaults(),
		Site: "sim", Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- other.Run(ctx) }()
	stored := await[contract.CommandResult](f, f.kv, contract.CommandKey(1))
	go func() { ended <- service.Run(ctx) }()
	if reply := <-replies; reply.Sequence != 1 || reply.Error != stored.Rejected {
		t.Errorf("replied %+v, stored %+v", reply, stored)
	}
	if err := known.Stop(); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
