package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal: what is written to one end is read from the other.
func openTerminal(t *testing.T, width int) (user, process *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	process, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	resize(t, user, width)
	return user, process
}

func resize(t *testing.T, user *os.File, width int) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 200, Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
}

// shared is a screen that one goroutine writes and another one reads.
type shared struct {
	mu sync.Mutex
	screen
}

func (s *shared) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.Write(data)
}

func (s *shared) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.String()
}

// await waits until the screen is as wanted.
func (s *shared) await(t *testing.T, what string, is func(text string) bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !is(s.text()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: the screen shows\n%s", what, s.text())
		}
	}
}

// A batch of 60 numbers in a real terminal of 50 columns that is resized, stopped by Ctrl-Z and continued
// leaves its log lines and its summary, and no line of the block.
func TestBatch_InTerminal(t *testing.T) {
	t.Parallel()
	court := httptest.NewServer(fcttest.Site(t, courtsim.Options{Seed: 7, Max: 90, Missing: 0.1}))
	defer court.Close()
	dir := t.TempDir()
	user, process := openTerminal(t, 50)
	cmd := exec.Command("fct-scraper", "batch", "25", "--site", "sim", "--base-url", court.URL, "--end", "60", "--probe=false",
		"--delay-min", "100ms", "--delay-max", "100ms", "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = process, process, process
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := shared{screen: *newScreen(50)}
	var reading sync.WaitGroup
	reading.Go(func() {
		data := make([]byte, 4096)
		for {
			n, err := user.Read(data)
			_, _ = term.Write(data[:n])
			if err != nil { // EIO: the process has closed its end
				return
			}
		}
	})
	blocks := func(text string) int { return strings.Count(text, "/60") }
	term.await(t, "the block", func(text string) bool { return blocks(text) == 1 && strings.Contains(text, "in flight") })
	for _, width := range []int{30, 132, 50} {
		term.mu.Lock()
		term.width = width
		resize(t, user, width)
		term.mu.Unlock()
		term.await(t, fmt.Sprintf("the block at %d columns", width), func(text string) bool {
			return blocks(text) == 1 && strings.Contains(text, "elapsed") == (width > 30)
		})
	}
	if _, err := user.WriteString("\x1a"); err != nil {
		t.Fatal(err)
	}
	term.await(t, "the screen of a stopped process", func(text string) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ") && blocks(text) == 0
	})
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	term.await(t, "the block of a continued process", func(text string) bool { return blocks(text) == 1 })
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, term.text())
	}
	if err := process.Close(); err != nil {
		t.Error(err)
	}
	reading.Wait()
	if err := user.Close(); err != nil {
		t.Error(err)
	}
	text := term.text()
	if blocks(text) != 0 || strings.Contains(text, "in flight") || strings.Contains(text, "batch.job.") ||
		!strings.Contains(text, "batch.run.start") || !strings.Contains(text, "batch.run.end") || !strings.Contains(text, "total      60 =") {
		t.Errorf("the screen at the end:\n%s", text)
	}
}
