package runs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// unreadableValues are values that no key is to hold.
func unreadableValues() map[string]string {
	return map[string]string{"no JSON": "\x00\x00", "another form": `[1]`, "empty": "", "unknown version": `{"v":99,"status":"running"}`}
}

func TestFollow_UnreadableKeys(t *testing.T) {
	t.Parallel()
	for name, value := range unreadableValues() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			for _, run := range []contract.RunID{"state", "halt", "manifest"} {
				w.addRun(run, contract.Running)
				if _, err := w.kv.Put(t.Context(), string(run)+"."+string(run), []byte(value)); err != nil {
					t.Fatal(err)
				}
			}
			w.addRun("good", contract.Running)
			begun, ended, stop := w.follow()
			if got := <-begun; got != "good" {
				t.Errorf("work on %s begun", got)
			}
			// The run with the unreadable manifest is halted as an error; the one with the
			// unreadable halt stays halted.
			halt, err := runs.Await(t.Context(), w.b, contract.RunID("manifest").HaltKey(), func(contract.Halt) bool { return true })
			if err != nil || halt.Status != contract.Errored || !strings.Contains(halt.Reason, "manifest.manifest") {
				t.Errorf("halt %+v, %v", halt, err)
			}
			done := make(chan error, 1)
			go func() { done <- stop() }()
			if cause := <-ended; !errors.Is(cause, context.Canceled) {
				t.Error(cause)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			known, err := runs.Manifests(t.Context(), w.b)
			if err != nil || len(known) != 3 {
				t.Errorf("%d manifests, %v; want those of 3 runs", len(known), err)
			}
			if _, err := runs.Reclaim(t.Context(), w.b, known[0].CreatedAt); err != nil {
				t.Errorf("reclaiming: %v", err)
			}
		})
	}
}

func TestDecodeHalt_Unreadable(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for name, value := range unreadableValues() {
		key := contract.RunID("a").HaltKey()
		if _, err := w.kv.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		entry, err := w.kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if halt := runs.DecodeHalt(entry); halt.Status != contract.Stopped || !halt.At.Equal(entry.Created()) || !strings.Contains(halt.Reason, key) {
			t.Errorf("%s: %+v", name, halt)
		}
	}
}

func TestEachOutcome_Unreadable(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	kv, err := w.b.KV(t.Context(), contract.BucketCollected)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range unreadableValues() {
		if _, err := kv.Put(t.Context(), "IMM.25.7", []byte(value)); err != nil {
			t.Fatal(err)
		}
		err = runs.EachOutcome(t.Context(), w.b, contract.BucketCollected, "sim", "IMM", "25", func(int, contract.Collected) {})
		if !errors.Is(err, runs.ErrUnreadable) || !strings.Contains(err.Error(), "IMM.25.7") {
			t.Errorf("%s: %v", name, err)
		}
		if err := runs.EachOutcome(t.Context(), w.b, contract.BucketCollected, "sim", "IMM", "24", func(int, contract.Collected) {}); err != nil {
			t.Errorf("%s: another year: %v", name, err)
		}
	}
}

// What a service reads after another one is what the bucket holds, whatever was added, replaced, deleted or purged since.
func TestReadOutcomes_Changes(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	kv, err := w.b.KV(t.Context(), contract.BucketCollected)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	success := contract.Collected{Outcome: contract.Success, Site: "sim", RunID: "a", At: at, FiledOn: "2025-01-02", Size: 77}
	absent := contract.Collected{Outcome: contract.NoRecord, RunID: "b", At: at.Add(time.Hour)}
	foreign := contract.Collected{Outcome: contract.Success, Site: "another", RunID: "c"}
	put := func(key string, value contract.Collected) func() error {
		return func() error { return runs.Put(t.Context(), kv, key, value) }
	}
	want := map[int]contract.Collected{}
	var before *runs.Outcomes
	for _, step := range []struct {
		name   string
		change func() error
		apply  func()
	}{
		{"nothing", func() error { return nil }, func() {}},
		{"added", put("IMM.25.7", success), func() { want[7] = success }},
		{"nothing new", func() error { return nil }, func() {}},
		{"added below", put("IMM.25.3", absent), func() { want[3] = absent }},
		{"of another year", put("IMM.24.4", success), func() {}},
		{"of another site", put("IMM.25.5", foreign), func() {}},
		{"replaced", put("IMM.25.7", absent), func() { want[7] = absent }},
		{"highest possible", put("IMM.25.99999", success), func() { want[99999] = success }},
		{"replaced by another site", put("IMM.25.3", foreign), func() { delete(want, 3) }},
		{"deleted", func() error { return kv.Delete(t.Context(), "IMM.25.7") }, func() { delete(want, 7) }},
		{"added again", put("IMM.25.7", success), func() { want[7] = success }},
		{"purged", func() error {
			stream, err := w.b.JetStream().Stream(t.Context(), "KV_"+contract.BucketCollected)
			if err != nil {
				return err
			}
			return stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.collected.IMM.25.99999"))
		}, func() { delete(want, 99999) }},
		{"unreadable", func() error { _, err := kv.Put(t.Context(), "IMM.25.8", []byte("?")); return err }, func() {}},
		{"readable again", put("IMM.25.8", absent), func() { want[8] = absent }},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		kept := maps.Clone(want)
		step.apply()
		got, err := runs.ReadOutcomes(t.Context(), w.b, contract.BucketCollected, "sim", "IMM", "25")
		if (step.name == "unreadable") != errors.Is(err, runs.ErrUnreadable) {
			t.Errorf("%s: %v", step.name, err)
		}
		if err != nil {
			continue
		}
		if diff := cmp.Diff(want, maps.Collect(got.All())); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		if diff := cmp.Diff(kept, maps.Collect(before.All())); diff != "" {
			t.Errorf("%s: what was read before has changed: %s", step.name, diff)
		}
		before = got
	}
}

// The second service that needs the keys of a year does not read them again.
func TestReadOutcomes_Shared(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	kv, err := w.b.KV(t.Context(), contract.BucketCollected)
	if err != nil {
		t.Fatal(err)
	}
	for number := 1; number <= 20; number++ {
		err := runs.Put(t.Context(), kv, fmt.Sprintf("IMM.25.%d", number), contract.Collected{Outcome: contract.Success, RunID: "a"})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func() uint64 {
		before := w.b.Conn().Stats().InMsgs
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				got, err := runs.ReadOutcomes(t.Context(), w.b, contract.BucketCollected, "sim", "IMM", "25")
				if err != nil || got.Highest() != 20 {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		readers.Wait()
		return w.b.Conn().Stats().InMsgs - before
	}
	if messages := read(); messages < 20 || messages >= 40 {
		t.Errorf("four readers of 20 keys received %d messages", messages)
	}
	if messages := read(); messages >= 20 {
		t.Errorf("four later readers received %d messages", messages)
	}
}

func TestFollow_WorkMeetsUnreadableKey(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.addRun("bad", contract.Running)
	ctx, cancel := context.WithCancel(t.Context())
	err := runs.Follow(ctx, w.b, func(ctx context.Context, m contract.Manifest) error {
		if m.RunID == "bad" {
			_, err := runs.Decode[contract.Collected]("IMM.25.7", []byte("?"))
			w.addRun("good", contract.Running)
			return err
		}
		halt, err := runs.Await(ctx, w.b, contract.RunID("bad").HaltKey(), func(contract.Halt) bool { return true })
		if err != nil || halt.Status != contract.Errored || !strings.Contains(halt.Reason, "IMM.25.7") {
			t.Errorf("halt %+v, %v", halt, err)
		}
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A replicated bucket refuses some of the writes that come at once with a code of its own.
func TestIsConflict_EachWrite(t *testing.T) {
	t.Parallel()
	buses := map[string]*bus.Bus{"one server": fcttest.Broker(t)}
	if fcttest.Soak() { // its servers take 6 s to elect their leaders
		_, buses["cluster"] = fcttest.Cluster(t, bus.Options{})
	}
	for name, b := range buses {
		kv, err := b.KV(t.Context(), contract.BucketRuns)
		if err != nil {
			t.Fatal(err)
		}
		put := func(revision uint64) (uint64, error) {
			return runs.PutAt(t.Context(), kv, "a.state", contract.State{Status: contract.Running}, revision)
		}
		revision, err := put(0)
		if err != nil {
			t.Fatal(err)
		}
		_, created := put(0)
		_, updated := put(revision + 1)
		deleted := kv.Delete(t.Context(), "a.state", jetstream.LastRevision(revision+1))
		for what, err := range map[string]error{"create": created, "update": updated, "delete": deleted} {
			if !runs.IsConflict(err) {
				t.Errorf("%s: %s: %v is no conflict", name, what, err)
			}
		}
		if again, err := put(revision); err != nil || again <= revision {
			t.Errorf("%s: revision %d after %d, %v", name, again, revision, err)
		}
		if _, revision, err = runs.Read[contract.State](t.Context(), kv, "a.state"); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		for range 16 {
			go func() {
				_, err := put(revision)
				errs <- err
			}()
		}
		won := 0
		for range 16 {
			if err := <-errs; err == nil {
				won++
			} else if !runs.IsConflict(err) {
				t.Errorf("%s: of writes at once: %v is no conflict", name, err)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d of the writes at once succeeded, want one", name, won)
		}
		if err := kv.Delete(t.Context(), "a.state"); err != nil {
			t.Fatal(err)
		}
		if _, err := put(0); err != nil {
			t.Errorf("%s: a deleted key was not created: %v", name, err)
		}
	}
	if runs.IsConflict(nil) || runs.IsConflict(jetstream.ErrKeyNotFound) {
		t.Error("no error, or a missing key, is a conflict")
	}
}

func TestUpdate_AnotherWriterWasFirst(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	var seen []string
	written, err := runs.Update(t.Context(), w.kv, "a.state", func(state contract.State, err error) (contract.State, bool, error) {
		switch seen = append(seen, string(state.Status)); len(seen) {
		case 1:
			if !errors.Is(err, jetstream.ErrKeyNotFound) {
				t.Errorf("%v, want ErrKeyNotFound", err)
			}
			w.put("a.state", contract.State{Status: contract.Running})
		case 2:
			w.put("a.state", []int{1})
		case 3:
			if !errors.Is(err, runs.ErrUnreadable) {
				t.Errorf("%v, want ErrUnreadable", err)
			}
		}
		return contract.State{Status: contract.Stopped}, true, nil
	})
	if err != nil || !written || len(seen) != 3 || seen[1] != string(contract.Running) {
		t.Errorf("written %t, %v after %q", written, err, seen)
	}
	if state, err := runs.Get[contract.State](t.Context(), w.kv, "a.state"); err != nil || state.Status != contract.Stopped {
		t.Errorf("%+v, %v", state, err)
	}
	broken := errors.New("broken")
	for _, cause := range []error{nil, broken} {
		written, err = runs.Update(t.Context(), w.kv, "a.state", func(contract.State, error) (contract.State, bool, error) {
			return contract.State{}, false, cause
		})
		if written || !errors.Is(err, cause) {
			t.Errorf("written %t, %v, want %v", written, err, cause)
		}
	}
}
