//go:build soak

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// diskFault is a file system that takes nothing more in mid-run, with data_dir or output on it.
type diskFault struct {
	// dir is where the file system is mounted; begin has it take nothing, end has it take files again. why is what is said of it.
	dir, why   string
	begin, end func()
}

// try has a batch meet the fault: it ends in time and names the folder. When the fault is over the batch completes.
func (f diskFault) try(t *testing.T, folder string) {
	t.Helper()
	const numbers = 150
	sim, open := gated(t, courtsim.Options{Max: 99999, Latency: 20 * time.Millisecond}, 60)
	p := newPlace(t, sim, "--end", fmt.Sprint(numbers), "--delay-min", "10ms", "--delay-max", "15ms")
	on, code := filepath.Join(f.dir, folder), codeBroker
	p.args = append(p.args, map[string]string{"data": "--data-dir", "output": "--output"}[folder], on)
	if folder == "output" {
		p.dir, code = f.dir, codeOutput
	}
	var said bytes.Buffer
	cmd := exec.Command("fct-scraper", append(p.args, "--log-level", "error")...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sim.totals(30)
	began := time.Now()
	f.begin()
	open()
	_ = cmd.Wait() // its exit code says it
	took := time.Since(began)
	if got := cmd.ProcessState.ExitCode(); got != code || took > soon || !strings.Contains(said.String(), on) || !strings.Contains(said.String(), f.why) {
		t.Errorf("exit code %d after %v, want %d, %s and %s named: %s", got, took, code, on, f.why, said.String())
	}
	t.Logf("exit code %d after %v: %s", cmd.ProcessState.ExitCode(), took, said.String())
	f.end()
	p.checkResumed(sim, numbers)
}

// TestBatch_NoInodesLeft has a file system run out of inodes below a running batch.
func TestBatch_NoInodesLeft(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"data", "output"} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			disk, mounted := fcttest.Disk(t, "size=64m,nr_inodes=2000")
			if !mounted {
				return // a limit on a process does not count files
			}
			var made []string
			why := map[string]string{"data": "more files fit, 64 are needed", "output": "no space left on device"}[folder]
			diskFault{dir: disk, why: why, begin: func() {
				for i := range 2000 {
					name := filepath.Join(disk, fmt.Sprint("file", i))
					if err := os.WriteFile(name, nil, 0o600); err != nil {
						return
					}
					made = append(made, name)
				}
				t.Error("2000 files fit")
			}, end: func() {
				for _, name := range made {
					if err := os.Remove(name); err != nil {
						t.Error(err)
					}
				}
			}}.try(t, folder)
		})
	}
}
