package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"
)

// BatchOptions are the options of a batch that are not settings.
type BatchOptions struct {
	// Unblock sends requests even if the site has blocked this client.
	Unblock bool
	// ProbeOnly ends the run after the search. OnlyNew continues above the highest collected
	// record.
	ProbeOnly, OnlyNew bool
	// Repair accepts a store whose ledger differs from what was stored.
	Repair bool
	// StatusAddr is where the status server listens if http_addr is not set; empty for nowhere.
	StatusAddr string
	// ResumeCommand returns the command line that resumes the batch, from number from on unless
	// that is 0.
	ResumeCommand func(from int) string
	Stop          StopRequest
	// Follow shows the progress of a run until stop is called.
	Follow func(nc *nats.Conn, run contract.RunID) (stop func(), err error)
}

// StopRequest requests a batch to stop, as a signal does.
type StopRequest interface {
	// Requested is closed when the request arrives.
	Requested() <-chan struct{}
	// Name returns the name of what requested it, such as SIGINT.
	Name() string
}

// RunResult is the final state of a run with its manifest.
type RunResult struct {
	contract.State
	// ID is empty if the run did not get so far.
	ID       contract.RunID
	Manifest contract.Manifest
	// Restored lists what was rebuilt when the store was opened.
	Restored []string
}

// Batch opens all that a batch needs, runs it with all services in this process until it ends or is
// requested to stop, and closes everything again.
func (p Process) Batch(ctx context.Context, options BatchOptions) (run RunResult, err error) {
	settings := p.Settings
	if err := checkOpenFiles(settings.Config, openFilesLimit()); err != nil {
		return run, err
	}
	site, err := p.openSite()
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	if err := checkOutputOrigin(settings.Output, site.Origin); err != nil {
		return run, err
	}
	acquirer := &storeAcquirer{settings: settings, options: options, log: p.Log}
	broker, run, err := acquirer.acquire(ctx)
	if err != nil || broker == nil {
		return run, err
	}
	defer func() { err = errors.Join(err, broker.close()) }()
	status := newStatusServer()
	stop, err := p.listen(status, options.StatusAddr)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	output, err := store.Open(settings.Output)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	a := app{
		settings:  settings,
		broker:    broker,
		site:      site,
		output:    output,
		log:       p.Log,
		version:   p.Version,
		status:    status,
		fetcherID: fetcherName(broker),
		process:   nuid.Next(),
		options:   options,
	}
	release, err := reporter.Claim(ctx, a.reporterOptions(), settings.Prefix, settings.Year) // before any request
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, release()) }()
	err = broker.serveHolderState(func() holderState {
		held := holderState{Batch: acquirer.key}
		if run := a.batchRun.Load(); run != nil {
			held.RunID = *run
		}
		return held
	})
	if err != nil {
		return run, err
	}
	err = broker.withDiskWatch(ctx, p.Log, func(ctx context.Context) (err error) {
		run, err = a.runToEnd(ctx)
		return err
	})
	run.Restored = broker.restored
	return run, err
}

// fetcherName returns the name of this process's fetcher. On a store of its own the name is
// constant, so that a killed process leaves no slot occupied. On a shared server the process id
// alone is not unique: containers often have the same one.
func fetcherName(b *broker) string {
	if !b.shared {
		return "embedded"
	}
	return fmt.Sprintf("process-%d-%s", os.Getpid(), nuid.Next())
}

// runToEnd starts the services and the batch and waits for its end. An error of a service ends it
// early.
func (a *app) runToEnd(ctx context.Context) (RunResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, working := errgroup.WithContext(ctx)
	if err := a.startServices(working, group, Services()); err != nil {
		return RunResult{}, err
	}
	var run RunResult
	group.Go(func() (err error) {
		run, err = a.runBatch(working)
		cancel() // stop the services
		return err
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = context.Cause(working)
	}
	return run, err
}

// runBatch starts the batch of the settings, halts it when it is requested to stop, and returns how
// its run ended.
func (a *app) runBatch(ctx context.Context) (run RunResult, err error) {
	id, err := a.startBatch(ctx)
	if err != nil {
		return run, err
	}
	run.ID = id
	a.batchRun.Store(&id)
	stopProgress, err := a.options.Follow(a.broker.Conn(), id)
	if err != nil {
		return run, fmt.Errorf("%w: %w", ErrBroker, err)
	}
	defer stopProgress()
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		if err := a.haltOnRequest(waiting, id); err != nil {
			giveUp(err)
		}
	}()
	run.State, err = runs.Await(waiting, a.broker.Bus, id.StateKey(),
		func(s contract.State) bool { return s.Status != contract.Running })
	if err != nil {
		return run, err
	}
	run.Manifest, err = runs.Manifest(ctx, a.broker.runs, id)
	if errors.Is(err, runs.ErrUnreadable) && run.Status == contract.Errored { // the state has the reason
		run.Manifest, err = contract.Manifest{RunID: id}, nil
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
		return "", Usagef("%s", reply.Error)
	}
	return reply.RunID, nil
}

const (
	// A generator has commandTimeout to reply. Then the command is sent again, up to commandTries
	// times in all; a repeated command starts nothing twice.
	commandTimeout = 40 * time.Second
	commandTries   = 3
)

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
		return reply, fmt.Errorf("%w: requesting %s: %w", ErrBroker, subject, err)
	}
	return reply, nil
}

func startBody(c config.Config, options BatchOptions) ([]byte, error) {
	return batchOf(c, options).StartBody()
}

// batchOf returns the batch that a command starts.
func batchOf(c config.Config, options BatchOptions) contract.Batch {
	batch := c.Batch
	batch.ProbeOnly, batch.New = options.ProbeOnly, options.OnlyNew
	return batch
}

// drainTimeout returns how much of graceful_shutdown_timeout work in flight may use. The remaining
// tenth, at least a second if possible, is for storing the state of the run.
func drainTimeout(limit time.Duration) time.Duration {
	return limit - max(limit/10, min(time.Second, limit/2))
}

// haltOnRequest stores the halt of the run when it is requested to stop, and stops the fetcher after
// drainTimeout.
func (a *app) haltOnRequest(ctx context.Context, run contract.RunID) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.options.Stop.Requested():
	}
	limit := a.settings.GracefulShutdownTimeout
	now := time.Now().UTC()
	a.log.Info("batch.run.stop", "run_id", run, "reason", a.options.Stop.Name())
	halt := contract.Halt{
		Status:   contract.Stopped,
		Reason:   "stopped by " + a.options.Stop.Name(),
		At:       now,
		Deadline: now.Add(drainTimeout(limit)),
	}
	if err := runs.Halt(ctx, a.broker.runs, run, halt); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	// A run that was halted before, for example by a block, keeps that halt, which has no deadline.
	if delay.Sleep(ctx, drainTimeout(limit)) == nil {
		a.stopFetching()
	}
	return nil
}
