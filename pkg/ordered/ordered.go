// Package ordered processes values concurrently and keeps their order.
package ordered

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Map passes what produce passes on through workers, one for each processor, and calls take with
// their results in the order of produce. newWorker is called once for each worker, which processes
// one value at a time. At most two more values than there are workers are held at once, with their
// results. The error is the first one of produce or take, or the cause of ctx.
func Map[In, Out any](
	ctx context.Context, produce func(ctx context.Context, pass func(In) error) error,
	newWorker func() func(In) Out, take func(Out) error,
) error {
	type job struct {
		in   In
		out  Out
		done chan struct{}
	}
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	work, inOrder := make(chan *job), make(chan *job, workers)
	group.Go(func() error {
		defer close(work)
		defer close(inOrder)
		return produce(ctx, func(in In) error {
			j := &job{in: in, done: make(chan struct{})}
			for _, to := range []chan *job{inOrder, work} {
				select {
				case to <- j:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		})
	})
	for range workers {
		group.Go(func() error {
			process := newWorker()
			for j := range work {
				j.out = process(j.in)
				var none In
				j.in = none // frees its memory
				close(j.done)
			}
			return nil
		})
	}
	group.Go(func() error {
		for j := range inOrder {
			select {
			case <-j.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := take(j.out); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}
