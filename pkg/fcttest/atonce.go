package fcttest

import (
	"sync"
	"testing"
)

// RunAtOnce runs a subtest for each case, all of them at once. It is for subtests that mostly wait:
// t.Parallel runs only as many at a time as there are CPUs.
func RunAtOnce[C any](t *testing.T, cases map[string]C, test func(t *testing.T, name string, c C)) {
	t.Helper()
	var all sync.WaitGroup
	for name, c := range cases {
		all.Go(func() { t.Run(name, func(t *testing.T) { test(t, name, c) }) })
	}
	all.Wait()
}
