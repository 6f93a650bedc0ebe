// Package runs follows the runs that are being worked on, and reads and writes their keys in the
// bucket runs.
package runs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrEnded is the cause of the cancelled work on a run that ended without a halt.
var ErrEnded = errors.New("run has ended")

// Work is a service's work for one round of a run. Its context ends, with Halted or ErrEnded as the
// cause, when nothing new may begin for the run.
type Work func(ctx context.Context, manifest contract.Manifest) error

// Follow calls work for every run that is running, now and later, once for each round. It returns
// nil when ctx has ended and all work has returned, or the first error of any work.
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

// workFailure is the cause of a follower's end that its caller did not ask for.
type workFailure struct{ error }

func (f workFailure) Unwrap() error { return f.error }

type follower struct {
	kv   jetstream.KeyValue
	work Work
	fail context.CancelCauseFunc
	runs map[contract.RunID]*runState
	// ready: the initial entries of the bucket were read. A run's halt may come after its state.
	ready bool
}

// runState is what is known of one run. runningRevision is the revision of a running state, 0 if it
// is not running; startedRevision is the one for which work was started.
type runState struct {
	runningRevision uint64
	startedRevision uint64
	halt            *contract.Halt
	cancel          context.CancelCauseFunc
	done            chan struct{}
}

// workError is the error of work that failed; the end of the caller's context is none. The kind of
// the error does not distinguish the two: a publish fails with context.DeadlineExceeded while a
// cluster has no leader. Taking that for the caller's end once stopped a fetcher for good without
// an error.
func workError(ctx context.Context) error {
	if failed, is := errors.AsType[workFailure](context.Cause(ctx)); is {
		return failed.error
	}
	return nil
}

func (f *follower) apply(ctx context.Context, entry jetstream.KeyValueEntry) error {
	if entry == nil { // the end of the initial entries
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

// apply records one entry of the bucket. A run with an unreadable state is not worked on; the
// reporter ends it.
func (l *runState) apply(kind string, entry jetstream.KeyValueEntry) {
	exists := entry.Operation() == jetstream.KeyValuePut
	if kind == "halt" {
		l.halt = nil
		if exists {
			halt := DecodeHalt(entry)
			l.halt = &halt
		}
		return
	}
	l.runningRevision = 0
	if !exists {
		return
	}
	state, err := Decode[contract.State](entry.Key(), entry.Value())
	if err == nil && state.Status == contract.Running {
		l.runningRevision = entry.Revision()
	}
}

// update starts or cancels the work on a run as its state requires.
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

// start begins the work on a round once the work on the previous round has returned.
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

// haltUnreadable halts a run with an unreadable key and leaves the others alone. Every service
// obeys the halt, and the reporter ends the run.
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
