package fcttest

import (
	"flag"
	"runtime"
	"runtime/debug"
	"strconv"
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

// MostlyWait runs twice as many tests of a package at a time as there are CPUs. TestMain calls it
// where most tests wait more than they work. A -parallel of the command line has the last word: it
// is read later.
func MostlyWait() {
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
}

// RareGC collects garbage when the heap is five times as large as what was live, instead of twice.
// TestMain calls it where no test measures its own memory: with many small servers a quarter of the
// CPU time is garbage collection.
func RareGC() { debug.SetGCPercent(400) }
