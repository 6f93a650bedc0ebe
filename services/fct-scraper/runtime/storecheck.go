package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// storeCloseTimeout is how long storing the manifest of a store may take when it is closed.
const storeCloseTimeout = 5 * time.Second

// openOwnStore opens a store that this process holds. It checks the store against its manifest
// before anything is written.
func (b *broker) openOwnStore(
	ctx context.Context,
	nc *nats.Conn,
	c config.Config,
	o connectOptions,
	prepare func(context.Context, jetstream.JetStream) error,
	log *slog.Logger,
) error {
	var guard *integrity.Guard
	checked := func(ctx context.Context, js jetstream.JetStream) (err error) {
		guard, err = integrity.Check(ctx,
			integrity.Options{Bus: b.Bus, Log: log, Dir: c.DataDir, Output: c.Output, Repair: o.repair,
				AnyOutput: o.anyOutput})
		if err == nil {
			err = prepare(ctx, js)
		}
		if err == nil {
			err = guard.Restore(ctx)
		}
		return err
	}
	if err := b.open(ctx, nc, checked, log); err != nil {
		return err
	}
	b.restored, b.broken = guard.Restored(), make(chan error, 1)
	changed, err := 0, error(nil)
	if guard.NeedsVerify() {
		if changed, err = reporter.Reconcile(ctx, b.Bus, log, o.repair); err != nil {
			return fmt.Errorf("%w: %w", ErrBroker, err)
		}
	}
	// A ledger can also have lost messages stored after the manifest was written. Then the keys
	// reveal it.
	if guard.AcceptedDamage() || o.repair && changed > 0 {
		if err := runs.Abandon(ctx, b.Bus, time.Now()); err != nil {
			return fmt.Errorf("%w: %w", ErrBroker, err)
		}
	}
	if changed > 0 {
		line := fmt.Sprintf("%d keys of the buckets collected and failed were rewritten from the ledger", changed)
		log.Warn("store.rebuilt", "what", line)
		b.restored = append(b.restored, line)
	}
	if err := guard.Record(ctx, func(err error) { b.broken <- err }); err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	closed := b.close
	b.close = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), storeCloseTimeout)
		defer cancel()
		if err := guard.Close(ctx); err != nil { // the old manifest remains a valid lower bound
			log.Warn("store.manifest.kept", "error", err)
		}
		return closed()
	}
	return nil
}

// verify checks a store that this process holds against its manifest and keys, and changes nothing.
// Damage is integrity.ErrDamaged, even if opening the store for work would repair it.
func (b *broker) verify(ctx context.Context, c config.Config, log *slog.Logger) error {
	if b.server == nil {
		return nil
	}
	guard, err := integrity.Check(ctx,
		integrity.Options{Bus: b.Bus, Log: log, Dir: c.DataDir, Output: c.Output, AnyOutput: true, ReadOnly: true})
	if err != nil || !guard.NeedsVerify() {
		return err
	}
	return reporter.CheckKeys(ctx, b.Bus, log)
}

// awaitBroken returns the error that makes the store unusable, or nil when ctx ends.
func (b *broker) awaitBroken(ctx context.Context) error {
	select {
	case err := <-b.broken: // nil, so never ready, if another process holds the store
		return err
	case <-ctx.Done():
		return nil
	}
}
