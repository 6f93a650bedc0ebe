package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

const (
	// holderSubject is where the process that holds a store replies with its holderState.
	holderSubject = "fct.holder.state"
	// holderTimeout is how long that process may take to reply.
	holderTimeout = 2 * time.Second
	// storePollInterval is how often a waiting batch checks whether the store is free.
	storePollInterval = 250 * time.Millisecond
)

// holderState is what the process that holds a store uses it for.
type holderState struct {
	PID int `json:"pid"`
	// Serves reports that it is `serve --embedded`: other processes may use its server too.
	Serves bool `json:"serves"`
	// Batch is the batchKey of its batch and RunID the run of it. Both are empty if it has none, or
	// none yet.
	Batch string         `json:"batch,omitempty"`
	RunID contract.RunID `json:"run_id,omitempty"`
}

// batchKey returns a key that is equal for two batches that would do the same work into the same
// files, so that one of them is enough. The pace is not part of it.
func batchKey(c config.Config, options BatchOptions) (string, error) {
	output, err := filepath.Abs(c.Output)
	if err != nil {
		return "", Usagef("output: %w", err)
	}
	body, err := startBody(c, options)
	if err != nil {
		return "", fmt.Errorf("describing the batch: %w", err)
	}
	key, err := json.Marshal(struct {
		Site, BaseURL, Output    string
		Parties, Unblock, Repair bool
		Spec                     json.RawMessage
	}{c.Site, c.BaseURL, output, c.Parties, options.Unblock, options.Repair, body})
	return string(key), err
}

// serveHolderState replies to other processes that use this store, as long as the connection lasts.
func (b *broker) serveHolderState(now func() holderState) error {
	if b.server == nil {
		return nil
	}
	_, err := b.Conn().Subscribe(holderSubject, func(msg *nats.Msg) {
		h := now()
		h.PID = os.Getpid()
		if answer, err := json.Marshal(h); err == nil {
			_ = msg.Respond(answer) // the requester may have gone
		}
	})
	if err != nil {
		return fmt.Errorf("%w: answering other processes: %w", ErrBroker, err)
	}
	return nil
}

// requestHolderState requests the state of the process that holds the store. A process that only
// reads the store does not reply.
func (b *broker) requestHolderState(ctx context.Context) (h holderState, err error) {
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	msg, err := b.Conn().RequestWithContext(ctx, holderSubject, nil)
	if err == nil {
		err = json.Unmarshal(msg.Data, &h)
	}
	return h, err
}

// storeAcquirer waits until a batch may use its store. If another process holds the store, the
// acquirer follows an equal batch there to its end, and waits for the end of a different one.
type storeAcquirer struct {
	settings *config.Settings
	options  BatchOptions
	log      *slog.Logger
	// key is the batchKey of this batch. run is the run of the equal batch that was found, ""
	// before.
	key string
	run contract.RunID
	// logged reports that the wait has been logged.
	logged bool
}

// acquire returns the broker for the batch or, without one, how the run of an equal batch ended. If
// the process of the equal batch is killed, this process acquires the store and resumes the run. If
// it is requested to stop, the error is Interrupted and the other process continues.
func (a *storeAcquirer) acquire(ctx context.Context) (*broker, RunResult, error) {
	key, err := batchKey(a.settings.Config, a.options)
	if err != nil {
		return nil, RunResult{}, err
	}
	a.key = key
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-a.options.Stop.Requested():
			cancel(Interrupted{a.options.Stop.Name()})
		case <-waiting.Done():
		}
	}()
	for {
		b, err := openBroker(ctx, a.settings.Config, connectOptions{repair: a.options.Repair}, a.log)
		if err == nil {
			var run RunResult
			mine, over, failed := a.inspect(waiting, b, &run)
			if mine {
				return b, run, nil
			}
			if err = errors.Join(b.markHolderEnded(failed), b.close()); over {
				return nil, run, err
			}
		}
		if stop, is := errors.AsType[Interrupted](context.Cause(waiting)); is {
			return nil, RunResult{ID: a.run}, stop
		}
		if err != nil && !errors.Is(err, errHolderEnded) {
			return nil, RunResult{}, err
		}
		_ = delay.Sleep(waiting, storePollInterval) // the loop checks for a request to stop
	}
}

// inspect reports whether this process may run the batch on the broker (mine), else whether the run
// of an equal batch is over, and stores the end of it in run.
func (a *storeAcquirer) inspect(ctx context.Context, b *broker, run *RunResult) (mine, over bool, err error) {
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
	case errors.Is(err, nats.ErrNoResponders), ctx.Err() != nil: // that process only reads, or has not started yet
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("%w: requesting the state of the process that holds data_dir: %w", ErrBroker, err)
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
		a.log.Info("batch.run.wait", "reason", fmt.Sprintf("process %d runs %s", held.PID, what), "run_id", held.RunID)
	}
	a.logged = true
}

// follow shows the progress of the run of the equal batch until it ends.
func (a *storeAcquirer) follow(ctx context.Context, b *broker) error {
	stop, err := a.options.Follow(b.Conn(), a.run)
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

// finishedRun reports whether a run has ended and stores its end in end. A run whose process was
// killed has not ended.
func (b *broker) finishedRun(ctx context.Context, run contract.RunID, end *RunResult) (bool, error) {
	state, err := runs.Get[contract.State](ctx, b.runs, run.StateKey())
	if err != nil || state.Status == contract.Running || state.Reason == runs.KilledReason {
		return false, err
	}
	m, err := runs.Manifest(ctx, b.runs, run)
	if err != nil {
		return false, err
	}
	*end = RunResult{State: state, ID: run, Manifest: m}
	return true, nil
}

// Interrupted is the error of a request to stop that arrived while the batch waited for another
// process. By is the name of the request.
type Interrupted struct{ By string }

// Error says that the wait ended and the other process continues.
func (i Interrupted) Error() string {
	return "stopped by " + i.By + " while waiting for the process that holds data_dir, which continues"
}
