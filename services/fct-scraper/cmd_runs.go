package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/reporter"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
)

// runStatus is the status of a run as the commands status and runs print it.
type runStatus struct {
	RunID     contract.RunID  `json:"run_id"`
	Status    contract.Status `json:"status"`
	Reason    string          `json:"reason"`
	StartID   string          `json:"start_id"`
	EndID     string          `json:"end_id"`
	StartedAt time.Time       `json:"started_at"`
	// Planned is how many numbers the run fetches; 0 while that is unknown.
	Planned   int `json:"planned"`
	Done      int `json:"done"`
	Succeeded int `json:"succeeded"`
	NoRecord  int `json:"no_record"`
	Failed    int `json:"failed"`
	// LeftSeconds estimates how long a running run still takes; 0 if unknown.
	LeftSeconds float64 `json:"left_seconds"`
	// Wait is why a running run sends no requests at the moment; nil if it does.
	Wait *contract.Wait `json:"wait"`
}

// runReader reads the statuses of the runs of a store.
type runReader struct {
	broker *broker
	// viaReporter reports that the broker's key may not read streams: the statuses are requested from
	// the reporter.
	viaReporter bool
}

// status returns the status of a run. The error is jetstream.ErrKeyNotFound if the run does
// not exist. A run whose keys are unreadable has the status error and a reason.
func (r runReader) status(ctx context.Context, run contract.RunID) (runStatus, error) {
	if r.viaReporter {
		all, err := r.request(ctx)
		if i := slices.IndexFunc(all, func(s runStatus) bool { return s.RunID == run }); i >= 0 {
			return all[i], nil
		}
		return runStatus{}, cmp.Or[error](err, jetstream.ErrKeyNotFound)
	}
	m, err := runs.Manifest(ctx, r.broker.runs, run)
	if errors.Is(err, runs.ErrUnreadable) {
		return runStatus{RunID: run, Status: contract.Errored, Reason: err.Error()}, nil
	}
	if err != nil {
		return runStatus{}, err
	}
	s := runStatus{
		RunID:     run,
		Status:    contract.Running,
		StartID:   m.Case(m.Range.Start).String(),
		EndID:     m.Case(max(1, m.Range.End)).String(),
		StartedAt: m.CreatedAt,
	}
	state, err := runs.Get[contract.State](ctx, r.broker.runs, run.StateKey())
	switch {
	case err == nil:
		s.Status, s.Reason = state.Status, state.Reason
	case errors.Is(err, runs.ErrUnreadable):
		s.Status, s.Reason = contract.Errored, err.Error()
	case !errors.Is(err, jetstream.ErrKeyNotFound): // a run without a state is starting
		return s, err
	}
	if report := state.Report; report != nil {
		s.Succeeded, s.NoRecord, s.Failed = report.Succeeded, report.NoRecord, report.Failed
		s.Done, s.Planned = report.Total, report.Total
		return s, nil
	}
	return s, r.fillProgress(ctx, &s, m)
}

// fillProgress sets the progress of a run without a report: the counts from its ledger, the rest
// from its latest events.
func (r runReader) fillProgress(ctx context.Context, s *runStatus, m contract.Manifest) error {
	c, err := reporter.Count(ctx, reporter.Options{Bus: r.broker.Bus, Logger: slog.New(slog.DiscardHandler)}, m)
	if errors.Is(err, ledger.ErrMismatch) {
		s.Status, s.Reason = contract.Errored, err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	s.Succeeded, s.NoRecord, s.Failed, s.Planned = c.Succeeded, c.NoRecord, c.Failed, c.Planned
	s.Done = c.Succeeded + c.NoRecord + c.Failed
	if s.Status != contract.Running {
		return nil
	}
	e, err := r.lastEvent(ctx, s.RunID, "progress")
	if err != nil {
		return err
	}
	waiting, err := r.lastEvent(ctx, s.RunID, "waiting")
	if err != nil {
		return err
	}
	if waiting.At.After(e.At) {
		if e = waiting; e.Wait != nil && e.Wait.Until.After(time.Now()) {
			s.Wait = e.Wait
		}
	}
	s.Planned = max(s.Planned, e.Planned)
	if s.Planned > s.Done && s.Done > 0 {
		s.LeftSeconds = time.Since(s.StartedAt).Seconds() / float64(s.Done) * float64(s.Planned-s.Done)
	}
	return nil
}

// lastEvent returns the latest event of a run with that name, or the zero event if there is none.
func (r runReader) lastEvent(ctx context.Context, run contract.RunID, name string) (e contract.Event, err error) {
	msg, err := r.broker.GetLast(ctx, contract.StreamEvents, run.EventSubject(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(msg.Data, &e)
	}
	if err != nil {
		return e, fmt.Errorf("reading the events of run %s: %w", run, err)
	}
	return e, nil
}

// all returns the status of every run, the newest first.
func (r runReader) all(ctx context.Context) ([]runStatus, error) {
	if r.viaReporter {
		return r.request(ctx)
	}
	known, err := runs.IDs(ctx, r.broker.Bus)
	if err != nil {
		return nil, err
	}
	all := []runStatus{} // not nil: in JSON it is an array
	for _, run := range known {
		s, err := r.status(ctx, run)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b runStatus) int { return b.StartedAt.Compare(a.StartedAt) })
	return all, nil
}

// text formats the status as one line.
func (s runStatus) text() string {
	text := fmt.Sprintf("%s  %s  %s to %s  %d", s.RunID, s.Status, s.StartID, s.EndID, s.Done)
	if s.Status == contract.Running && s.Planned > 0 {
		text += fmt.Sprintf(" of %d", s.Planned)
	}
	text += fmt.Sprintf(" = %d success + %d no-record + %d failed", s.Succeeded, s.NoRecord, s.Failed)
	if s.LeftSeconds > 0 {
		text += fmt.Sprintf("  about %s left", time.Duration(s.LeftSeconds*float64(time.Second)).Round(time.Second))
	}
	if s.Wait != nil {
		text += "  " + sanitize.Line(s.Wait.String())
	}
	if s.Reason != "" {
		text += "  (" + sanitize.Line(s.Reason) + ")"
	}
	return text + "\n"
}

// withBroker opens the broker of the settings and calls use with it. It does not create a missing
// store. It tries again if the process that holds the store ends meanwhile.
func (p *program) withBroker(cmd *cobra.Command, use func(context.Context, *broker) error) error {
	settings, err := p.loadSettings(cmd)
	if err != nil {
		return err
	}
	if err := checkStoreExists(settings.Config); err != nil {
		return err
	}
	log := newLogger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr)
	return retryIfHolderEnded(func() (err error) {
		broker, err := openBroker(cmd.Context(), settings.Config, connectOptions{readOnly: true}, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, broker.close()) }()
		return broker.markHolderEnded(use(cmd.Context(), broker))
	})
}

// withRuns is withBroker for commands that need no stream. If the key of an operator may not read
// streams, use gets a reader that requests the statuses from the reporter.
func (p *program) withRuns(cmd *cobra.Command, use func(context.Context, runReader) error) error {
	opened := false
	refused := p.withBroker(cmd, func(ctx context.Context, b *broker) error {
		opened = true
		return use(ctx, runReader{broker: b})
	})
	silent := errors.Is(refused, nats.ErrNoResponders) || errors.Is(refused, jetstream.ErrJetStreamNotEnabled)
	if opened || !silent && !errors.Is(refused, streams.ErrNotAllowed) {
		return refused
	}
	settings, err := p.loadSettings(cmd)
	if err != nil {
		return err
	}
	b, err := connectReadOnly(cmd.Context(), settings.Config,
		newLogger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr))
	if err != nil {
		return err
	}
	return errors.Join(use(cmd.Context(), runReader{broker: b, viaReporter: true}), b.close())
}

// runStatusTimeout is how long a reporter may take to read the status of all runs.
const runStatusTimeout = 10 * time.Second

// request requests the status of all runs from a reporter, the newest first.
func (r runReader) request(ctx context.Context) ([]runStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, runStatusTimeout)
	defer cancel()
	msg, err := r.broker.Conn().RequestWithContext(ctx, "fct.reporter.state", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: this key may not read streams, and no reporter replies on fct.reporter.state: %w",
			errBroker, err)
	}
	var reply serviceState
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return nil, fmt.Errorf("%w: decoding the reply of the reporter: %w", errBroker, err)
	}
	return append([]runStatus{}, reply.RunStatuses...), nil
}

func (p *program) runsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "runs", Short: "List all runs with their status, the newest first", Args: maxArgs(0)}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	asJSON := cmd.Flags().Bool("json", false, "as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runReader) error {
			all, err := r.all(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var text strings.Builder
			for _, s := range all {
				text.WriteString(s.text())
			}
			return p.print(text.String())
		})
	}
	return cmd
}

func (p *program) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--run <id>]",
		Short: "Print the status of a run, by default the newest, and the estimated time left",
		Args:  runFlagArgs(false),
		Example: "  fct-scraper status --nats-url nats://127.0.0.1:4222\n" +
			"  fct-scraper status --run imm-25-20261125t101500z-1 --json",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "the run")
	asJSON := cmd.Flags().Bool("json", false, "as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runReader) error {
			s, err := r.named(ctx, *name)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(s)
			}
			return p.print(s.text())
		})
	}
	return cmd
}

// runFlagArgs allows a command no argument, and a valid run id as --run, which is required if
// needed.
func runFlagArgs(needed bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var wrong error
		name := cmd.Flag("run")
		switch _, err := contract.ParseRunID(name.Value.String()); {
		case needed && !name.Changed:
			wrong = errors.New("--run is missing: allowed is the id of a run, as its report names it")
		case err != nil && name.Changed:
			wrong = fmt.Errorf("--run: %w", err)
		}
		return errors.Join(wrong, maxArgs(0)(cmd, args))
	}
}

// named returns the status of the named run, else of the newest running one, else of the newest.
func (r runReader) named(ctx context.Context, name string) (runStatus, error) {
	if name != "" {
		run, err := contract.ParseRunID(name)
		if err != nil {
			return runStatus{}, fmt.Errorf("%w: --run: %w", errUsage, err)
		}
		s, err := r.status(ctx, run)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			err = fmt.Errorf("%w: --run %s: allowed is the id of a run of this store", errUsage, run)
		}
		return s, err
	}
	all, err := r.all(ctx)
	if err != nil {
		return runStatus{}, err
	}
	if len(all) == 0 {
		return runStatus{}, fmt.Errorf("%w: there is no run", errUsage)
	}
	running := slices.IndexFunc(all, func(s runStatus) bool { return s.Status == contract.Running })
	return all[max(0, running)], nil
}
