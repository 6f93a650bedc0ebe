//go:build soak

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/fcttest"
)

// TestBatch_FileSystemReadOnly has a file system become read-only below a running batch, as ext4 does when it finds itself damaged.
func TestBatch_FileSystemReadOnly(t *testing.T) {
	fcttest.SkipIfShort(t)
	for _, folder := range []string{"data", "output"} {
		t.Run(folder, func(t *testing.T) {
			d := newDisk(t)
			d.do("mount", "-o", "remount,errors=remount-ro", d.dir)
			diskFault{dir: d.dir, why: "read-only", begin: func() {
				trigger := filepath.Join("/sys/fs/ext4", filepath.Base(d.device()), "trigger_fs_error")
				if err := os.WriteFile(trigger, []byte("1"), 0o200); err != nil {
					t.Fatal(err)
				}
			}, end: func() {
				d.unmount()
				d.mount()
			}}.try(t, folder)
		})
	}
}

// device is the loop device that is mounted.
func (d disk) device() string {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if words := strings.Fields(line); words[1] == d.dir {
			return words[0]
		}
	}
	d.t.Fatalf("%s is not mounted", d.dir)
	return ""
}
