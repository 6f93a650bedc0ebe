// Package e2e_test runs fct-scraper as processes, from outside: by flags, files, signals and NATS. A few short tests run always, the
// long ones (kills, freezes, damage, full disks, rights, many processes) with the build tag soak.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/fcttest"

	"go.uber.org/goleak"
)

// The exit codes are part of the contract (README.md).
const (
	codeCompleted  = 0
	codeUsage      = 2
	codeFailed     = 3
	codeSafeStop   = 4
	codeBlocked    = 5
	codeBroker     = 6
	codeOutput     = 7
	codeInterrupt  = 130
	codeTerminated = 143
)

// TestMain builds the program, so that the tests find it on PATH as fct-scraper.
// A process that BenchmarkStore starts only writes a store.
func TestMain(m *testing.M) {
	if store := os.Getenv(envStoreDir); store != "" {
		if err := writeBenchStore(store); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	fcttest.RareGC()
	fcttest.MostlyWait()
	dir, err := os.MkdirTemp("", "fct-scraper-e2e-")
	if err == nil {
		err = buildProgram(dir)
	}
	code := 1
	if err == nil {
		if code = m.Run(); code == 0 {
			err = goleak.Find()
		}
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// buildProgram builds the program into a folder and puts that first on PATH.
func buildProgram(dir string) error {
	// Without debug information it is linked in half the time.
	args := []string{"build", "-ldflags=-s -w", "-o", filepath.Join(dir, "fct-scraper")}
	if raceDetector {
		args = append(args, "-race")
	}
	if said, err := exec.CommandContext(context.Background(), "go", append(args, programPath)...).CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, said)
	}
	return os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// programPath is the package of the program, from the folder of these tests.
const programPath = "../../services/fct-scraper"
