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
	// holderLimit is how long it may take to answer.
	holderLimit = 2 * time.Second
	// turnWait is how often a batch looks whether the store is free.
	turnWait = 250 * time.Millisecond
)

// holding is what the process that holds a store does with it.
type holding struct {
	PID int `json:"pid"`
	// Serves says that it is `serve --embedded`: other processes may work over its server too.
	Serves bool `json:"serves"`
	// Batch is what its batch is (see batchKey), RunID its run; both are empty when it has none, or none yet.
	Batch string         `json:"batch,omitempty"`
	RunID contract.RunID `json:"run_id,omitempty"`
}

// batchKey is the same for two batches that do the same work into the same files: one of them is enough. How fast the site is
// asked is not part of it.
func batchKey(c config.Config, wanted order) (string, error) {
	output, err := filepath.Abs(c.Output)
	if err != nil {
		return "", fmt.Errorf("%w: output: %w", errUsage, err)
	}
	key, err := json.Marshal(struct {
		Site, BaseURL, Output    string
		Parties, Unblock, Repair bool
		Spec                     contract.RunSpec
	}{c.Site, c.BaseURL, output, c.Parties, wanted.unblock, wanted.repair, specOf(c, wanted)})
	return string(key), err
}

// tellHolder answers processes beside this one, which holds the store, as long as the connection lasts.
func (b *broker) tellHolder(now func() holding) error {
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

// holder asks the process that holds the store what it does. One that only looks into it does not answer.
func (b *broker) holder(ctx context.Context) (h holding, err error) {
	ctx, cancel := context.WithTimeout(ctx, holderLimit)
	defer cancel()
	msg, err := b.Conn().RequestWithContext(ctx, holderSubject, nil)
	if err == nil {
		err = json.Unmarshal(msg.Data, &h)
	}
	return h, err
}

// turn is how a batch comes to its store. When another process holds it, an equal batch there is followed to its end, and a
// different one waited for.
type turn struct {
	settings *config.Settings
	wanted   order
	signals  *signals
	screen   *screen
	log      *slog.Logger
	// key is what the batch is, run the run of the equal batch that was found; empty before.
	key string
	run contract.RunID
	// told says that it was told who is waited for.
	told bool
}

// take returns the broker to run the batch over, or, without one, how the run of an equal batch ended. When its holder is killed
// the batch takes the store over and goes on with that run. A signal is an interrupted error; the other process goes on.
func (t *turn) take(ctx context.Context) (*broker, ended, error) {
	key, err := batchKey(t.settings.Config, t.wanted)
	if err != nil {
		return nil, ended{}, err
	}
	t.key = key
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-t.signals.first:
			cancel(interrupted{t.signals.code(), t.signals.name()})
		case <-waiting.Done():
		}
	}()
	for {
		b, err := openBroker(ctx, t.settings.Config, access{repair: t.wanted.repair}, t.log)
		if err == nil {
			var run ended
			mine, over, failed := t.look(waiting, b, &run)
			if mine {
				return b, run, nil
			}
			if err = errors.Join(b.cutOff(failed), b.close()); over {
				return nil, run, err
			}
		}
		if signal, is := errors.AsType[interrupted](context.Cause(waiting)); is {
			return nil, ended{id: t.run}, signal
		}
		if err != nil && !errors.Is(err, errHolderEnded) {
			return nil, ended{}, err
		}
		_ = delay.Sleep(waiting, turnWait) // a signal is noticed above
	}
}

// look says whether the batch runs over the broker, or else whether the run of an equal one is over, which run is then.
func (t *turn) look(ctx context.Context, b *broker, run *ended) (mine, over bool, err error) {
	if t.run != "" {
		if over, err = b.isOver(ctx, t.run, run); over || err != nil {
			return false, over, err
		}
	}
	if !b.beside {
		return true, false, nil
	}
	held, err := b.holder(ctx)
	switch {
	case errors.Is(err, nats.ErrNoResponders), ctx.Err() != nil: // it only looks, or has not begun yet
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("%w: asking the process that holds data_dir: %w", errBroker, err)
	case held.Serves:
		return true, false, nil
	case held.Batch != t.key:
		t.tell(held, "another batch on the same data_dir")
		return false, false, nil
	case held.RunID == "":
		return false, false, nil
	}
	t.tell(held, "the same batch")
	t.run = held.RunID
	if err := t.follow(ctx, b); err != nil {
		return false, false, err
	}
	over, err = b.isOver(ctx, t.run, run)
	return false, over, err
}

func (t *turn) tell(held holding, what string) {
	if !t.told {
		t.log.Info("batch.run.wait", "reason", fmt.Sprintf("process %d works on %s", held.PID, what), "run_id", held.RunID)
	}
	t.told = true
}

// follow shows the progress of the run until it has ended.
func (t *turn) follow(ctx context.Context, b *broker) error {
	stop, err := t.screen.follow(b.Conn(), t.run, t.log)
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
	_, err = runs.Await(ctx, b.Bus, t.run.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
	return err
}

// isOver says whether a run has ended, which end is then. One whose process was killed has not.
func (b *broker) isOver(ctx context.Context, run contract.RunID, end *ended) (bool, error) {
	state, err := runs.Get[contract.State](ctx, b.runs, run.StateKey())
	if err != nil || state.Status == contract.Running || state.Reason == runs.KilledReason {
		return false, err
	}
	m, err := runs.Manifest(ctx, b.runs, run)
	if err != nil {
		return false, err
	}
	*end = ended{State: state, id: run, manifest: m}
	return true, nil
}

// interrupted says that a signal came while another process was waited for.
type interrupted struct {
	code int
	name string
}

// Error says what became of the batch.
func (i interrupted) Error() string {
	return "stopped by " + i.name + " while waiting for the process that holds data_dir, which goes on"
}

// begun keeps the run of this process's batch for those who ask.
type begun struct {
	run atomic.Pointer[contract.RunID]
}

func (b *begun) id() contract.RunID {
	if run := b.run.Load(); run != nil {
		return *run
	}
	return ""
}
