package main

import (
	"fmt"
	"os"
	"testing"

	"fct-scraper/pkg/fcttest"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain lets this test binary be fct-scraper too: scripts and tests that kill it start a real process.
func TestMain(m *testing.M) {
	fcttest.RareGC()
	fcttest.MostlyWait()
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
