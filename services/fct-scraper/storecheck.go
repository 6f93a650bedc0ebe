package main

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

// storeCloseTimeout is how long the last look at a store may take.
const storeCloseTimeout = 5 * time.Second

// openOwnStore works over a store that is this process's own. It is held against what is known of it before anything is written.
func (b *broker) openOwnStore(
	ctx context.Context, nc *nats.Conn, c config.Config, a connectOptions, made func(context.Context, jetstream.JetStream) error, log *slog.Logger,
) error {
	var guard *integrity.Guard
	checked := func(ctx context.Context, js jetstream.JetStream) (err error) {
		guard, err = integrity.Check(ctx, integrity.Options{Bus: b.Bus, Log: log, Dir: c.DataDir, Output: c.Output, Repair: a.repair})
		if err == nil {
			err = made(ctx, js)
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
		if changed, err = reporter.Reconcile(ctx, b.Bus, log, a.repair); err != nil {
			return fmt.Errorf("%w: %w", errBroker, err)
		}
	}
	// A ledger can also have lost what was stored after the manifest was written: the keys tell of it then.
	if guard.AcceptedDamage() || a.repair && changed > 0 {
		if err := runs.Abandon(ctx, b.Bus, time.Now()); err != nil {
			return fmt.Errorf("%w: %w", errBroker, err)
		}
	}
	if changed > 0 {
		line := fmt.Sprintf("%d keys of the buckets collected and failed are written again from the ledger", changed)
		log.Warn("store.rebuilt", "what", line)
		b.restored = append(b.restored, line)
	}
	if err := guard.Record(ctx, func(err error) { b.broken <- err }); err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	closed := b.close
	b.close = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), storeCloseTimeout)
		defer cancel()
		if err := guard.Close(ctx); err != nil { // what is known of the store stays a lower bound
			log.Warn("store.manifest.kept", "error", err)
		}
		return closed()
	}
	return nil
}

// verify holds a store that is this process's own against what is known of it, and changes nothing. Damage is
// integrity.ErrDamaged, also where opening the store for work would make good for it.
func (b *broker) verify(ctx context.Context, c config.Config, log *slog.Logger) error {
	if b.server == nil {
		return nil
	}
	guard, err := integrity.Check(ctx, integrity.Options{Bus: b.Bus, Log: log, Dir: c.DataDir, Output: c.Output, ReadOnly: true})
	if err != nil || !guard.NeedsVerify() {
		return err
	}
	return reporter.CheckKeys(ctx, b.Bus, log)
}

// awaitBroken waits until the store is of no more use, which is its error, or ctx ends.
func (b *broker) awaitBroken(ctx context.Context) error {
	select {
	case err := <-b.broken: // never, when the store is another process's
		return err
	case <-ctx.Done():
		return nil
	}
}
