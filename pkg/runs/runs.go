// Package runs follows which runs are being worked on, from the bucket that keeps their states.
package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrEnded is why the work on a run is cancelled that has ended in another way than by a halt.
var ErrEnded = errors.New("run has ended")

// Halted is why the work on a run is cancelled that everybody was asked to stop working on.
type Halted struct{ contract.Halt }

// Error says why the run was halted.
func (h Halted) Error() string { return fmt.Sprintf("run halted (%s): %s", h.Status, h.Reason) }

// Work is what a service does for one run. Its context ends, with Halted or ErrEnded as the cause, when nothing new
// is to be begun for the run.
type Work func(ctx context.Context, manifest contract.Manifest) error

// Follow calls work for every run that is running, now and later, once for each round of a run. It returns when ctx
// ends and all work has returned, which is no error, or with the first error of any work.
func Follow(ctx context.Context, b *bus.Bus, work Work) error {
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &follower{kv: kv, work: work, fail: cancel, runs: make(map[contract.RunID]*runState)}
	defer f.wait()
	err = b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*.state", "*.halt"}}, func(entry jetstream.KeyValueEntry) error {
		return f.apply(ctx, entry)
	})
	if ctx.Err() != nil {
		return workError(ctx)
	}
	err = fmt.Errorf("watching the runs: %w", err)
	cancel(err)
	return err
}

// workFailure is why Each ends although its caller wants it to go on.
type workFailure struct{ error }

func (f workFailure) Unwrap() error { return f.error }

type follower struct {
	kv   jetstream.KeyValue
	work Work
	fail context.CancelCauseFunc
	runs map[contract.RunID]*runState
	// ready says that what was in the bucket at the start has been read: a run's halt may come after its state.
	ready bool
}

// runState is what is known of one run. begun is the revision of the state that the work was begun for.
type runState struct {
	runningRevision uint64
	startedRevision uint64
	halt            *contract.Halt
	cancel          context.CancelCauseFunc
	done            chan struct{}
}

// workError is the error of work that failed; the caller's own end is none. Which of the two it was is not to be read from the kind of
// the error: what is published while a cluster has no leader fails with context.DeadlineExceeded, which was taken for the caller's own
// end, and a fetcher stood still for good, without a word.
func workError(ctx context.Context) error {
	if failed, is := errors.AsType[workFailure](context.Cause(ctx)); is {
		return failed.error
	}
	return nil
}

func (f *follower) apply(ctx context.Context, entry jetstream.KeyValueEntry) error {
	if entry == nil { // the end of what was there at the start
		f.ready = true
		for run, l := range f.runs {
			f.update(ctx, run, l)
		}
		return nil
	}
	name, kind, _ := strings.Cut(entry.Key(), ".")
	run, err := contract.ParseRunID(name)
	if err != nil {
		return nil // not written by this program
	}
	l := f.runs[run]
	if l == nil {
		l = &runState{}
		f.runs[run] = l
	}
	l.apply(kind, entry)
	f.update(ctx, run, l)
	return nil
}

// apply takes one entry of the bucket in. A run whose state cannot be read is not worked on; the reporter ends it.
func (l *runState) apply(kind string, entry jetstream.KeyValueEntry) {
	there := entry.Operation() == jetstream.KeyValuePut
	if kind == "halt" {
		l.halt = nil
		if there {
			halt := DecodeHalt(entry)
			l.halt = &halt
		}
		return
	}
	l.runningRevision = 0
	if !there {
		return
	}
	state, err := Decode[contract.State](entry.Key(), entry.Value())
	if err == nil && state.Status == contract.Running {
		l.runningRevision = entry.Revision()
	}
}

// update begins or ends the work on a run by what is known of it.
func (f *follower) update(ctx context.Context, run contract.RunID, l *runState) {
	switch {
	case !f.ready:
	case l.runningRevision == 0 && l.cancel != nil:
		l.cancel(ErrEnded)
	case l.halt != nil && l.cancel != nil:
		l.cancel(Halted{*l.halt})
	case l.runningRevision > l.startedRevision && l.halt == nil:
		l.startedRevision = l.runningRevision
		f.start(ctx, run, l)
	}
}

// start starts the work on a round after the work on the round before has returned.
func (f *follower) start(ctx context.Context, run contract.RunID, l *runState) {
	before, done := l.done, make(chan struct{})
	ctx, cancel := context.WithCancelCause(ctx)
	l.cancel, l.done = cancel, done
	go func() {
		defer close(done)
		defer cancel(nil)
		if before != nil {
			<-before
		}
		manifest, err := Manifest(ctx, f.kv, run)
		if err == nil && ctx.Err() == nil {
			err = f.work(ctx, manifest)
		}
		if errors.Is(err, ErrUnreadable) && ctx.Err() == nil {
			err = f.haltUnreadable(ctx, run, err)
		}
		if err != nil && ctx.Err() == nil {
			f.fail(workFailure{fmt.Errorf("working on run %s: %w", run, err)})
		}
	}()
}

// haltUnreadable ends a run of which a key cannot be read, and leaves the others alone: everybody obeys the halt, and the reporter
// writes how the run ended.
func (f *follower) haltUnreadable(ctx context.Context, run contract.RunID, reason error) error {
	return Halt(ctx, f.kv, run, contract.Halt{Status: contract.Errored, Reason: reason.Error(), At: time.Now().UTC()})
}

func (f *follower) wait() {
	for _, l := range f.runs {
		if l.done != nil {
			<-l.done
		}
	}
}

// Manifest reads what a run is. A run that does not exist is jetstream.ErrKeyNotFound.
func Manifest(ctx context.Context, kv jetstream.KeyValue, run contract.RunID) (contract.Manifest, error) {
	return Get[contract.Manifest](ctx, kv, run.ManifestKey())
}

// IDs are the ids of all runs, in no order.
func IDs(ctx context.Context, b *bus.Bus) ([]contract.RunID, error) {
	return idsWithKey(ctx, b, ".manifest")
}

// Manifests are those of all runs that this program can read, in no order. A run that it cannot read is no batch of its.
func Manifests(ctx context.Context, b *bus.Bus) (manifests []contract.Manifest, err error) {
	err = b.Scan(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*.manifest"}}, func(entry jetstream.KeyValueEntry) error {
		manifest, err := Decode[contract.Manifest](entry.Key(), entry.Value())
		if err == nil {
			manifests = append(manifests, manifest)
		}
		return nil
	})
	return manifests, err
}

// idsWithKey are the runs of which the bucket has a key with that end.
func idsWithKey(ctx context.Context, b *bus.Bus, end string) (found []contract.RunID, err error) {
	err = b.Scan(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*" + end}}, func(entry jetstream.KeyValueEntry) error {
		found = append(found, contract.RunID(strings.TrimSuffix(entry.Key(), end))) // keys of another form are left out
		return nil
	})
	return found, err
}

// Get reads the JSON value of a key. A key that does not exist is jetstream.ErrKeyNotFound, one that cannot be read
// ErrUnreadable.
func Get[T any](ctx context.Context, kv jetstream.KeyValue, key string) (T, error) {
	var value T
	entry, err := kv.Get(ctx, key)
	if err != nil {
		return value, fmt.Errorf("reading %s: %w", key, err)
	}
	return Decode[T](key, entry.Value())
}

// Halt asks everybody to stop working on a run, unless somebody has asked before, which is no error.
func Halt(ctx context.Context, kv jetstream.KeyValue, run contract.RunID, halt contract.Halt) error {
	value, err := json.Marshal(halt)
	if err != nil {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	if _, err := kv.Create(ctx, run.HaltKey(), value); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	return nil
}
