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
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"

	"github.com/nats-io/nats.go/jetstream"
)

func (p plant) bucket(name string) jetstream.KeyValue {
	p.t.Helper()
	kv, err := p.b.KV(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return kv
}

// leave puts a record there as another process leaves it, under the name of a fetcher.
func (p plant) leave(fetcherID, process string, attempts, crashes map[int]int) {
	p.t.Helper()
	record, err := json.Marshal(contract.InFlightRecord{
		Version: contract.MessageVersion, RunID: run, Fetcher: fetcherID, Process: process, Attempts: attempts, Crashes: crashes,
	})
	if err == nil {
		_, err = p.bucket(contract.BucketHeld).Put(p.t.Context(), run.FetcherKey(fetcherID), record)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// crashed are the numbers whose answers say that processes died of them, with how many that were.
func (p plant) crashed() map[int]int {
	p.t.Helper()
	stream, err := p.b.JetStream().Stream(p.t.Context(), contract.StreamAnswers)
	if err != nil {
		p.t.Fatal(err)
	}
	found := make(map[int]int)
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(p.t.Context(), seq)
		if err != nil {
			p.t.Fatal(err)
		}
		pack, err := contract.DecodeAnswers(msg.Data)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, answer := range pack.Answers {
			if answer.Crashes > 0 {
				found[answer.CaseID.Number] = answer.Crashes
			}
		}
	}
	return found
}

func TestDeathsOfOtherProcessesCount(t *testing.T) {
	t.Parallel()
	p := setUp(t, 5)
	p.leave("first", "a", map[int]int{1: 1, 2: 1, 3: 1, 5: 1}, map[int]int{1: 3, 2: 3, 3: 4, 4: 5})
	p.leave("second", "b", map[int]int{1: 1}, map[int]int{1: 4})      // holds what the first held when that had died
	p.leave("one", "c", map[int]int{2: 1, 5: 1}, map[int]int{2: 4})   // of the name that this fetcher has
	p.leave("third", "d", map[int]int{4: 1}, map[int]int{4: 2, 5: 1}) // another life of 4 has got as far as 5
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 5 })
	stop()
	want := map[int]int{1: 5, 2: 5, 3: 5, 4: 5}
	got := p.crashed()
	if len(got) != len(want) {
		t.Errorf("crashed %v, want %v", got, want)
	}
	for number, crashes := range want {
		if got[number] != crashes || p.court.asked[number] != 0 {
			t.Errorf("number %d: %d crashes, asked for %d times; want %d and none", number, got[number], p.court.asked[number], crashes)
		}
	}
	if p.court.asked[5] != 1 {
		t.Errorf("number 5 was asked for %d times, want once", p.court.asked[5])
	}
}

func TestRecordsThatCannotBeReadCountForNothing(t *testing.T) {
	t.Parallel()
	p := setUp(t, 1)
	for key, record := range map[string]string{
		run.FetcherKey("one"): `{`, run.FetcherKey("garbage"): `garbage`, run.FetcherKey("later"): `{"v":99,"run_id":"run","fetcher":"later","crashes":{"1":9}}`,
		run.FetcherKey("liar"): `{"v":1,"run_id":"run","fetcher":"another","crashes":{"1":9}}`,
	} {
		if _, err := p.bucket(contract.BucketHeld).Put(t.Context(), key, []byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 1 })
	stop()
	if got := p.crashed(); len(got) != 0 || p.court.asked[1] != 1 {
		t.Errorf("crashed %v, asked for %v; want that 1 is asked for", got, p.court.asked)
	}
}

func TestWhatTheSameProcessHeldIsNoCrash(t *testing.T) {
	t.Parallel()
	p := setUp(t, 1)
	p.leave("one", "mine", map[int]int{1: 1}, map[int]int{1: 4}) // as a service leaves it that broke off without its server
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 1 })
	stop()
	if got := p.crashed(); len(got) != 0 || p.court.asked[1] != 1 {
		t.Errorf("crashed %v, asked for %v; want that 1 is asked for", got, p.court.asked)
	}
}

func TestAnsweredAttemptIsNoCrash(t *testing.T) {
	t.Parallel()
	p := setUp(t, 1)
	p.leave("other", "a", map[int]int{1: 1}, map[int]int{1: 4})
	p.ledger(run, contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictTransient})
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 1 })
	stop()
	if got := p.crashed(); len(got) != 0 || p.court.asked[1] != 1 {
		t.Errorf("crashed %v, asked for %v; want that 1 is asked for", got, p.court.asked)
	}
}

// What a process holds that gives no word of it for long is left to it as long as its presence says that it lives.
func TestWhatALivingProcessHoldsIsLeftToIt(t *testing.T) {
	t.Parallel()
	p := setUp(t, 2)
	lives := func() { // its presence expires otherwise
		if _, err := p.bucket(contract.BucketFetchers).Put(t.Context(), run.FetcherKey("slow"), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	lives()
	p.leave("slow", "a", map[int]int{1: 1}, nil)
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	defer func() { stop() }()
	p.until(func() bool { lives(); numbers, _ := p.answers(); return numbers[2] == 1 })
	if all, _ := p.court.requests(); all != 1 {
		t.Errorf("%d requests while the other process holds the job, want 1", all)
	}
	p.leave("slow", "a", nil, nil) // it hands the job back
	p.until(func() bool { numbers, _ := p.answers(); return numbers[1] == 1 })
	if got := p.crashed(); len(got) != 0 {
		t.Errorf("crashed %v, want none", got)
	}
}

// A job is on record before it is asked for, and no more when it was stored, or when the process was told to stop.
func TestRecordOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	p := setUp(t, 3)
	release := make(chan struct{})
	var looked atomic.Int32
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		held, err := runs.Get[contract.InFlightRecord](ctx, p.bucket(contract.BucketHeld), run.FetcherKey("one"))
		if err != nil || held.Attempts[number] != 1 || held.Process != "mine" {
			t.Errorf("number %d is asked for with this on record: %+v, %v", number, held, err)
		}
		looked.Add(1)
		if number > 1 {
			<-release
		}
		return fine(ctx, number)
	}
	stop := p.work(func(o *fetcher.Options) { o.Process = "mine" })
	p.until(func() bool { return looked.Load() == 3 }) // the halt empties the record
	if err := runs.Halt(t.Context(), p.runs, run, contract.Halt{Status: contract.Stopped, Deadline: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	record := func() contract.InFlightRecord {
		held, err := runs.Get[contract.InFlightRecord](t.Context(), p.bucket(contract.BucketHeld), run.FetcherKey("one"))
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	p.until(func() bool { return len(record().Attempts) == 0 }) // two are in flight
	close(release)
	p.until(func() bool {
		_, err := p.bucket(contract.BucketFetchers).Get(t.Context(), run.FetcherKey("one"))
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
	stop()
	if held := record(); len(held.Attempts) != 0 {
		t.Errorf("left on record: %+v", held)
	}
}

// What is asked for and what waits to be stored are together no more than may be in flight: a kill costs no more.
func TestNothingIsAskedInPlaceOfWhatIsNotStored(t *testing.T) {
	t.Parallel()
	p := setUp(t, 100)
	stream, err := p.b.JetStream().Stream(t.Context(), contract.StreamAnswers)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes, config.Discard = 1, jetstream.DiscardNew // nothing more can be stored
	if _, err := p.b.JetStream().UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	together := make(chan struct{})
	var asked atomic.Int32
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if asked.Add(1) == 8 {
			close(together)
		}
		<-together
		return fine(ctx, number)
	}
	service, err := fetcher.New(t.Context(), fetcher.Options{
		Bus: p.b, Log: fcttest.Logger(t), ID: "one", Process: "mine", Site: p.court, SiteName: "sim", Concurrency: 8,
		Backoff: fetcher.Backoff{Base: time.Millisecond, Factor: 2, Max: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Run(t.Context()); !errors.Is(err, bus.ErrStore) {
		t.Errorf("it ended with %v, want %v", err, bus.ErrStore)
	}
	if all, _ := p.court.requests(); all != 8 {
		t.Errorf("%d requests while no answer was stored, want 8", all)
	}
}

// TestHoldingSaysTheSettings: what a fetcher asks by stands in its record before its first request, and stays there.
func TestHoldingSaysTheSettings(t *testing.T) {
	t.Parallel()
	p := setUp(t, 1)
	stop := p.work(func(o *fetcher.Options) { o.Settings = map[string]any{"delay_min": "7s"} })
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 1 })
	stop()
	record, err := runs.Get[contract.InFlightRecord](t.Context(), p.bucket(contract.BucketHeld), run.FetcherKey("one"))
	if err != nil || record.Settings["delay_min"] != "7s" || len(record.Attempts) != 0 {
		t.Errorf("record %+v, %v", record, err)
	}
}
