package runs

import (
	"context"
	"fmt"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// Halted is the cause of the cancelled work on a run that was halted.
type Halted struct{ contract.Halt }

// Error returns the status and the reason of the halt.
func (h Halted) Error() string { return fmt.Sprintf("run halted (%s): %s", h.Status, h.Reason) }

// Halt stores the order to stop working on a run. If the run is halted already it changes nothing
// and returns nil.
func Halt(ctx context.Context, kv jetstream.KeyValue, run contract.RunID, halt contract.Halt) error {
	if _, err := PutAt(ctx, kv, run.HaltKey(), halt, 0); err != nil && !IsConflict(err) {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	return nil
}

// DecodeHalt reads a halt. An unreadable one still halts the run: going on could send requests to a
// site that must not get any. The run ends as stopped, and the next start removes the halt.
func DecodeHalt(entry jetstream.KeyValueEntry) contract.Halt {
	halt, err := Decode[contract.Halt](entry.Key(), entry.Value())
	if err == nil && halt.Status == "" {
		err = fmt.Errorf("%w: %s: no status", ErrUnreadable, entry.Key())
	}
	if err != nil {
		return contract.Halt{Status: contract.Stopped, Reason: err.Error(), At: entry.Created().UTC()}
	}
	return halt
}
