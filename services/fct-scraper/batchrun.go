package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

// runBatch starts the batch of the settings, halts it when a signal arrives, and returns how its
// run ended.
func (a *app) runBatch(ctx context.Context, signals *signals, display *progressDisplay) (run runResult, err error) {
	id, err := a.startBatch(ctx)
	if err != nil {
		return run, err
	}
	run.id = id
	a.batchRun.run.Store(&id)
	stopProgress, err := display.follow(a.broker.Conn(), id, a.log)
	if err != nil {
		return run, fmt.Errorf("%w: %w", errBroker, err)
	}
	defer stopProgress()
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		if err := a.haltOnSignal(waiting, id, signals); err != nil {
			giveUp(err)
		}
	}()
	run.State, err = runs.Await(waiting, a.broker.Bus, id.StateKey(),
		func(s contract.State) bool { return s.Status != contract.Running })
	if err != nil {
		return run, err
	}
	run.manifest, err = runs.Manifest(ctx, a.broker.runs, id)
	if errors.Is(err, runs.ErrUnreadable) && run.Status == contract.Errored { // the state has the reason
		run.manifest, err = contract.Manifest{RunID: id}, nil
	}
	return run, err
}

// startBatch sends the command batch.start, as an external client would, and returns the id of the
// run.
func (a *app) startBatch(ctx context.Context) (contract.RunID, error) {
	body, err := startBody(a.settings.Config, a.options)
	if err != nil {
		return "", fmt.Errorf("starting the batch: %w", err)
	}
	reply, err := a.broker.command(ctx, contract.SubjectStart, body)
	if err != nil {
		return "", fmt.Errorf("starting the batch: %w", err)
	}
	if reply.Error != "" {
		return "", fmt.Errorf("%w: %s", errUsage, reply.Error)
	}
	return reply.RunID, nil
}

const (
	// A generator has commandTimeout to reply. Then the command is sent again, up to commandTries
	// times in all; a repeated command starts nothing twice.
	commandTimeout = 40 * time.Second
	commandTries   = 3
)

// command sends a command and returns the reply of a generator.
func (b *broker) command(ctx context.Context, subject string, body []byte) (reply contract.CommandReply, err error) {
	for range commandTries {
		limited, cancel := context.WithTimeout(ctx, commandTimeout)
		var msg *nats.Msg
		msg, err = b.Conn().RequestWithContext(limited, subject, body)
		cancel()
		if err == nil {
			err = json.Unmarshal(msg.Data, &reply)
			break
		}
		if ctx.Err() != nil {
			return reply, context.Cause(ctx)
		}
	}
	if err != nil {
		return reply, fmt.Errorf("%w: requesting %s: %w", errBroker, subject, err)
	}
	return reply, nil
}

// startBody returns the body of the batch.start of the settings.
func startBody(c config.Config, options batchOptions) ([]byte, error) {
	batch := c.Batch
	batch.ProbeOnly, batch.New = options.probeOnly, options.onlyNew
	return batch.StartBody()
}

// drainTimeout returns how much of graceful_shutdown_timeout work in flight may use. The remaining
// tenth, at least a second if possible, is for storing the state of the run.
func drainTimeout(limit time.Duration) time.Duration {
	return limit - max(limit/10, min(time.Second, limit/2))
}

// haltOnSignal stores the halt of the run when the first signal arrives, and stops the fetcher
// after drainTimeout.
func (a *app) haltOnSignal(ctx context.Context, run contract.RunID, signals *signals) error {
	select {
	case <-ctx.Done():
		return nil
	case <-signals.firstReceived:
	}
	limit := a.settings.GracefulShutdownTimeout
	now := time.Now().UTC()
	a.log.Info("batch.run.stop", "run_id", run, "reason", signals.name())
	halt := contract.Halt{
		Status:   contract.Stopped,
		Reason:   "stopped by " + signals.name(),
		At:       now,
		Deadline: now.Add(drainTimeout(limit)),
	}
	if err := runs.Halt(ctx, a.broker.runs, run, halt); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	// A run that was halted before, for example by a block, keeps that halt, which has no deadline.
	if delay.Sleep(ctx, drainTimeout(limit)) == nil {
		a.stopFetching()
	}
	return nil
}
