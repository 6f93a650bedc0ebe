package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/explain"

	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrNoRun reports that the store has no run of that id.
	ErrNoRun = errors.New("there is no such run")
	// ErrUnavailable reports that the process has no working connection to a broker at the moment.
	ErrUnavailable = errors.New("the services do not work at the moment")
)

// Live reads and steers the runs of the broker that the services of this process use now. It is safe
// for concurrent use. Every method returns ErrUnavailable while there is no such broker.
type Live struct {
	status *statusServer
	output string
	log    *slog.Logger
}

// Log is the logger of the process.
func (l Live) Log() *slog.Logger { return l.log }

func (l Live) broker() (*broker, error) {
	b, err := l.status.current()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return b, nil
}

// Bus returns the connection to the broker. After a restart of the services it is another one.
func (l Live) Bus() (*bus.Bus, error) {
	b, err := l.broker()
	if err != nil {
		return nil, err
	}
	return b.Bus, nil
}

// All returns the status of every run, the newest first.
func (l Live) All(ctx context.Context) ([]RunStatus, error) {
	b, err := l.broker()
	if err != nil {
		return nil, err
	}
	return Runs{broker: b}.All(ctx)
}

// Status returns the status of a run, or ErrNoRun.
func (l Live) Status(ctx context.Context, run contract.RunID) (RunStatus, error) {
	b, err := l.broker()
	if err != nil {
		return RunStatus{}, err
	}
	s, err := Runs{broker: b}.status(ctx, run)
	return s, noRun(err)
}

// Manifest returns the manifest of a run, or ErrNoRun.
func (l Live) Manifest(ctx context.Context, run contract.RunID) (contract.Manifest, error) {
	b, err := l.broker()
	if err != nil {
		return contract.Manifest{}, err
	}
	m, err := runs.Manifest(ctx, b.runs, run)
	return m, noRun(err)
}

// State returns the state of a run; the zero state if it has none yet.
func (l Live) State(ctx context.Context, run contract.RunID) (contract.State, error) {
	b, err := l.broker()
	if err != nil {
		return contract.State{}, err
	}
	state, err := runs.Get[contract.State](ctx, b.runs, run.StateKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = nil
	}
	return state, err
}

func noRun(err error) error {
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ErrNoRun
	}
	return err
}

// Explain reads the history of a case. It returns the errors of explain.Explain.
func (l Live) Explain(ctx context.Context, id contract.CaseID) (explain.History, error) {
	b, err := l.broker()
	if err != nil {
		return explain.History{}, err
	}
	exists, closeOutput := outputFiles(l.output)
	defer closeOutput()
	return explain.Explain(ctx, b.Bus, id, exists)
}

// Command sends a command about a run with this status: contract.SubjectStop, SubjectPause or
// SubjectResume. It returns when the change is stored.
func (l Live) Command(ctx context.Context, subject string, s RunStatus) error {
	b, err := l.broker()
	if err != nil {
		return err
	}
	r := Runs{broker: b}
	if subject == contract.SubjectStop {
		return r.Stop(ctx, s.RunID)
	}
	return r.Steer(ctx, subject, s, contract.Tuning{})
}
