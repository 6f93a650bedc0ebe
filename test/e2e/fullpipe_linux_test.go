package e2e_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A batch whose stderr and stdout are full pipes that nobody reads stalls on its log. A signal ends it within
// the time that the contract allows all the same.
func TestBatch_FullPipes(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999")
	p := newPlace(t, sim, "--end", "99999", "--delay-min", "0", "--delay-max", "0", "--log-level", "debug", "--progress", "json",
		"--graceful-shutdown-timeout", "1")
	unread, full, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unread.Close() }()
	cmd := exec.Command("fct-scraper", p.args...)
	cmd.Stdout, cmd.Stderr = full, full
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // if the test fails
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	size, err := unix.FcntlInt(unread.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	for held, deadline := 0, time.Now().Add(time.Minute); held < size-os.Getpagesize(); {
		if held, err = unix.IoctlGetInt(int(unread.Fd()), unix.TIOCINQ); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d of %d bytes in the pipe: %v", held, size, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	signaled := time.Now()
	_ = cmd.Wait() // its state says it
	took := time.Since(signaled)
	if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
		t.Errorf("exit code %d, want %d", code, codeTerminated)
	}
	// Graceful shutdown, and the second that the contract allows. The rest is for a busy machine.
	if took > 2500*time.Millisecond {
		t.Errorf("ended after %s", took)
	}
}
