// Package runtime connects a process to its NATS server and runs services there: it opens or starts
// the server, runs a batch or serves, and reads what a store holds. The environment, the signals,
// the flags and the exit codes belong to the program.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/generator"
	"fct-scraper/services/reporter"
	"fct-scraper/services/reporter/explain"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrUsage is what the errors of Usagef are. Their text does not contain its text: people know that
	// the call was invalid from what is wrong with it.
	ErrUsage = errors.New("usage")
	// ErrBroker marks an error of the broker that has no sentinel of its own.
	ErrBroker = errors.New("broker")
)

// IsOutputError reports whether err is a mismatch of the ledger, an output that is not writable, or a
// record that cannot be exported.
func IsOutputError(err error) bool {
	return isAny(err, ledger.ErrMismatch, store.ErrNotWritable, export.ErrRecord)
}

// IsUsageError reports whether err is an invalid call, setting or command.
func IsUsageError(err error) bool {
	return isAny(err, ErrUsage, config.ErrConfig, generator.ErrCommand, reporter.ErrRunning, export.ErrOptions)
}

// IsBrokerError reports whether err is an error of the broker or the store.
func IsBrokerError(err error) bool {
	return isAny(err, ErrBroker, errHolderEnded, bus.ErrStore, integrity.ErrDamaged, runs.ErrUnreadable,
		natsd.ErrLocked, natsd.ErrStart, natsd.ErrNoSpace, streams.ErrDrift)
}

// usageError is an error that is also ErrUsage.
type usageError struct{ error }

// Is reports whether target is ErrUsage.
func (usageError) Is(target error) bool { return target == ErrUsage }

// Unwrap returns the error, whose text is that of e.
func (e usageError) Unwrap() error { return e.error }

// Usagef returns an error about an invalid call, with the text of fmt.Errorf. It wraps what that wraps.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isAny(err error, among ...error) bool {
	return slices.ContainsFunc(among, func(sentinel error) bool { return errors.Is(err, sentinel) })
}

// Process is what all work of a process depends on.
type Process struct {
	Settings *config.Settings
	Log      *slog.Logger
	// Version is the version of the program.
	Version string
	// Getenv returns the value of an environment variable, or "". Batch and Serve look up the proxy.
	Getenv func(name string) string
	// Page returns the page and its API, for the status server; nil serves neither.
	Page func(Live) Page
	// Listening is called with the address at which the status server listens; nil is not called.
	Listening func(addr string)
}

// Page is what the status server serves beside its own paths.
type Page interface {
	http.Handler
	// Misdirected responds to requests whose Host does not name the server.
	Misdirected(http.ResponseWriter, *http.Request)
	// Close ends what uses the broker.
	Close()
}

// Services returns the names of the services, in the order of the data flow.
func Services() []string {
	return []string{"prober", "generator", "fetcher", "classifier", "reporter"}
}

// Setup creates the streams, buckets and shared consumers that are missing on the server.
func (p Process) Setup(ctx context.Context) error {
	return p.useStore(ctx, connectOptions{}, func(*broker) error { return nil })
}

// Explain reads the history of a case from the store and does not change the store: it creates no
// streams and marks no run as stopped. It returns the errors of explain.Explain.
func (p Process) Explain(ctx context.Context, id contract.CaseID) (history explain.History, err error) {
	if err := checkStoreExists(p.Settings.Config); err != nil {
		return history, fmt.Errorf("explaining %s: %w", id, err)
	}
	exists, closeOutput := outputFiles(p.Settings.Output)
	defer closeOutput()
	err = p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		err := b.verify(ctx, p.Settings.Config, p.Log)
		if err == nil {
			history, err = explain.Explain(ctx, b.Bus, id, exists)
		}
		return err
	})
	switch {
	case err == nil, errors.Is(err, ledger.ErrMismatch):
		return history, err
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return history, Usagef("no run was ever started on this store: %w", err)
	default:
		return history, fmt.Errorf("%w: %w", ErrBroker, err)
	}
}

// Cases reads from the store what it holds of the cases of a run that has ended. It changes nothing.
func (p Process) Cases(ctx context.Context, run RunResult) (cases []explain.CaseResult, err error) {
	err = p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		cases, err = explain.Cases(ctx, b.Bus, run.Manifest, run.State)
		return err
	})
	if err != nil && !errors.Is(err, ledger.ErrMismatch) {
		err = fmt.Errorf("%w: %w", ErrBroker, err)
	}
	return cases, err
}

// outputFiles returns a function that reports whether a regular file is in the output folder,
// without following links out of it, and a function that closes the folder. A missing folder is not
// created.
func outputFiles(output string) (exists func(name string) bool, done func()) {
	root, err := os.OpenRoot(output)
	if err != nil {
		return func(string) bool { return false }, func() {}
	}
	exists = func(name string) bool {
		info, err := root.Stat(name)
		return err == nil && info.Mode().IsRegular()
	}
	return exists, func() { _ = root.Close() } // opened only for reading
}

// Rewrite writes the files of a run again from the store. It returns the report, the name of its
// file, and what was rebuilt in the store. repair accepts a damaged store.
func (p Process) Rewrite(
	ctx context.Context, run contract.RunID, repair bool,
) (report contract.Report, file string, restored []string, err error) {
	if err := checkStoreExists(p.Settings.Config); err != nil {
		return report, "", nil, fmt.Errorf("writing the report of %s: %w", run, err)
	}
	err = p.useStore(ctx, connectOptions{repair: repair, readOnly: true}, func(b *broker) (err error) {
		restored = b.restored
		report, file, err = p.rewriteFrom(ctx, b, run)
		return err
	})
	return report, file, restored, err
}

// rewriteFrom writes the files of a run again from the store of the broker.
func (p Process) rewriteFrom(
	ctx context.Context, broker *broker, run contract.RunID,
) (report contract.Report, file string, err error) {
	if m, err := runs.Manifest(ctx, broker.runs, run); err == nil && m.Origin != "" {
		if err := checkOutputOrigin(p.Settings.Output, m.Origin); err != nil {
			return report, "", err
		}
	}
	output, err := store.Open(p.Settings.Output)
	if err != nil {
		return report, "", err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	report, file, err = reporter.Rewrite(ctx, reporter.Options{
		Bus: broker.Bus, Store: output, Logger: p.Log, Version: p.Version, Ledger: storeName(p.Settings),
	}, run)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = Usagef("--run %s: want the id of a run of this store, as `fct-scraper runs` lists them", run)
	}
	return report, file, err
}

// storeName returns the name of the store for messages.
func storeName(settings *config.Settings) string {
	if settings.NATSURL != "" {
		return fmt.Sprintf("nats_url %s", settings.Subset("nats_url")["nats_url"])
	}
	dir, err := filepath.Abs(settings.DataDir)
	if err != nil {
		dir = settings.DataDir
	}
	return "data_dir " + dir
}
