//go:build soak

package e2e_test

import (
	"bytes"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
)

// TestBatch_NoSpaceInStore: on a disk of 164 KiB a batch made some of its streams and waited for ever. A limit on
// the size of files stands for the disk, which takes root to make; nothing is asked, so no court is there.
func TestBatch_NoSpaceInStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `ulimit -f 300 && exec fct-scraper "$@"`, "sh", "batch", "2025", "--end", "20", "--site", "fct-cf",
		"--base-url", "http://127.0.0.1:9", "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
	said, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != codeBroker || !strings.Contains(string(said), "bytes free: trying 1024 KiB") {
		t.Errorf("exit code %d, want %d: %v\n%s", code, codeBroker, err, said)
	}
	left, err := filepath.Glob(filepath.Join(dir, "data", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v, want the lock alone", left, err)
	}
}

// soon is how long a process may take to notice that its store has no room.
const soon = 15 * time.Second

// fleetAt is the test's connection to a server of somebody else.
func fleetAt(t testing.TB, addr, key string) *fleet {
	t.Helper()
	nkey, err := nats.NkeyOptionFromSeed(key)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+addr, nkey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	f := &fleet{t: t}
	if f.broker, err = bus.New(nc, fcttest.Logger(t), bus.Options{}); err != nil {
		t.Fatal(err)
	}
	f.openRuns()
	return f
}

// TestBatch_DiskFull fills the disk below a running batch, makes room and starts it again.
func TestBatch_DiskFull(t *testing.T) {
	t.Parallel()
	const numbers = 300
	sim, open := gated(t, courtsim.Options{Max: 99999, Latency: 20 * time.Millisecond}, 60)
	p := newPlace(t, sim, "--end", "300", "--delay-min", "10ms", "--delay-max", "15ms", "--site", "fct-cf")
	disk, mounted := fcttest.Disk(t, "size=32m")
	fill := func() func() { return fcttest.Fill(t, disk, 0) }
	run := p
	if mounted {
		p.args = append(p.args, "--data-dir", filepath.Join(disk, "data"))
		run = p
	} else { // a limit on the size of files is no less a wall
		run.args = append([]string{"-c", `ulimit -f 1100 && exec fct-scraper "$@"`, "sh"}, p.args...)
		fill = func() func() { return func() {} }
	}
	var out, said bytes.Buffer
	cmd := exec.Command("fct-scraper", run.args...)
	if !mounted {
		cmd = exec.Command("sh", run.args...)
	}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sim.totals(30)
	full := time.Now()
	empty := fill()
	open()
	err := cmd.Wait()
	took := time.Since(full)
	t.Logf("noticed and ended after %v: %s", took, said.String())
	if code := cmd.ProcessState.ExitCode(); code != codeBroker || mounted && took > soon {
		t.Errorf("exit code %d after %v, want %d: %v", code, took, codeBroker, err)
	}
	for _, text := range []string{"data_dir ", "bytes free", "stream"} {
		if !strings.Contains(said.String(), text) {
			t.Errorf("%q is missing in: %s", text, said.String())
		}
	}
	empty()
	p.checkResumed(sim, numbers)
}

// TestServe_DiskFull: full from the start, then with room, then full again in mid-run, then with room.
func TestServe_DiskFull(t *testing.T) {
	t.Parallel()
	disk, mounted := fcttest.Disk(t, "size=32m")
	if !mounted {
		return // a limit on a process cannot be lifted while it runs; TestBatch_DiskFull tries one
	}
	const numbers = 300
	sim := startSim(t, "--max", "99999", "--missing", "0", "--latency", "20ms")
	dir := t.TempDir()
	empty := fcttest.Fill(t, disk, 0)
	addr, key := fcttest.FreeAddr(t), filepath.Join(disk, "data", "client.nk")
	s := startServer(t, "--embedded", "--embedded-addr", addr, "--site", "fct-cf", "--base-url", sim.url, "--delay-min", "10ms", "--delay-max", "15ms",
		"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(disk, "data"))
	holdsUp := func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "data_dir "+disk) && strings.Contains(text, "bytes free")
	}
	s.until("/readyz", "", holdsUp)
	s.hears("serve.waiting")
	empty()
	s.until("/readyz", "", ready)
	fleetAt(t, addr, key).order("full", `{"run_id":"full","year":"25","end":300,"probe":false}`)
	sim.totals(30)
	full := time.Now()
	empty = fcttest.Fill(t, disk, 0)
	s.until("/readyz", "", holdsUp)
	s.hears("serve.waiting")
	for len(s.said) > 0 {
		<-s.said
	}
	t.Logf("not ready, services ended and waiting after %v", time.Since(full))
	before := sim.totals(0)
	at(time.Now(), time.Second)
	if after := sim.totals(0); after != before {
		t.Errorf("%d requests while the disk was full", after-before)
	}
	if took := time.Since(full); took > soon {
		t.Errorf("it took %v", took)
	}
	empty()
	s.until("/readyz", "", ready)
	report := fleetAt(t, addr, key).report("full")
	if report.Status != contract.Completed || report.Succeeded != numbers {
		t.Errorf("%s: %d succeeded, want %d", report.Status, report.Succeeded, numbers)
	}
	if again := fcttest.Repeated(sim.asked()); again > 8 {
		t.Errorf("%d requests were made again", again)
	}
}
