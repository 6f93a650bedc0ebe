//go:build soak

package e2e_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// embeddedServer starts `serve --embedded` in a folder and returns the variables that it has its clients export. It ends with the test, or
// before that with stop.
func embeddedServer(t *testing.T, dir string, flags ...string) (exports []string, stop func()) {
	t.Helper()
	cmd := exec.Command("fct-scraper", append([]string{"serve", "--embedded", "--embedded-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"}, flags...)...)
	cmd.Dir, cmd.Stderr = dir, t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if cmd.ProcessState != nil {
			return
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
			t.Errorf("exit code %d, want %d", code, codeTerminated)
		}
	}
	t.Cleanup(stop)
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "nats pub"); {
		if name, is := strings.CutPrefix(lines.Text(), "export "); is {
			exports = append(exports, strings.ReplaceAll(name, "'", ""))
		}
	}
	if len(exports) != 2 {
		t.Fatalf("exports %q, want an address and a key", exports)
	}
	return exports, stop
}

func TestServeEmbedded_Key(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a folder")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	court := []string{"--site", "sim", "--delay-min", "0", "--delay-max", "0", "--robots=false"}
	exports, stop := embeddedServer(t, dir, court...)
	_, key, _ := strings.Cut(exports[1], "=")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, %v; want 0600", key, info, err)
	}
	batch := append([]string{"batch", "2025", "--end", "5", "--probe=false", "--output", filepath.Join(dir, "output")}, court...)
	did := didIn(t, exports, codeCompleted, append(batch, "--json")...)
	_, after, _ := strings.Cut(did.stdout, `"run_id": "`)
	run, _, _ := strings.Cut(after, `"`)
	for _, args := range [][]string{{"status"}, {"runs"}, {"stop", "--run", run}, {"explain", "IMM-1-25"}} {
		didIn(t, exports, codeCompleted, args...)
		if said := didIn(t, exports[:1], codeBroker, args...); !strings.Contains(strings.ToLower(said.stderr), "authorization") {
			t.Errorf("%v without the key: %s", args, said.stderr)
		}
	}
	didIn(t, exports[:1], codeBroker, batch...)
	stop()
	again, _ := embeddedServer(t, dir, court...)
	if again[1] != exports[1] {
		t.Errorf("the key's file was %s and is %s", exports[1], again[1])
	}
	didIn(t, again, codeCompleted, "status")
}

func TestNATSURL_WithoutTLS(t *testing.T) {
	t.Parallel()
	const beyond = "nats://192.0.2.1:4222"
	environ := []string{"NATS_URL=" + beyond}
	for _, args := range [][]string{
		{"--batch"}, {"batch"}, {"probe"}, {"serve"}, {"serve", "fetcher"}, {"status"}, {"runs"}, {"stop", "--run", "x"}, {"report", "--run", "x"},
		{"explain", "IMM-1-25"}, {"config", "check"},
	} {
		if said := didIn(t, environ, codeUsage, args...); !strings.Contains(said.stderr, `$NATS_URL: nats_url = "`+beyond) || !strings.Contains(said.stderr, "want tls://") {
			t.Errorf("%v: %s", args, said.stderr)
		}
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:4222", "example.org:4222"} {
		if said := did(t, codeUsage, "serve", "--embedded", "--embedded-addr", addr); !strings.Contains(said.stderr, "--embedded-addr") {
			t.Errorf("%s: %s", addr, said.stderr)
		}
	}
}
