package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

// worker follows one run from its checkpoint to its end.
type worker struct {
	*Service
	manifest contract.Manifest
	// lease is the right to report the run; nil when there is no other reporter.
	lease  *runLease
	ledger ledger.Reader
	buckets
	tally              fold.Tally
	revision           uint64 // of the checkpoint; 0 while there is none
	attemptsFile       *store.Appender
	releaseClaim       func() error // releases the claim on the files of the series and year; nil while there is none
	streak             fold.Streak
	collectedElsewhere fold.Outcomes // outcomes of numbers that this run skips because other runs collected them
	failedKeys         map[int]bool  // numbers with a key in the bucket failed
	halt               *contract.Halt
	deadline           time.Time // of the halt
	haltWritten        bool      // this worker has written the halt of a safe stop
	saved              bool      // this worker has written a checkpoint
	haltCheckedAt      time.Time
	reportedAttempts   int            // attempts counted at the last progress event
	waitCheckedAt      time.Time      // time of the last progress, or of the last check for the reason of a wait
	reportedWait       *contract.Wait // of the last waiting event
	canary             canaryState
	canaryRequests     sync.WaitGroup // the canary in flight
	stopwatch          *stopwatch
	results            []contract.CrawlResult // the numbers that failed, once the run is verified
	// fetcherRenewals tracks whether the run's fetchers still renew their presence.
	fetcherRenewals *lease.Renewals
	// restored is set once missing records were written again; it outlives the worker, which may be
	// replaced while the run is being reported.
	restored *bool
	// newestCollected are the newest cases of this year that earlier runs collected.
	newestCollected newestCases
}

// buckets are the key-value buckets that the reporter uses.
type buckets struct {
	runs, collected, failed, fetchers jetstream.KeyValue
}

// haltInterval is the interval of the checks of a halted run, progressInterval the smallest
// interval of progress events.
const (
	haltInterval     = 50 * time.Millisecond
	progressInterval = time.Second
	// waitInterval is the interval of the checks why a run makes no progress.
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

// run works until the run has ended (nil), the context ends, or an error occurs.
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
	ready := make(chan ledger.Message, prefetch)
	var reader sync.WaitGroup
	reader.Go(func() {
		cancel(w.ledger.Follow(ctx, w.tally.Sequence, func(m ledger.Message) error {
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
		return cause // the reader's error is the cause
	}
	return err
}

// loop folds messages as they arrive and ends the run when it is complete or halted.
func (w *worker) loop(ctx context.Context, ready <-chan ledger.Message, halts keyWatch) error {
	progressTick := time.NewTicker(progressInterval)
	defer progressTick.Stop()
	haltTick := time.NewTicker(haltInterval)
	defer haltTick.Stop()
	if w.tally.SafeStop != "" { // its halt was deleted if the run was resumed
		if err := w.safeStop(ctx); err != nil {
			return err
		}
	}
	for {
		if done, err := w.endIfDue(ctx); done || err != nil {
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

// prefetch bounds how many messages wait in memory to be folded: a pack has up to four megabytes.
const prefetch = 16

// maxBatchBytes bounds how many bytes of packs are folded, and so held in memory, at once.
const maxBatchBytes = 8 << 20

// collectBatch appends the messages that are ready now, without waiting.
func collectBatch(first ledger.Message, ready <-chan ledger.Message) []ledger.Message {
	batch := []ledger.Message{first}
	for size := first.Size; size < maxBatchBytes && len(batch) < 4*prefetch; {
		select {
		case m := <-ready:
			batch = append(batch, m)
			size += m.Size
		default:
			return batch
		}
	}
	return batch
}

func (w *worker) readHalt(entry jetstream.KeyValueEntry) {
	w.halt, w.canary.ending, w.canary.givenUp = nil, false, false
	if entry.Operation() != jetstream.KeyValuePut {
		return // deleted: the run resumes
	}
	halt := runs.DecodeHalt(entry)
	w.halt, w.deadline = &halt, w.deadlineOf(halt)
}
