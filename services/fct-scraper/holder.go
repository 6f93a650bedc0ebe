package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

const (
	// holderSubject is where the process that holds a store says what it does with it.
	holderSubject = "fct.holder.state"
	// holderTimeout is how long it may take to answer.
	holderTimeout = 2 * time.Second
	// storePollInterval is how often a batch looks whether the store is free.
	storePollInterval = 250 * time.Millisecond
)

// holderState is what the process that holds a store does with it.
type holderState struct {
	PID int `json:"pid"`
	// Serves says that it is `serve --embedded`: other processes may work over its server too.
	Serves bool `json:"serves"`
	// Batch is what its batch is (see batchKey), RunID its run; both are empty when it has none, or none yet.
	Batch string         `json:"batch,omitempty"`
	RunID contract.RunID `json:"run_id,omitempty"`
}

// batchKey is the same for two batches that do the same work into the same files: one of them is enough. How fast the site is
// asked is not part of it.
func batchKey(c config.Config, options batchOptions) (string, error) {
	output, err := filepath.Abs(c.Output)
	if err != nil {
		return "", fmt.Errorf("%w: output: %w", errUsage, err)
	}
	key, err := json.Marshal(struct {
		Site, BaseURL, Output    string
		Parties, Unblock, Repair bool
		Spec                     contract.RunSpec
	}{c.Site, c.BaseURL, output, c.Parties, options.unblock, options.repair, runSpec(c, options)})
	return string(key), err
}

// serveHolderState answers processes beside this one, which holds the store, as long as the connection lasts.
func (b *broker) serveHolderState(now func() holderState) error {
	if b.server == nil {
		return nil
	}
	_, err := b.Conn().Subscribe(holderSubject, func(msg *nats.Msg) {
		h := now()
		h.PID = os.Getpid()
		if answer, err := json.Marshal(h); err == nil {
			_ = msg.Respond(answer) // who went away misses nothing
		}
	})
	if err != nil {
		return fmt.Errorf("%w: answering other processes: %w", errBroker, err)
	}
	return nil
}

// requestHolderState asks the process that holds the store what it does. One that only looks into it does not answer.
func (b *broker) requestHolderState(ctx context.Context) (h holderState, err error) {
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	msg, err := b.Conn().RequestWithContext(ctx, holderSubject, nil)
	if err == nil {
		err = json.Unmarshal(msg.Data, &h)
	}
	return h, err
}

// storeAcquirer is how a batch comes to its store. When another process holds it, an equal batch there is followed to its end, and a
// different one waited for.
type storeAcquirer struct {
	settings *config.Settings
	options  batchOptions
	signals  *signals
	display  *progressDisplay
	log      *slog.Logger
	// key is what the batch is, run the run of the equal batch that was found; empty before.
	key string
	run contract.RunID
	// logged says that it was told who is waited for.
	logged bool
}

// acquire returns the broker to run the batch over, or, without one, how the run of an equal batch ended. When its holder is killed
// the batch takes the store over and goes on with that run. A signal is an interrupted error; the other process goes on.
func (a *storeAcquirer) acquire(ctx context.Context) (*broker, runResult, error) {
	key, err := batchKey(a.settings.Config, a.options)
	if err != nil {
		return nil, runResult{}, err
	}
	a.key = key
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-a.signals.firstReceived:
			cancel(waitInterrupted{a.signals.exitCode(), a.signals.name()})
		case <-waiting.Done():
		}
	}()
	for {
		b, err := openBroker(ctx, a.settings.Config, connectOptions{repair: a.options.repair}, a.log)
		if err == nil {
			var run runResult
			mine, over, failed := a.inspect(waiting, b, &run)
			if mine {
				return b, run, nil
			}
			if err = errors.Join(b.markHolderEnded(failed), b.close()); over {
				return nil, run, err
			}
		}
		if signal, is := errors.AsType[waitInterrupted](context.Cause(waiting)); is {
			return nil, runResult{id: a.run}, signal
		}
		if err != nil && !errors.Is(err, errHolderEnded) {
			return nil, runResult{}, err
		}
		_ = delay.Sleep(waiting, storePollInterval) // a signal is noticed above
	}
}

// inspect says whether the batch runs over the broker, or else whether the run of an equal one is over, which run is then.
func (a *storeAcquirer) inspect(ctx context.Context, b *broker, run *runResult) (mine, over bool, err error) {
	if a.run != "" {
		if over, err = b.finishedRun(ctx, a.run, run); over || err != nil {
			return false, over, err
		}
	}
	if !b.attached {
		return true, false, nil
	}
	held, err := b.requestHolderState(ctx)
	switch {
	case errors.Is(err, nats.ErrNoResponders), ctx.Err() != nil: // it only looks, or has not begun yet
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("%w: asking the process that holds data_dir: %w", errBroker, err)
	case held.Serves:
		return true, false, nil
	case held.Batch != a.key:
		a.logWait(held, "another batch on the same data_dir")
		return false, false, nil
	case held.RunID == "":
		return false, false, nil
	}
	a.logWait(held, "the same batch")
	a.run = held.RunID
	if err := a.follow(ctx, b); err != nil {
		return false, false, err
	}
	over, err = b.finishedRun(ctx, a.run, run)
	return false, over, err
}

func (a *storeAcquirer) logWait(held holderState, what string) {
	if !a.logged {
		a.log.Info("batch.run.wait", "reason", fmt.Sprintf("process %d works on %s", held.PID, what), "run_id", held.RunID)
	}
	a.logged = true
}

// follow shows the progress of the run until it has ended.
func (a *storeAcquirer) follow(ctx context.Context, b *broker) error {
	stop, err := a.display.follow(b.Conn(), a.run, a.log)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closed := b.Conn().StatusChanged(nats.CLOSED)
	go func() {
		select {
		case <-closed:
			cancel(errHolderEnded)
		case <-ctx.Done():
		}
	}()
	_, err = runs.Await(ctx, b.Bus, a.run.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
	return err
}

// finishedRun says whether a run has ended, which end is then. One whose process was killed has not.
func (b *broker) finishedRun(ctx context.Context, run contract.RunID, end *runResult) (bool, error) {
	state, err := runs.Get[contract.State](ctx, b.runs, run.StateKey())
	if err != nil || state.Status == contract.Running || state.Reason == runs.KilledReason {
		return false, err
	}
	m, err := runs.Manifest(ctx, b.runs, run)
	if err != nil {
		return false, err
	}
	*end = runResult{State: state, id: run, manifest: m}
	return true, nil
}

// waitInterrupted says that a signal came while another process was waited for.
type waitInterrupted struct {
	code int
	name string
}

// Error says what became of the batch.
func (w waitInterrupted) Error() string {
	return "stopped by " + w.name + " while waiting for the process that holds data_dir, which goes on"
}

// currentRun keeps the run of this process's batch for those who ask.
type currentRun struct {
	run atomic.Pointer[contract.RunID]
}

func (r *currentRun) id() contract.RunID {
	if run := r.run.Load(); run != nil {
		return *run
	}
	return ""
}
