package runs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
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
