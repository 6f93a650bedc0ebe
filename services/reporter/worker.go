package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go/jetstream"
)

// worker follows one run from its checkpoint to its end.
type worker struct {
	*Service
	manifest contract.Manifest
	// lease is the right to report the run; nil when there is no other reporter.
	lease  *lease
	ledger ledger
	buckets
	tally              tally
	revision           uint64 // of the checkpoint; 0 while there is none
	attemptsFile       *store.Appender
	releaseClaim       func() error // ends the claim on the files of the series and year; nil while there is none
	streak             streak
	collectedElsewhere outcomes     // numbers that other runs collected, so that this one does not ask
	failedKeys         map[int]bool // numbers with a key in the bucket failed
	halt               *contract.Halt
	deadline           time.Time // of the halt
	haltWritten        bool      // this worker has asked for a safe stop
	saved              bool      // this worker has written a checkpoint
	haltCheckedAt      time.Time
	reportedAttempts   int            // entries counted when progress was told last
	waitCheckedAt      time.Time      // when it was last looked why there is no progress, or there was some
	reportedWait       *contract.Wait // what was told last
	canary             canaryState
	canaryRequests     sync.WaitGroup // the canary under way
	stopwatch          *stopwatch
	results            []contract.CrawlResult // the numbers that failed, once the run is verified
	// fetcherRenewals are those of the run that are not renewed any more.
	fetcherRenewals renewals
	// restored says that missing records were written again since the work on the run began.
	restored *bool
	// newestCollected are files that earlier work has collected of this year.
	newestCollected newestCases
}

// buckets are the key-value stores that a run touches.
type buckets struct {
	runs, collected, failed, fetchers jetstream.KeyValue
}

// The worker looks at a halted run this often, and tells progress at most this often.
const (
	haltInterval     = 50 * time.Millisecond
	progressInterval = time.Second
	// waitInterval is how often it is looked why a run makes no progress.
	waitInterval = 5 * time.Second
)

func openBuckets(ctx context.Context, broker *bus.Bus) (b buckets, err error) {
	for name, bucket := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &b.runs, contract.BucketCollected: &b.collected,
		contract.BucketFailed: &b.failed, contract.BucketFetchers: &b.fetchers,
	} {
		if *bucket, err = broker.KV(ctx, name); err != nil {
			return buckets{}, fmt.Errorf("opening the bucket %s: %w", name, err)
		}
	}
	return b, nil
}

// run works until the run has ended (nil), the context ends, or something is wrong.
func (w *worker) run(ctx context.Context, run contract.RunID) error {
	defer func() {
		if w.releaseClaim != nil {
			_ = w.releaseClaim()
		}
	}()
	if err := w.load(ctx, run); err != nil {
		return err
	}
	defer func() { _ = w.attemptsFile.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	halts := watchKeys(ctx, w.Bus, run.HaltKey())
	defer halts.end()
	ready := make(chan message, prefetch)
	var reader sync.WaitGroup
	reader.Go(func() {
		cancel(w.ledger.read(ctx, w.tally.Sequence, func(m message) error {
			select {
			case ready <- m:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}))
	})
	defer reader.Wait()
	defer w.canaryRequests.Wait()
	defer cancel(nil)
	err := w.loop(ctx, ready, halts)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause // what made the reader stop says more
	}
	return err
}

// loop folds what comes and ends the run when it is time.
func (w *worker) loop(ctx context.Context, ready <-chan message, halts keyWatch) error {
	progressTick := time.NewTicker(progressInterval)
	defer progressTick.Stop()
	haltTick := time.NewTicker(haltInterval)
	defer haltTick.Stop()
	if w.tally.SafeStop != "" { // its halt was taken back if the run was started again
		if err := w.safeStop(ctx); err != nil {
			return err
		}
	}
	for {
		if done, err := w.maybeEnd(ctx); done || err != nil {
			return err
		}
		if err := w.maybeStartCanary(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-ready:
			if err := w.apply(ctx, collectBatch(m, ready)); err != nil {
				return err
			}
		case err := <-halts.ended:
			return fmt.Errorf("watching for a halt of %s: %w", w.manifest.RunID, err)
		case entry := <-halts.entries:
			w.readHalt(entry)
		case reply := <-w.canary.reply:
			w.onCanaryReply(reply)
		case <-haltTick.C:
		case <-progressTick.C:
			if err := w.readOverlapKeys(ctx); err != nil {
				return err
			}
			w.publishProgress(ctx)
		}
	}
}

// maxBatchBytes bounds how many bytes of packs are folded, and so held in memory, at once.
const maxBatchBytes = 8 << 20

// collectBatch takes what is ready now and waits for nothing.
func collectBatch(first message, ready <-chan message) []message {
	batch := []message{first}
	for size := first.size; size < maxBatchBytes && len(batch) < 4*prefetch; {
		select {
		case m := <-ready:
			batch = append(batch, m)
			size += m.size
		default:
			return batch
		}
	}
	return batch
}

func (w *worker) readHalt(entry jetstream.KeyValueEntry) {
	w.halt, w.canary.ending, w.canary.givenUp = nil, false, false
	if entry.Operation() != jetstream.KeyValuePut {
		return // taken back: the run goes on
	}
	halt := runs.DecodeHalt(entry)
	w.halt, w.deadline = &halt, w.deadlineOf(halt)
}
