package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// RunStatus is the status of a run as the commands status and runs print it.
type RunStatus struct {
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
	// Progress is that of the latest event, LeftSeconds from now on.
	contract.Progress
	// Wait is why a running run sends no requests at the moment; nil if it does.
	Wait *contract.Wait `json:"wait"`
	// Tuned are the settings that tune has changed for the running run.
	Tuned map[string]any `json:"tuned,omitempty"`
}

// Runs are the runs of a store.
type Runs struct {
	broker *broker
	// viaReporter reports that the broker's key may not read streams: the statuses are requested from
	// the reporter.
	viaReporter bool
}

// WithRuns calls use with the runs of the store. It does not create a missing store. It tries again if
// the process that holds the store ends meanwhile. If the key of an operator may not read streams,
// the statuses are requested from the reporter.
func (p Process) WithRuns(ctx context.Context, use func(context.Context, Runs) error) error {
	if err := checkStoreExists(p.Settings.Config); err != nil {
		return err
	}
	opened := false
	refused := p.useStore(ctx, connectOptions{readOnly: true, anyOutput: true}, func(b *broker) error {
		opened = true
		return use(ctx, Runs{broker: b})
	})
	silent := errors.Is(refused, nats.ErrNoResponders) || errors.Is(refused, jetstream.ErrJetStreamNotEnabled)
	if opened || !silent && !errors.Is(refused, streams.ErrNotAllowed) {
		return refused
	}
	return p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		return use(ctx, Runs{broker: b, viaReporter: true})
	})
}

// status returns the status of a run. The error is jetstream.ErrKeyNotFound if the run does
// not exist. A run whose keys are unreadable has the status error and a reason.
func (r Runs) status(ctx context.Context, run contract.RunID) (RunStatus, error) {
	if r.viaReporter {
		all, err := r.request(ctx)
		if i := slices.IndexFunc(all, func(s RunStatus) bool { return s.RunID == run }); i >= 0 {
			return all[i], nil
		}
		return RunStatus{}, cmp.Or[error](err, jetstream.ErrKeyNotFound)
	}
	m, err := runs.Manifest(ctx, r.broker.runs, run)
	if errors.Is(err, runs.ErrUnreadable) {
		return RunStatus{RunID: run, Status: contract.Errored, Reason: err.Error()}, nil
	}
	if err != nil {
		return RunStatus{}, err
	}
	s := RunStatus{
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
		s.Done, s.Planned = report.Total, Planned(*report)
		return s, nil
	}
	return s, r.fillProgress(ctx, &s, m)
}

// Planned returns how many numbers the run of a report fetches, with those that are left. Reports of older
// versions have only those that it fetched, and so have those of a run that ended in its search.
func Planned(report contract.Report) int { return max(report.Metrics.Planned, report.Total) }

// fillProgress sets the progress of a run without a report: the counts from its ledger, the rest
// from its latest events.
func (r Runs) fillProgress(ctx context.Context, s *RunStatus, m contract.Manifest) error {
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
	control, err := runs.ReadControl(ctx, r.broker.runs, s.RunID)
	if err != nil {
		return err
	}
	s.Tuned = control.Settings(config.FormatDuration)
	started, err := r.lastEvent(ctx, s.RunID, "started")
	if err != nil {
		return err
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
		e = waiting
	}
	s.Planned = max(s.Planned, e.Planned)
	if started.At.After(e.At) { // it is of an earlier round
		e = contract.Event{}
	}
	s.Progress, s.Wait = progressNow(m, control.Paused, e, time.Now())
	return nil
}

// progressNow returns the progress and the wait of a running run from its latest event in its round, which
// is empty if there is none. Whether it is paused is known before a reporter tells it.
func progressNow(
	m contract.Manifest, paused bool, e contract.Event, now time.Time,
) (p contract.Progress, wait *contract.Wait) {
	p = contract.StartingProgress(m)
	if e.Phase != "" && (paused || e.Phase != contract.PhasePaused) {
		p = e.ProgressAt(now)
	}
	if paused {
		p.Phase, p.RatePerMinute = contract.PhasePaused, 0
		p.LeftSeconds, p.LeftUnknown = nil, contract.LeftUnknownPaused
		return p, &contract.Wait{Reason: contract.WaitPaused}
	}
	if w := e.Wait; w != nil && (w.Until.After(now) || w.Until.IsZero() && w.Reason != contract.WaitPaused) {
		wait = w
	}
	if wait == nil && p.Phase == contract.PhaseWaiting { // it is over
		p.Phase = contract.StartingProgress(m).Phase
	}
	return p, wait
}

// lastEvent returns the latest event of a run with that name, or the zero event if there is none.
func (r Runs) lastEvent(ctx context.Context, run contract.RunID, name string) (e contract.Event, err error) {
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

// All returns the status of every run, the newest first.
func (r Runs) All(ctx context.Context) ([]RunStatus, error) {
	if r.viaReporter {
		return r.request(ctx)
	}
	known, err := runs.IDs(ctx, r.broker.Bus)
	if err != nil {
		return nil, err
	}
	all := []RunStatus{} // not nil: in JSON it is an array
	for _, run := range known {
		s, err := r.status(ctx, run)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b RunStatus) int { return b.StartedAt.Compare(a.StartedAt) })
	return all, nil
}

// Named returns the status of the named run, else of the newest running one, else of the newest.
func (r Runs) Named(ctx context.Context, name string) (RunStatus, error) {
	if name != "" {
		run, err := contract.ParseRunID(name)
		if err != nil {
			return RunStatus{}, Usagef("--run: %w", err)
		}
		s, err := r.status(ctx, run)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			err = Usagef("--run %s: want the id of a run of this store, as `fct-scraper runs` lists them", run)
		}
		return s, err
	}
	all, err := r.All(ctx)
	if err != nil {
		return RunStatus{}, err
	}
	if len(all) == 0 {
		return RunStatus{}, Usagef("there is no run")
	}
	running := slices.IndexFunc(all, func(s RunStatus) bool { return s.Status == contract.Running })
	return all[max(0, running)], nil
}

// runStatusTimeout is how long a reporter may take to read the status of all runs.
const runStatusTimeout = 10 * time.Second

// request requests the status of all runs from a reporter, the newest first.
func (r Runs) request(ctx context.Context) ([]RunStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, runStatusTimeout)
	defer cancel()
	msg, err := r.broker.Conn().RequestWithContext(ctx, "fct.reporter.state", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: this key may not read streams, and no reporter replies on fct.reporter.state: %w",
			ErrBroker, err)
	}
	var reply serviceState
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return nil, fmt.Errorf("%w: decoding the reply of the reporter: %w", ErrBroker, err)
	}
	return append([]RunStatus{}, reply.RunStatuses...), nil
}

// commandLimit is how long a generator may take to reply to a command about a run. The command stays
// stored in any case.
const commandLimit = 15 * time.Second

// Stop sends the command batch.stop, as an external client would.
func (r Runs) Stop(ctx context.Context, run contract.RunID) error {
	return r.command(ctx, contract.SubjectStop, contract.ControlSpec{RunID: run})
}

// Steer sends the command batch.pause, batch.resume or batch.tune about a run with this status, as an
// external client would. It returns when the change is stored.
func (r Runs) Steer(ctx context.Context, subject string, s RunStatus, tuning contract.Tuning) error {
	if s.Status != contract.Running {
		return Usagef("--run %s: it is not running: %s: allowed is a running run", s.RunID, s.Status)
	}
	return r.command(ctx, subject, contract.ControlSpec{RunID: s.RunID, Tuning: tuning})
}

func (r Runs) command(ctx context.Context, subject string, spec contract.ControlSpec) error {
	body, err := spec.Body()
	if err != nil {
		return fmt.Errorf("requesting %s for run %s: %w", subject, spec.RunID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	msg, err := r.broker.Conn().RequestWithContext(ctx, subject, body)
	if err != nil {
		return fmt.Errorf("%w: requesting %s for run %s: no generator replied; the command is stored for the next one: %w",
			ErrBroker, subject, spec.RunID, err)
	}
	var reply contract.CommandReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("%w: requesting %s for run %s: %w", ErrBroker, subject, spec.RunID, err)
	}
	if reply.Error != "" {
		return Usagef("%s", reply.Error)
	}
	return nil
}
