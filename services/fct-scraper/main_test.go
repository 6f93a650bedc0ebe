package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain lets this test binary be fct-scraper too: scripts and tests that kill it start a real process.
func TestMain(m *testing.M) {
	// Most of these tests wait more than they work. An own -parallel has the last word: it is read later.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	testscript.Main(leakless{m}, map[string]func(){"fct-scraper": main, atNewYear: mainAtNewYear})
}

// leakless fails when goroutines are left behind.
type leakless struct{ tests *testing.M }

func (l leakless) Run() int {
	code := l.tests.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
