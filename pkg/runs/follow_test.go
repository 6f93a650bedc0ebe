package runs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	fcttest.RareGC()
	goleak.VerifyTestMain(m)
}

type fixture struct {
	t  *testing.T
	b  *bus.Bus
	kv jetstream.KeyValue
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	b := fcttest.Broker(t)
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{t, b, kv}
}

func (w fixture) put(key string, value any) {
	w.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.kv.Put(w.t.Context(), key, data); err != nil {
		w.t.Fatal(err)
	}
}

func (w fixture) addRun(id contract.RunID, status contract.Status) {
	w.put(id.ManifestKey(), contract.Manifest{Version: contract.MessageVersion, RunID: id})
	w.put(id.StateKey(), contract.State{Status: status})
}

// follow sends each start of work, and the cause of each end.
func (w fixture) follow() (begun chan contract.RunID, ended chan error, stop func() error) {
	begun, ended = make(chan contract.RunID), make(chan error)
	ctx, cancel := context.WithCancel(w.t.Context())
	result := make(chan error, 1)
	go func() {
		result <- runs.Follow(ctx, w.b, func(ctx context.Context, m contract.Manifest) error {
			begun <- m.RunID
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
	}()
	return begun, ended, func() error { cancel(); return <-result }
}

func TestFollow_RoundsOfARun(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("old", contract.Completed)
	w.addRun("halted", contract.Running)
	w.put(contract.RunID("halted").HaltKey(), contract.Halt{Status: contract.Stopped})
	w.addRun("a", contract.Running)
	begun, ended, stop := w.follow()
	if got := <-begun; got != "a" {
		t.Fatalf("work on %s, want a: old is over and halted is halted", got)
	}
	if err := runs.Halt(t.Context(), w.kv, "a", contract.Halt{Status: contract.SafeStop, Reason: "first"}); err != nil {
		t.Fatal(err)
	}
	if err := runs.Halt(t.Context(), w.kv, "a", contract.Halt{Status: contract.Blocked, Reason: "second"}); err != nil {
		t.Fatal(err)
	}
	var halted runs.Halted
	if err := <-ended; !errors.As(err, &halted) || halted.Reason != "first" {
		t.Errorf("ended by %v, want the first halt", err)
	}
	w.addRun("a", contract.SafeStop)
	if err := w.kv.Delete(t.Context(), contract.RunID("a").HaltKey()); err != nil {
		t.Fatal(err)
	}
	w.addRun("a", contract.Running)
	if got := <-begun; got != "a" {
		t.Errorf("second round of %s", got)
	}
	w.addRun("a", contract.Completed)
	if err := <-ended; !errors.Is(err, runs.ErrEnded) {
		t.Errorf("ended by %v, want ErrEnded", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestFollowSteered_PauseAndResume(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("a", contract.Running)
	w.addRun("b", contract.Running)
	key := contract.RunID("a").ControlKey()
	w.put(key, contract.Control{Paused: true})
	begun, ended := make(chan contract.RunID), make(chan error)
	controls := make(chan map[contract.RunID]contract.Control, 100)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- runs.FollowSteered(ctx, w.b, func(all map[contract.RunID]contract.Control) { controls <- all },
			func(ctx context.Context, m contract.Manifest) error {
				begun <- m.RunID
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return nil
			})
	}()
	if all := <-controls; len(all) != 2 || !all["a"].Paused || all["b"].Paused {
		t.Errorf("controls at the start: %+v", all)
	}
	if got := <-begun; got != "b" {
		t.Fatalf("work on %s, want b: a is paused", got)
	}
	for range 2 { // rounds without a new state
		w.put(key, contract.Control{})
		if got := <-begun; got != "a" {
			t.Fatalf("work on %s, want a", got)
		}
		w.put(key, contract.Control{Paused: true, Reason: "lunch"})
		var paused runs.Paused
		if err := <-ended; !errors.As(err, &paused) || paused.Reason != "lunch" {
			t.Errorf("ended by %v, want the pause", err)
		}
	}
	// What cannot be read may be a pause.
	if _, err := w.kv.PutString(t.Context(), key, "{"); err != nil {
		t.Fatal(err)
	}
	w.addRun("c", contract.Running)
	if got := <-begun; got != "c" {
		t.Errorf("work on %s, want c", got)
	}
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v, want the end of the test", err)
		}
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestFollow_ReturnsErrorOfWork(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("a", contract.Running)
	broken := errors.New("broken")
	err := runs.Follow(t.Context(), w.b, func(context.Context, contract.Manifest) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v, want what the work returned", err)
	}
}

// A request that times out fails with the error of an ended context, although the work shall
// continue.
func TestFollow_WorkTimesOut(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"deadline": context.DeadlineExceeded, "cancelled": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.addRun("a", contract.Running)
			unanswered := fmt.Errorf("%w: %w", bus.ErrStore, cause)
			err := runs.Follow(t.Context(), w.b, func(context.Context, contract.Manifest) error { return unanswered })
			if !errors.Is(err, unanswered) {
				t.Errorf("%v, want what the work returned, otherwise its service ends as if it were cancelled", err)
			}
		})
	}
}

func TestFollow_ConnectionClosed(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("a", contract.Running)
	err := runs.Follow(t.Context(), w.b, func(ctx context.Context, _ contract.Manifest) error {
		w.b.Conn().Close()
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("%v, want that the connection is closed", err)
	}
}

func TestFollow_WorkStartsOncePerRound(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("a", contract.Running)
	ctx, cancel := context.WithCancel(t.Context())
	var times int
	err := runs.Follow(ctx, w.b, func(_ context.Context, m contract.Manifest) error {
		if m.RunID == "a" {
			times++
			w.addRun("b", contract.Running) // by the time b is begun, a would have been begun again
		} else {
			cancel()
		}
		return nil
	})
	if err != nil || times != 1 {
		t.Errorf("%d times, %v; want once", times, err)
	}
}

func TestFollow_CanceledBeforeStart(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := runs.Follow(ctx, w.b, func(context.Context, contract.Manifest) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestReclaim_StopsRunsOfKilledProcess(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("killed", contract.Running)
	w.addRun("done", contract.Completed)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reclaimed, err := runs.Reclaim(t.Context(), w.b, at)
	if err != nil {
		t.Fatal(err)
	}
	if len(reclaimed) != 1 || reclaimed[0] != "killed" {
		t.Errorf("reclaimed %v, want the run that was killed", reclaimed)
	}
	for run, want := range map[contract.RunID]contract.Status{"killed": contract.Stopped, "done": contract.Completed} {
		state, err := runs.Get[contract.State](t.Context(), w.kv, run.StateKey())
		if err != nil {
			t.Fatal(err)
		}
		if state.Status != want {
			t.Errorf("%s is %s, want %s", run, state.Status, want)
		}
		if want == contract.Stopped && (!state.At.Equal(at) || state.Reason == "") {
			t.Errorf("%s was stopped at %s because of %q; want the time given and a reason", run, state.At, state.Reason)
		}
	}
}
