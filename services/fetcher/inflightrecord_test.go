package fetcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/fetcher/limit"

	"github.com/nats-io/nats.go/jetstream"
)

func (f fixture) openBucket(name string) jetstream.KeyValue {
	f.t.Helper()
	kv, err := f.bus.KV(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return kv
}

// putRecord stores a record as another process leaves it, under the ID of a fetcher.
func (f fixture) putRecord(fetcherID, process string, attempts, crashes map[int]int) {
	f.t.Helper()
	record, err := json.Marshal(contract.InFlightRecord{
		Version: contract.MessageVersion, RunID: runID, Fetcher: fetcherID, Process: process,
		Attempts: attempts, Crashes: crashes,
	})
	if err == nil {
		_, err = f.openBucket(contract.BucketHeld).Put(f.t.Context(), runID.FetcherKey(fetcherID), record)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// crashedNumbers returns the numbers whose answers report crashes, with the count of crashes.
func (f fixture) crashedNumbers() map[int]int {
	f.t.Helper()
	stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamAnswers)
	if err != nil {
		f.t.Fatal(err)
	}
	crashed := make(map[int]int)
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(f.t.Context(), seq)
		if err != nil {
			f.t.Fatal(err)
		}
		pack, err := ledger.Decode[contract.AnswerPack](msg.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, answer := range pack.Answers {
			if answer.Crashes > 0 {
				crashed[answer.CaseID.Number] = answer.Crashes
			}
		}
	}
	return crashed
}

func TestInFlightRecord_CountsCrashes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	f.putRecord("first", "a", map[int]int{1: 1, 2: 1, 3: 1, 5: 1}, map[int]int{1: 3, 2: 3, 3: 4, 4: 5})
	f.putRecord("second", "b", map[int]int{1: 1}, map[int]int{1: 4})      // had the job in flight after the first died
	f.putRecord("one", "c", map[int]int{2: 1, 5: 1}, map[int]int{2: 4})   // has the ID of this fetcher
	f.putRecord("third", "d", map[int]int{4: 1}, map[int]int{4: 2, 5: 1}) // job 4 has crashed fewer times here
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 5 })
	stop()
	want := map[int]int{1: 5, 2: 5, 3: 5, 4: 5}
	got := f.crashedNumbers()
	if len(got) != len(want) {
		t.Errorf("crashed %v, want %v", got, want)
	}
	for number, crashes := range want {
		if got[number] != crashes || f.site.requested[number] != 0 {
			t.Errorf("number %d: %d crashes, %d requests; want %d and none", number, got[number],
				f.site.requested[number], crashes)
		}
	}
	if f.site.requested[5] != 1 {
		t.Errorf("%d requests for number 5, want 1", f.site.requested[5])
	}
}

func TestInFlightRecord_UnreadableIgnored(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	for key, record := range map[string]string{
		runID.FetcherKey("one"): `{`, runID.FetcherKey("garbage"): `garbage`,
		runID.FetcherKey("later"): `{"v":99,"run_id":"run","fetcher":"later","crashes":{"1":9}}`,
		runID.FetcherKey("liar"):  `{"v":1,"run_id":"run","fetcher":"another","crashes":{"1":9}}`,
	} {
		if _, err := f.openBucket(contract.BucketHeld).Put(t.Context(), key, []byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 1 })
	stop()
	if got := f.crashedNumbers(); len(got) != 0 || f.site.requested[1] != 1 {
		t.Errorf("crashed %v, requests %v; want one request for 1", got, f.site.requested)
	}
}

func TestInFlightRecord_SameProcessNoCrash(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	f.putRecord("one", "mine", map[int]int{1: 1}, map[int]int{1: 4}) // as left by a service that lost its server
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 1 })
	stop()
	if got := f.crashedNumbers(); len(got) != 0 || f.site.requested[1] != 1 {
		t.Errorf("crashed %v, requests %v; want one request for 1", got, f.site.requested)
	}
}

func TestInFlightRecord_AnsweredNoCrash(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	f.putRecord("other", "a", map[int]int{1: 1}, map[int]int{1: 4})
	f.writeLedger(runID, ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictTransient})
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 1 })
	stop()
	if got := f.crashedNumbers(); len(got) != 0 || f.site.requested[1] != 1 {
		t.Errorf("crashed %v, requests %v; want one request for 1", got, f.site.requested)
	}
}

// TestInFlightRecord_LiveProcessKeepsJob checks that a job of a process without heartbeats is left
// to it while its presence is stored.
func TestInFlightRecord_LiveProcessKeepsJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2)
	renewPresence := func() { // it expires otherwise
		if _, err := f.openBucket(contract.BucketFetchers).Put(t.Context(), runID.FetcherKey("slow"),
			[]byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	renewPresence()
	f.putRecord("slow", "a", map[int]int{1: 1}, nil)
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	defer func() { stop() }()
	f.waitUntil(func() bool { renewPresence(); numbers, _ := f.answers(); return numbers[2] == 1 })
	if total, _ := f.site.requests(); total != 1 {
		t.Errorf("%d requests while the other process holds the job, want 1", total)
	}
	f.putRecord("slow", "a", nil, nil) // it returns the job
	f.waitUntil(func() bool { numbers, _ := f.answers(); return numbers[1] == 1 })
	if got := f.crashedNumbers(); len(got) != 0 {
		t.Errorf("crashed %v, want none", got)
	}
}

// TestInFlightRecord_Contents checks that an attempt is in the record before its first request, and
// no longer when its answer is stored or the process is stopped.
func TestInFlightRecord_Contents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	release := make(chan struct{})
	var checked atomic.Int32
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		held, err := runs.Get[contract.InFlightRecord](ctx, f.openBucket(contract.BucketHeld), runID.FetcherKey("one"))
		if err != nil || held.Attempts[number] != 1 || held.Process != "mine" {
			t.Errorf("number %d is fetched with this record: %+v, %v", number, held, err)
		}
		checked.Add(1)
		if number > 1 {
			<-release
		}
		return okExchange(ctx, number)
	}
	stop := f.startFetcher(func(o *fetcher.Options) { o.Process = "mine" })
	f.waitUntil(func() bool { return checked.Load() == 3 }) // the halt empties the record
	if err := runs.Halt(t.Context(), f.runs, runID,
		contract.Halt{Status: contract.Stopped, Deadline: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	record := func() contract.InFlightRecord {
		held, err := runs.Get[contract.InFlightRecord](t.Context(), f.openBucket(contract.BucketHeld),
			runID.FetcherKey("one"))
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	f.waitUntil(func() bool { return len(record().Attempts) == 0 }) // while two cases are in flight
	close(release)
	f.waitUntil(func() bool {
		_, err := f.openBucket(contract.BucketFetchers).Get(t.Context(), runID.FetcherKey("one"))
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
	stop()
	if held := record(); len(held.Attempts) != 0 {
		t.Errorf("left in the record: %+v", held)
	}
}

// TestNoRequestsWhileAnswersUnstored checks that cases in flight and answers that wait to be stored
// together do not exceed the concurrency: a kill loses no more answers than that.
func TestNoRequestsWhileAnswersUnstored(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 100)
	stream, err := f.bus.JetStream().Stream(t.Context(), contract.StreamAnswers)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes, config.Discard = 1, jetstream.DiscardNew // nothing more can be stored
	if _, err := f.bus.JetStream().UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	allStarted := make(chan struct{})
	var started atomic.Int32
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if started.Add(1) == 8 {
			close(allStarted)
		}
		<-allStarted
		return okExchange(ctx, number)
	}
	service, err := fetcher.New(t.Context(), fetcher.Options{
		Bus: f.bus, Log: fcttest.Logger(t), ID: "one", Process: "mine", Site: f.site, SiteName: "sim", Concurrency: 8,
		Backoff: limit.Backoff{Base: time.Millisecond, Factor: 2, Max: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Run(t.Context()); !errors.Is(err, bus.ErrStore) {
		t.Errorf("Run returned %v, want %v", err, bus.ErrStore)
	}
	if total, _ := f.site.requests(); total != 8 {
		t.Errorf("%d requests while no answer was stored, want 8", total)
	}
}

// TestInFlightRecord_Settings checks that the settings of a fetcher are in its record and stay
// there.
func TestInFlightRecord_Settings(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	stop := f.startFetcher(func(o *fetcher.Options) { o.Settings = map[string]any{"delay_min": "7s"} })
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 1 })
	stop()
	record, err := runs.Get[contract.InFlightRecord](t.Context(), f.openBucket(contract.BucketHeld),
		runID.FetcherKey("one"))
	if err != nil || record.Settings["delay_min"] != "7s" || len(record.Attempts) != 0 {
		t.Errorf("record %+v, %v", record, err)
	}
}
