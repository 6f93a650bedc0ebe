package natsd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"fct-scraper/pkg/natsd"
)

// A forked child has all files open until it starts its program: the lock must not last that long.
func TestServerClose_LockFileDuplicated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "fct-scraper.lock")
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err != nil || target != lock {
			continue
		}
		number, err := strconv.Atoi(fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		duplicate, err := syscall.Dup(number)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Close(duplicate) }()
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := natsd.Start(dir)
	if err != nil {
		t.Fatalf("the folder is still locked: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
