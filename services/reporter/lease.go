package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// A reporter renews its lease this often; the bucket forgets one that is not renewed after 15 s. Who waits for it looks this
// often whether it is free.
const leaseInterval, leasePoll = 5 * time.Second, 2 * time.Second

// leaseValid is how long after its last renewal a lease is relied on: less than the bucket keeps it. A process that stood still
// does not notice that another one reports the run, and perhaps has reported it.
const leaseValid = 12 * time.Second

// errLeaseLost says that another reporter works on the run.
var errLeaseLost = errors.New("another reporter works on the run")

// lease is the right to report a run, where several processes may. The checkpoint fences all but one anyway; the lease keeps
// the others from trying.
type lease struct {
	bucket   jetstream.KeyValue
	key      string
	revision uint64

	mu sync.Mutex
	// renewedAt is when the lease was asked for, or renewed last.
	renewedAt time.Time
}

// check is errLeaseLost when another reporter may have the lease by now. Nothing is written without it. Who is alone needs none.
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

// withLease works under the lease of a run: it waits until it has it, and while want says that the run is to be reported.
func (s *Service) withLease(ctx context.Context, run contract.RunID, want func() (bool, error), work func(context.Context, *lease) error) error {
	if !s.Shared {
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
		if !errors.Is(err, jetstream.ErrKeyExists) {
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

// deleteIfExpired gives back a lease whose holder was not heard of for longer than the bucket should keep it.
func (l *lease) deleteIfExpired(ctx context.Context, others renewals) error {
	entry, err := l.bucket.Get(ctx, l.key)
	if err == nil && others.expired(l.key, entry.Revision()) {
		err = l.bucket.Delete(ctx, l.key, jetstream.LastRevision(entry.Revision()))
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyExists) { // it has changed meanwhile
		return nil
	}
	return err
}

// hold works while the lease is renewed, and gives it back.
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
			} else if errors.Is(err, jetstream.ErrKeyExists) {
				stop(errLeaseLost)
			} // else the broker is in trouble: if that lasts, the bucket forgets the lease and the next renewal finds out
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
	// When this is not heard the lease runs out by itself.
	_ = l.bucket.Delete(releaseCtx, l.key, jetstream.LastRevision(l.revision))
	return err
}
