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

// batch starts the batch of the settings, has it stopped when a signal comes, and returns how its run ended.
func (h *house) batch(ctx context.Context, signals *signals, screen *screen) (run ended, err error) {
	id, err := h.start(ctx)
	if err != nil {
		return run, err
	}
	run.id = id
	h.begun.run.Store(&id)
	stopProgress, err := screen.follow(h.broker.Conn(), id, h.log)
	if err != nil {
		return run, fmt.Errorf("%w: %w", errBroker, err)
	}
	defer stopProgress()
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		if err := h.halt(waiting, id, signals); err != nil {
			giveUp(err)
		}
	}()
	run.State, err = runs.Await(waiting, h.broker.Bus, id.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
	if err != nil {
		return run, err
	}
	run.manifest, err = runs.Manifest(ctx, h.broker.runs, id)
	if errors.Is(err, runs.ErrUnreadable) && run.Status == contract.Errored { // the state says so
		run.manifest, err = contract.Manifest{RunID: id}, nil
	}
	return run, err
}

// start asks for the batch as anybody would, by a message, and returns its run.
func (h *house) start(ctx context.Context) (contract.RunID, error) {
	body, err := json.Marshal(specOf(h.settings.Config, h.wanted))
	if err != nil {
		return "", fmt.Errorf("starting the batch: %w", err)
	}
	reply, err := h.broker.command(ctx, contract.SubjectStart, body)
	if err != nil {
		return "", fmt.Errorf("starting the batch: %w", err)
	}
	if reply.Error != "" {
		return "", fmt.Errorf("%w: %s", errUsage, reply.Error)
	}
	return reply.RunID, nil
}

const (
	// commandLimit is how long a generator may take to answer a command before it is sent again, which starts nothing twice;
	// commandTries is how often it is sent.
	commandLimit = 40 * time.Second
	commandTries = 3
)

// command sends a command and returns what a generator answers.
func (b *broker) command(ctx context.Context, subject string, body []byte) (reply contract.CommandReply, err error) {
	for range commandTries {
		limited, cancel := context.WithTimeout(ctx, commandLimit)
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
		return reply, fmt.Errorf("%w: asking for %s: %w", errBroker, subject, err)
	}
	return reply, nil
}

// specOf is what the settings say about a batch, every key of it: a server's generator may have other defaults.
func specOf(c config.Config, wanted order) contract.RunSpec {
	spec := contract.RunSpec{
		Prefix: c.Prefix, Year: c.Year, Start: &c.Start, Probe: &c.Probe, ProbeBudget: &c.ProbeBudget, MaxRetries: &c.MaxRetries,
		RequestTimeout: c.RequestTimeout.String(), JobTimeout: c.JobTimeout.String(),
		SafeStopNoRecords: &c.SafeStopNoRecords, SafeStopFails: &c.SafeStopFails, Recheck: &c.Recheck, Force: &c.Force,
		PersistRawHTML: &c.PersistRawHTML, ProbeOnly: &wanted.probeOnly, New: &wanted.onlyNew,
	}
	if c.MaxCases > 0 {
		spec.MaxCases = &c.MaxCases
	}
	if c.End > 0 {
		spec.End = &c.End
	}
	return spec
}

// underWay is how much of graceful_shutdown_timeout what is under way gets. The rest, a tenth and a second if it can be, is
// for writing down how the run stands.
func underWay(limit time.Duration) time.Duration {
	return limit - max(limit/10, min(time.Second, limit/2))
}

// halt asks everybody to stop working on the run when the first signal has come.
func (h *house) halt(ctx context.Context, run contract.RunID, signals *signals) error {
	select {
	case <-ctx.Done():
		return nil
	case <-signals.first:
	}
	limit := h.settings.GracefulShutdownTimeout.Std()
	now := time.Now().UTC()
	h.log.Info("batch.run.stop", "run_id", run, "reason", signals.name())
	halt := contract.Halt{Status: contract.Stopped, Reason: "stopped by " + signals.name(), At: now, Deadline: now.Add(underWay(limit))}
	if err := runs.Halt(ctx, h.broker.runs, run, halt); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	// A run that was halted before, by a block for one, keeps that halt, which has no deadline.
	if delay.Sleep(ctx, underWay(limit)) == nil {
		h.stopFetching()
	}
	return nil
}
