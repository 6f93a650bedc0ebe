package fcttest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk mounts a file system in memory with tmpfs options such as "size=24m", and unmounts it with
// the test. mounted is false if the test may not mount: it then has to use a limit of the process
// instead.
func Disk(t testing.TB, options string) (dir string, mounted bool) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Logf("NOT MOUNTED: a file system of its own needs root: %v", err)
		return dir, false
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// Fill leaves so many free bytes on a Disk, and returns a function that frees what it took.
func Fill(t testing.TB, dir string, leave int64) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	file, err := os.Create(name)
	for size := int64(0); err == nil; {
		var stat unix.Statfs_t
		if err = unix.Statfs(dir, &stat); err != nil {
			break
		}
		take := int64(stat.Bavail)*stat.Bsize - leave
		if take <= 0 {
			break
		}
		// Others write too: if it does not fit any more, retry with less.
		if err = unix.Fallocate(int(file.Fd()), 0, size, take); err == nil {
			size += take
		} else if errors.Is(err, unix.ENOSPC) {
			err = nil
		}
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(fmt.Errorf("filling %s: %w", dir, err))
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}
