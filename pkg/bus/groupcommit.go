package bus

import (
	"context"
	"fmt"
	"sync"
)

// GroupCommit commits items together that arrive while an earlier commit runs. An item never waits
// for others: at a slow pace each one is committed alone and at once.
type GroupCommit[T any] struct {
	commit  func(context.Context, []T) error
	size    func(T) int
	maxSize int

	mu      sync.Mutex
	waiting []waiter[T]
	running bool
}

type waiter[T any] struct {
	item T
	done chan error
}

// NewGroupCommit returns a GroupCommit over commit, which gets at least one item, and more as long
// as their sizes add up to at most maxSize. commit is never called concurrently.
func NewGroupCommit[T any](maxSize int, size func(T) int, commit func(context.Context, []T) error) *GroupCommit[T] {
	return &GroupCommit[T]{commit: commit, size: size, maxSize: maxSize}
}

// Do returns when the item is committed, or with the error of its commit. This goroutine may also
// carry out the commits of other items; they run without the cancellation of its ctx, because
// others depend on them.
func (g *GroupCommit[T]) Do(ctx context.Context, item T) error {
	own := waiter[T]{item: item, done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, own)
	lead := !g.running
	g.running = true
	g.mu.Unlock()
	if lead {
		g.commitWaiting(context.WithoutCancel(ctx))
	}
	return <-own.done
}

// commitWaiting commits until no item waits.
func (g *GroupCommit[T]) commitWaiting(ctx context.Context) {
	for {
		batch := g.nextBatch()
		if batch == nil {
			return
		}
		items := make([]T, len(batch))
		for i, w := range batch {
			items[i] = w.item
		}
		err := g.commitRecovered(ctx, items)
		for _, w := range batch {
			w.done <- err
		}
	}
}

func (g *GroupCommit[T]) nextBatch() []waiter[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.running = false
		return nil
	}
	n, sum := 1, g.size(g.waiting[0].item)
	for n < len(g.waiting) && sum+g.size(g.waiting[n].item) <= g.maxSize {
		sum += g.size(g.waiting[n].item)
		n++
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return batch
}

// commitRecovered turns a panic of commit into an error, so that every waiting goroutine gets it.
func (g *GroupCommit[T]) commitRecovered(ctx context.Context, items []T) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("committing %d items: panic: %v", len(items), cause)
		}
	}()
	return g.commit(ctx, items)
}
