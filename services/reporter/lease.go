package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// leaseInterval is the interval of the renewals; the bucket deletes a lease that is not renewed for
// 15 s. leasePoll is how often a waiting reporter checks whether the lease is free.
const leaseInterval, leasePoll = 5 * time.Second, 2 * time.Second

// leaseValid is how long a lease is valid after its last renewal: less than the bucket keeps it. A
// process that was suspended does not notice that another one reports the run, or has reported it.
const leaseValid = 12 * time.Second

// errLeaseLost means that another reporter may work on the run.
var errLeaseLost = errors.New("another reporter works on the run")

// lease is the right to report a run where several processes may. The checkpoint fences all but one
// of them anyway; the lease keeps the others from trying.
type lease struct {
	bucket   jetstream.KeyValue
	key      string
	revision uint64

	mu sync.Mutex
	// renewedAt is when the lease was requested or last renewed.
	renewedAt time.Time
}

// check returns errLeaseLost when another reporter may hold the lease. Nothing is written then. A
// nil lease, of the only reporter, is always valid.
func (l *lease) check() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.renewedAt) > leaseValid {
		return errLeaseLost
	}
	return nil
}

func (l *lease) setRenewed(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewedAt = at
}

// withLease waits for the lease of a run and calls work while it holds it; the only reporter needs
// no lease. It returns without work once want returns false: the run need not be reported any more.
func (s *Service) withLease(
	ctx context.Context, run contract.RunID, want func() (bool, error), work func(context.Context, *lease) error,
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
	held := &lease{bucket: bucket, key: run.ReporterKey()}
	others := renewals{}
	for {
		wanted, err := want()
		if err != nil || !wanted {
			return err
		}
		held.setRenewed(time.Now())
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
func (l *lease) deleteIfExpired(ctx context.Context, others renewals) error {
	entry, err := l.bucket.Get(ctx, l.key)
	if err == nil && others.expired(l.key, entry.Revision()) {
		err = l.bucket.Delete(ctx, l.key, jetstream.LastRevision(entry.Revision()))
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) || runs.IsConflict(err) { // it has changed since
		return nil
	}
	return err
}

// hold calls work while it renews the lease, then releases the lease.
func (l *lease) hold(ctx context.Context, work func(context.Context, *lease) error) error {
	leaseCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for delay.Sleep(leaseCtx, leaseInterval) == nil {
			sentAt := time.Now()
			revision, err := l.bucket.Update(leaseCtx, l.key, nil, l.revision)
			if err == nil {
				l.revision = revision
				l.setRenewed(sentAt)
			} else if runs.IsConflict(err) {
				stop(errLeaseLost)
			} // else the broker is in trouble: if that lasts, the lease expires and the next renewal fails
		}
	})
	err := work(leaseCtx, l)
	if cause := context.Cause(leaseCtx); err != nil && errors.Is(cause, errLeaseLost) {
		err = cause
	}
	stop(nil)
	renewing.Wait()
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseInterval)
	defer cancel()
	// If this fails the lease expires.
	_ = l.bucket.Delete(releaseCtx, l.key, jetstream.LastRevision(l.revision))
	return err
}
