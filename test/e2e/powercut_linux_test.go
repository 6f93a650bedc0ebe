//go:build soak

package e2e_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"

	"golang.org/x/sys/unix"
)

var (
	cuts    = flag.Int("cuts", 30, "how often TestPowerCuts cuts the power")
	cutSeed = flag.Uint64("cut-seed", 0, "which instants TestPowerCuts cuts the power at; 0 takes others each time")
)

// disk is an ext4 file system on a loop device, whose power can be cut.
type disk struct {
	t          *testing.T
	image, dir string
}

// newDisk makes a file system of a GiB and mounts it. Without the rights, the tools or the devices for that the test fails: left out in
// silence it would seem to have shown something.
func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 1<<30); err != nil {
		t.Fatal(err)
	}
	d.do("mkfs.ext4", "-q", "-F", d.image)
	d.mount()
	t.Cleanup(d.unmount)
	return d
}

func (d disk) do(name string, args ...string) {
	d.t.Helper()
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("power cuts need root, loop devices, ext4 and %s: %v: %s", name, err, said)
	}
}

func (d disk) mount()   { d.t.Helper(); d.do("mount", "-o", "loop", d.image, d.dir) }
func (d disk) unmount() { d.t.Helper(); d.do("umount", d.dir) }

const (
	// shutdownFS is FS_IOC_SHUTDOWN, _IOR('X', 125, __u32); notEvenTheLog is its flag EXT4_GOING_FLAGS_NOLOGFLUSH: what was not synced
	// before is lost, as by a power cut (linux/fs/ext4/ext4.h).
	shutdownFS    = 0x8004587d
	notEvenTheLog = 2
)

// cut has nothing reach the disk from now on.
func (d disk) cut() {
	d.t.Helper()
	folder, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	if err := unix.IoctlSetPointerInt(int(folder.Fd()), shutdownFS, notEvenTheLog); err != nil {
		d.t.Fatal("FS_IOC_SHUTDOWN:", err)
	}
}

// TestPowerCuts has a batch with its store and its output on a disk whose power is cut at random instants, and started again each time,
// until it has every number once.
func TestPowerCuts(t *testing.T) {
	fcttest.SkipIfShort(t)
	const concurrency, numbers = 4, 2000
	seed := *cutSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: -cut-seed %d does it again", seed, seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	sim := startSim(t, "--max", "2000", "--missing", "0.1", "--seed", "24")
	d := newDisk(t)
	p := newPlace(t, sim, "--end", "2000", "--delay-min", "2ms", "--delay-max", "4ms", "--concurrency", "4", "--log-level", "error",
		"--output", filepath.Join(d.dir, "output"), "--data-dir", filepath.Join(d.dir, "data"))
	p.dir = d.dir
	lives := p.warmUp(sim) + 250*time.Millisecond
	for i := range *cuts {
		collected, asked := p.outcomes(), sim.asked()
		begun := time.Now()
		cmd := p.start(nil)
		at(begun, time.Duration(dice.Int64N(int64(lives))))
		d.cut()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed, or ended by the disk
		d.unmount()
		d.mount()
		for number, calls := range sim.asked() {
			if n := fcttest.Number(t, number); collected[n] != "" && fcttest.Total(calls) != fcttest.Total(asked[number]) {
				t.Errorf("cut %d: number %s was collected and asked again", i, number)
			}
		}
		for number, outcome := range p.outcomes() {
			delete(collected, number)
			if !outcome.Valid() {
				t.Errorf("cut %d: number %d is %q", i, number, outcome)
			}
		}
		if len(collected) > 0 {
			t.Errorf("cut %d: the outcomes of %d numbers are gone", i, len(collected))
		}
	}
	before := len(p.outcomes())
	report := p.finish(0)
	if before == 0 || before == numbers {
		t.Errorf("%d numbers had an outcome after the last cut: the cuts came too early or too late to show anything", before)
	}
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 24, Max: numbers, Missing: 0.1}), outcomes, numbers)
	p.checkRecords(outcomes)
	if report.Total != numbers || report.Succeeded+report.NoRecord != numbers {
		t.Errorf("%d = %d success + %d no-record, want %d", report.Total, report.Succeeded, report.NoRecord, numbers)
	}
	n := fcttest.Repeated(sim.asked())
	if most := (*cuts + 1) * concurrency * 2; n > most {
		t.Errorf("%d requests were repeated, want at most %d", n, most)
	}
	t.Logf("%d numbers done after %d cuts; %d requests repeated", before, *cuts, n)
}
