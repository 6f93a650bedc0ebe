package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// leasePoll is how often a waiting reporter checks whether the lease is free.
const leasePoll = 2 * time.Second

// errLeaseLost means that another reporter may work on the run.
var errLeaseLost = errors.New("another reporter works on the run")

// runLease is the right to report a run where several processes may: a key of the bucket fetchers.
// The checkpoint fences all but one of them anyway; the lease keeps the others from trying.
type runLease struct {
	bucket   jetstream.KeyValue
	key      string
	revision uint64
	term     lease.Term
	clock    *lease.Clock
}

// check returns errLeaseLost when another reporter may hold the lease. Nothing is written then. A
// nil lease, of the only reporter, is always valid.
func (l *runLease) check() error {
	if l == nil {
		return nil
	}
	if !l.clock.Valid() {
		return errLeaseLost
	}
	return nil
}

// withLease waits for the lease of a run and calls work while it holds it; the only reporter needs
// no lease. It returns without work once want returns false: the run need not be reported any more.
func (s *Service) withLease(
	ctx context.Context, run contract.RunID, term lease.Term, want func() (bool, error),
	work func(context.Context, *runLease) error,
) error {
	if !s.Shared {
		wanted, err := want()
		if err != nil || !wanted {
			return err
		}
		return work(ctx, nil)
	}
	bucket, err := s.Bus.KV(ctx, contract.BucketFetchers)
	if err != nil {
		return err
	}
	held := &runLease{bucket: bucket, key: run.ReporterKey(), term: term}
	others := lease.NewRenewals(term)
	for {
		wanted, err := want()
		if err != nil || !wanted {
			return err
		}
		held.clock = lease.NewClock(term, time.Now())
		held.revision, err = bucket.Create(ctx, held.key, nil)
		if err == nil {
			return held.hold(ctx, work)
		}
		if !runs.IsConflict(err) {
			return fmt.Errorf("taking the lease of %s: %w", run, err)
		}
		if err := held.deleteIfExpired(ctx, others); err != nil {
			return fmt.Errorf("taking the lease of %s: %w", run, err)
		}
		if err := delay.Sleep(ctx, leasePoll); err != nil {
			return err
		}
	}
}

// deleteIfExpired deletes a lease whose holder has not renewed it for longer than the bucket should
// keep it.
func (l *runLease) deleteIfExpired(ctx context.Context, others *lease.Renewals) error {
	entry, err := l.bucket.Get(ctx, l.key)
	if err == nil && others.Expired(l.key, entry.Revision()) {
		err = l.bucket.Delete(ctx, l.key, jetstream.LastRevision(entry.Revision()))
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) || runs.IsConflict(err) { // it has changed since
		return nil
	}
	return err
}

// hold calls work while it renews the lease, then releases the lease.
func (l *runLease) hold(ctx context.Context, work func(context.Context, *runLease) error) error {
	leaseCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for delay.Sleep(leaseCtx, l.term.Heartbeat()) == nil {
			if l.check() != nil { // the broker was in trouble, or this process was suspended
				stop(errLeaseLost)
				return
			}
			sentAt := time.Now()
			revision, err := l.bucket.Update(leaseCtx, l.key, nil, l.revision)
			if err == nil {
				l.revision = revision
				l.clock.Renewed(sentAt)
			} else if runs.IsConflict(err) {
				stop(errLeaseLost)
			} // else the broker is in trouble: if that lasts, the lease expires
		}
	})
	err := work(leaseCtx, l)
	if cause := context.Cause(leaseCtx); err != nil && errors.Is(cause, errLeaseLost) {
		err = cause
	}
	stop(nil)
	renewing.Wait()
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.term.Heartbeat())
	defer cancel()
	// If this fails the lease expires. The revision keeps it from deleting the lease of another.
	_ = l.bucket.Delete(releaseCtx, l.key, jetstream.LastRevision(l.revision))
	return err
}
