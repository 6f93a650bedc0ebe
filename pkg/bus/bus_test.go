package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	fcttest.RareGC()
	fcttest.MostlyWait()
	goleak.VerifyTestMain(m)
}

func jobs(run contract.RunID, from, to int) []*nats.Msg {
	var msgs []*nats.Msg
	for n := from; n <= to; n++ {
		msgs = append(msgs, nats.NewMsg(run.JobSubject(n)))
	}
	return msgs
}

func storedCount(t *testing.T, b *bus.Bus, stream string) uint64 {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestPublish_SubjectTaken(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for i, want := range []error{nil, bus.ErrExists} {
		_, err := b.Publish(t.Context(), nats.NewMsg("job.run.7"))
		if !errors.Is(err, want) {
			t.Errorf("publish %d: %v, want %v", i, err, want)
		}
	}
}

func TestPublishBatch_AllOrNone(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	if err := b.PublishBatch(t.Context(), jobs("run", 1, 2500)); err != nil {
		t.Fatal(err)
	}
	if got := storedCount(t, b, contract.StreamJobs); got != 2500 {
		t.Fatalf("%d stored, want 2500", got)
	}
	if err := b.PublishBatch(t.Context(), jobs("run", 2491, 2510)); !errors.Is(err, bus.ErrExists) {
		t.Errorf("ten known, ten new: %v, want ErrExists", err)
	}
	if got := storedCount(t, b, contract.StreamJobs); got != 2500 {
		t.Errorf("%d stored after a refused batch, want 2500", got)
	}
	if err := b.PublishBatch(t.Context(), jobs("run", 2501, 2503)); err != nil {
		t.Error(err)
	}
	if got := storedCount(t, b, contract.StreamJobs); got != 2503 {
		t.Errorf("%d stored after a small batch, want 2503", got)
	}
}

func TestPublish_ThirdWithoutAnswerIsErrStore(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		quick, err := bus.New(fcttest.Broker(t).Conn(), fcttest.Logger(t), bus.Options{PublishTimeout: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		// A subscriber that never replies, like a stuck stream.
		silent, err := quick.Conn().SubscribeSync("batch.silent")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Unsubscribe() }()
		for i := 1; i <= 4; i++ {
			if _, err := quick.Publish(t.Context(), jobs("run", i, i)[0]); err != nil { // another stream's replies do not count for this one
				t.Fatal(err)
			}
			_, err := quick.Publish(t.Context(), nats.NewMsg("batch.silent"))
			if err == nil || errors.Is(err, bus.ErrStore) != (i >= 3) {
				t.Errorf("publish %d: %v", i, err)
			}
		}
		if _, err := quick.Publish(t.Context(), nats.NewMsg("batch.event.run.started")); err != nil {
			t.Fatal(err)
		}
		if _, err := quick.Publish(t.Context(), nats.NewMsg("batch.silent")); err == nil || errors.Is(err, bus.ErrStore) {
			t.Errorf("a reply resets the count: %v", err)
		}
	})
}

func TestGroupCommit_EachItemOnceOneCommitAtATime(t *testing.T) {
	t.Parallel()
	var running, commits atomic.Int32
	seen := make(map[int]int) // commit is never called by two at once, so it needs no lock
	committer := bus.NewGroupCommit(64, func(int) int { return 1 }, func(_ context.Context, items []int) error {
		if running.Add(1) != 1 {
			t.Error("two commits at a time")
		}
		defer running.Add(-1)
		if len(items) == 0 || len(items) > 64 {
			t.Errorf("a commit of %d items", len(items))
		}
		commits.Add(1)
		for _, item := range items {
			seen[item]++
		}
		return nil
	})
	var workers sync.WaitGroup
	for worker := range 32 {
		workers.Go(func() {
			for i := range 200 {
				if err := committer.Do(t.Context(), worker*200+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	if len(seen) != 32*200 {
		t.Errorf("%d items committed, want %d", len(seen), 32*200)
	}
	for item, times := range seen {
		if times != 1 {
			t.Errorf("item %d committed %d times", item, times)
		}
	}
}

func TestGroupCommit_WaitsForExpected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const commit = 4 * time.Millisecond
		var sizes []int
		var expected atomic.Int64
		committer := bus.NewGroupCommit(64, func(int) int { return 1 }, func(_ context.Context, items []int) error {
			sizes = append(sizes, len(items))
			time.Sleep(commit)
			return nil
		})
		committer.Expect(func() int { return int(expected.Load()) })
		do := func(item int) time.Duration {
			began := time.Now()
			if err := committer.Do(t.Context(), item); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if took := do(0); took != commit { // nothing is expected
			t.Errorf("a lone item took %s, want %s", took, commit)
		}
		expected.Store(3)
		if took := do(1); took != 3*commit { // nothing comes
			t.Errorf("an item for which no others came took %s, want %s", took, 3*commit)
		}
		var items sync.WaitGroup
		for item := range 3 {
			items.Go(func() {
				time.Sleep(time.Duration(item) * time.Millisecond)
				if took, want := do(item), commit+time.Duration(2-item)*time.Millisecond; took != want {
					t.Errorf("item %d took %s, want %s", item, took, want)
				}
			})
		}
		items.Wait()
		if want := []int{1, 1, 3}; !slices.Equal(sizes, want) {
			t.Errorf("commits of %v items, want %v", sizes, want)
		}
	})
}

func TestGroupCommit_ErrorsAndPanics(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	committer := bus.NewGroupCommit(2, func(int) int { return 1 }, func(_ context.Context, items []int) error {
		if items[0] < 0 {
			panic(fmt.Sprint("item ", items[0]))
		}
		return broken
	})
	if err := committer.Do(t.Context(), 1); !errors.Is(err, broken) {
		t.Errorf("%v, want the commit's error", err)
	}
	if err := committer.Do(t.Context(), -1); err == nil {
		t.Error("a panic was taken for a commit")
	}
	if err := committer.Do(t.Context(), 2); !errors.Is(err, broken) {
		t.Errorf("after a panic: %v", err)
	}
}

func TestGroupCommit_ItemAboveMaxSize(t *testing.T) {
	t.Parallel()
	committer := bus.NewGroupCommit(10, func(n int) int { return n }, func(_ context.Context, items []int) error {
		if len(items) != 1 {
			t.Errorf("%d items beyond the limit", len(items))
		}
		return nil
	})
	if err := committer.Do(t.Context(), 1000); err != nil {
		t.Error(err)
	}
}
