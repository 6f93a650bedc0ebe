//go:build soak

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// dataCommands are the commands that write data into a folder, without the folder.
func dataCommands() map[string]func(folder string) []string {
	to := func(format, name string) func(string) []string {
		return func(folder string) []string {
			return []string{"export", "--format", format, "--out", filepath.Join(folder, name)}
		}
	}
	return map[string]func(string) []string{
		"ndjson": to("ndjson", "cases.ndjson"), "zstd": to("ndjson", "cases.ndjson.zst"), "parquet": to("parquet", "cases.parquet"),
		"sqlite": to("sqlite", "court.db"),
		"csv":    func(folder string) []string { return []string{"export", "--format", "csv", "--out", folder + "/"} },
		"analyze": func(folder string) []string {
			return []string{"analyze", "--out", folder}
		},
	}
}

// reading starts a command on the place's store. What it says goes to said.
func (p place) reading(said io.Writer, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command("fct-scraper", append(args, "--data-dir", p.data(), "--output", filepath.Join(p.dir, "output"), "--site", "fct-cf",
		"--progress", "none")...)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// contents are the files of a folder with the hash of each. The names of unfinished files and of locks are "unfinished" and "lock".
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(folder)
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case strings.HasPrefix(name, ".fct-tmp-"): // a process may remove it at any time
			found["unfinished"] = name
		case strings.HasPrefix(name, ".fct-writer-"):
			found["lock"] = name
		default:
			data, readErr := os.ReadFile(filepath.Join(folder, name))
			err = errors.Join(err, readErr)
			found[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// filledPlace is a place whose store has the records of so many numbers.
func filledPlace(t *testing.T, numbers int) place {
	t.Helper()
	sim := startSim(t, "--max", "99999", "--missing", "0.02", "--seed", "7")
	p := newPlace(t, sim, "--end", fmt.Sprint(numbers), "--delay-min", "0", "--delay-max", "0", "--concurrency", "16", "--parties")
	p.finish(codeCompleted)
	return p
}

// TestData_Killed ends commands in the middle: the files of an earlier one stay as they were, no other file appears, and the next
// command removes what a killed one left.
func TestData_Killed(t *testing.T) {
	t.Parallel()
	p := filledPlace(t, 800)
	for name, args := range dataCommands() {
		for _, sent := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+" "+sent.String(), func(t *testing.T) { checkEnded(t, p, args, sent) })
		}
	}
}

func checkEnded(t *testing.T, p place, args func(string) []string, sent syscall.Signal) {
	folder := t.TempDir()
	run := func() (code int, said string) {
		var text bytes.Buffer
		code = exitCode(p.reading(&text, args(folder)...))
		return code, text.String()
	}
	if code, said := run(); code != codeCompleted {
		t.Fatalf("exit code %d: %s", code, said)
	}
	before := contents(t, folder)
	if len(before) < 2 || before["unfinished"]+before["lock"] != "" {
		t.Fatalf("files %v", before)
	}
	want := map[syscall.Signal]int{syscall.SIGKILL: -1, syscall.SIGINT: codeInterrupt, syscall.SIGTERM: codeTerminated}[sent]
	for delay := 400 * time.Millisecond; ; delay /= 2 { // until the signal comes before the end
		var said bytes.Buffer
		cmd := p.reading(&said, args(folder)...)
		at(time.Now(), delay)
		for begun := time.Now(); args("")[0] == "export" && contents(t, folder)["unfinished"] == "" && time.Since(begun) < time.Second; {
			at(time.Now(), time.Millisecond)
		}
		_ = cmd.Process.Signal(sent) // it may have ended
		signaled := time.Now()
		code := exitCode(cmd)
		if took := time.Since(signaled); took > time.Minute {
			t.Errorf("it ended after %v", took)
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == sent {
			code = want // it had not begun to wait for signals
		}
		if code == codeCompleted && delay > time.Millisecond { // it was done: a file of the same records has the same rows, and another time
			before = contents(t, folder)
			continue
		}
		if code != want || strings.Count(said.String(), "\n") > 1 {
			t.Errorf("exit code %d, want %d and one line: %s", code, want, said.String())
		}
		break
	}
	after := contents(t, folder)
	if sent != syscall.SIGKILL && after["unfinished"]+after["lock"] != "" {
		t.Errorf("left are %q and %q", after["unfinished"], after["lock"])
	}
	delete(after, "unfinished")
	delete(after, "lock")
	if !maps.Equal(after, before) {
		t.Errorf("files %v, want %v", after, before)
	}
	if code, said := run(); code != codeCompleted {
		t.Errorf("exit code %d: %s", code, said)
	}
	if again := contents(t, folder); len(again) != len(before) || again["unfinished"]+again["lock"] != "" {
		t.Errorf("files %v, want those of %v", again, before)
	}
}

// TestData_DiskFull writes to a full disk: exit code 7, one line that names the file, and nothing is left.
func TestData_DiskFull(t *testing.T) {
	t.Parallel()
	disk, mounted := fcttest.Disk(t, "size=16m")
	if !mounted {
		return // needs a file system of its own
	}
	p := filledPlace(t, 300)
	defer fcttest.Fill(t, disk, 64<<10)()
	for name, args := range dataCommands() {
		var said bytes.Buffer
		code := exitCode(p.reading(&said, args(filepath.Join(disk, name))...))
		if text := said.String(); code != codeOutput || strings.Count(text, "\n") != 1 || !strings.Contains(text, "output not writable: ") ||
			!strings.Contains(text, filepath.Join(disk, name)) {
			t.Errorf("%s: exit code %d, want %d and one line: %s", name, code, codeOutput, text)
		}
		if left, err := os.ReadDir(filepath.Join(disk, name)); len(left) > 0 {
			t.Errorf("%s: left are %v, %v", name, left, err)
		}
	}
}

// TestData_HolderEnds ends the batch that holds the store while a command beside it prints its records: each is printed once.
func TestData_HolderEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		sent syscall.Signal
	}{
		"export, killed":  {[]string{"export", "--format", "ndjson", "--out", "-"}, syscall.SIGKILL},
		"export, stopped": {[]string{"export", "--format", "csv", "--table", "entries", "--out", "-"}, syscall.SIGTERM},
		"parquet, killed": {[]string{"export", "--format", "parquet", "--out", "-"}, syscall.SIGKILL},
		"facts, killed":   {[]string{"facts"}, syscall.SIGKILL},
		"facts, stopped":  {[]string{"facts"}, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const numbers = 1200
			sim, _ := gated(t, courtsim.Options{Max: 99999}, numbers)
			p := newPlace(t, sim, "--end", "2000", "--delay-min", "0", "--delay-max", "0", "--concurrency", "8")
			batch := p.running(nil)
			p.await("records", func() bool { return len(p.glob("cases/IMM/25/*.json")) >= numbers-8 })
			var said bytes.Buffer
			cmd := exec.Command("fct-scraper", append(c.args, "--data-dir", p.data(), "--site", "fct-cf")...)
			cmd.Stderr = &said
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1000) // the command has begun; the pipe holds the rest up
			if _, err := io.ReadFull(out, first); err != nil {
				t.Fatal(err, said.String())
			}
			if err := batch.Process.Signal(c.sent); err != nil {
				t.Fatal(err)
			}
			_ = batch.Wait()
			rest, err := io.ReadAll(out)
			if code := exitCode(cmd); code != codeCompleted || err != nil {
				t.Fatalf("exit code %d: %v: %s", code, err, said.String())
			}
			var want, failed bytes.Buffer
			again := exec.Command("fct-scraper", append(c.args, "--data-dir", p.data(), "--site", "fct-cf")...)
			again.Stdout, again.Stderr = &want, &failed
			if err := again.Run(); err != nil {
				t.Fatal(err, failed.String())
			}
			if got := slices.Concat(first, rest); !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%d bytes, %d lines; want %d bytes, %d lines", len(got), bytes.Count(got, []byte("\n")), want.Len(),
					bytes.Count(want.Bytes(), []byte("\n")))
			}
		})
	}
}
