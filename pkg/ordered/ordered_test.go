package ordered_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/ordered"
)

func count(n int) func(context.Context, func(int) error) error {
	return func(_ context.Context, pass func(int) error) error {
		for i := range n {
			if err := pass(i); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestMap_Order(t *testing.T) {
	t.Parallel()
	const values = 1000
	var got []int
	var workers atomic.Int64
	err := ordered.Map(t.Context(), count(values), func() func(int) int {
		workers.Add(1)
		return func(i int) int { return 2 * i }
	}, func(i int) error {
		got = append(got, i)
		return nil
	})
	if err != nil || len(got) != values || !slices.IsSorted(got) || got[values-1] != 2*(values-1) {
		t.Errorf("%d results, %v", len(got), err)
	}
	if workers.Load() == 0 {
		t.Error("no worker was made")
	}
}

func TestMap_Errors(t *testing.T) {
	t.Parallel()
	failure := errors.New("failed")
	same := func() func(int) int { return func(i int) int { return i } }
	taken := 0
	err := ordered.Map(t.Context(), count(1000), same, func(i int) error {
		if taken++; i == 10 {
			return failure
		}
		return nil
	})
	if !errors.Is(err, failure) || taken != 11 {
		t.Errorf("take failed: %v after %d results", err, taken)
	}
	produce := func(context.Context, func(int) error) error { return failure }
	if err := ordered.Map(t.Context(), produce, same, func(int) error { return nil }); !errors.Is(err, failure) {
		t.Errorf("produce failed: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err = ordered.Map(ctx, count(1000), same, func(i int) error {
		if i == 10 {
			cancel(failure)
		}
		return nil
	})
	if !errors.Is(err, failure) {
		t.Errorf("canceled: %v", err)
	}
}
