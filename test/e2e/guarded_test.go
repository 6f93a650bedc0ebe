//go:build soak

package e2e_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// guarded is the NATS server of go.mod with the configuration that is shipped, and keys of its own.
type guarded struct {
	t        *testing.T
	dir, url string
	// violations are the lines of its log about what it refused.
	mu         sync.Mutex
	violations []string
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir()}
	root := filepath.Join("..", "..")
	program, config := filepath.Join(g.dir, "nats-server"), filepath.Join(g.dir, "nats.conf")
	g.run(exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2"))
	g.run(exec.Command(filepath.Join(root, "scripts", "credentials.sh"), filepath.Join(g.dir, "keys")))
	text, err := os.ReadFile(filepath.Join(root, "deploy", "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, "-c", config, "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-sd", filepath.Join(g.dir, "store"))
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	url, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		g.read(log, url)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
		_ = server.Wait() // killed, as it was to be
	})
	select {
	case g.url = <-url:
	case <-ended:
		t.Fatal("the server did not come up")
	}
	g.run(exec.Command("fct-scraper", "setup", "--nats-url", g.url, "--nats-nkey", g.key("admin")))
	return g
}

// read follows the server's log to its end, and tells where it listens.
func (g *guarded) read(log io.Reader, url chan<- string) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if _, address, found := strings.Cut(lines.Text(), "Listening for client connections on "); found {
			url <- "nats://" + address
		}
		if strings.Contains(lines.Text(), "Violation") {
			g.mu.Lock()
			g.violations = append(g.violations, lines.Text())
			g.mu.Unlock()
		}
	}
}

// refused are the lines of the log about what was refused up to now.
func (g *guarded) refused() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.violations
}

func (g *guarded) run(cmd *exec.Cmd) {
	g.t.Helper()
	if said, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("%v: %v: %s", cmd.Args, err, said)
	}
}

func (g *guarded) key(name string) string { return filepath.Join(g.dir, "keys", name+".nk") }

// connect connects as a service, the operator or the admin. What the server refuses goes to refused.
func (g *guarded) connect(name string, refused func(error)) *nats.Conn {
	g.t.Helper()
	key, err := nats.NkeyOptionFromSeed(g.key(name))
	if err != nil {
		g.t.Fatal(err)
	}
	nc, err := nats.Connect(g.url, key, nats.CustomInboxPrefix("_INBOX_"+name), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused(err) }))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(nc.Close)
	return nc
}

// jetStream is the API of a connection that nothing is to be refused.
func (g *guarded) jetStream(name string) (*nats.Conn, jetstream.JetStream) {
	g.t.Helper()
	nc := g.connect(name, func(err error) { g.t.Errorf("%s: %v", name, err) })
	js, err := jetstream.New(nc)
	if err != nil {
		g.t.Fatal(err)
	}
	return nc, js
}

// guardedConcurrency is the fetcher's alone: the other services have the default.
const guardedConcurrency = 3

// serve starts a service as a process of its own, with the key that is its, and waits until it serves. The function it
// returns ends it.
func (g *guarded) serve(service string, sim simulator) (end func()) {
	g.t.Helper()
	cmd := exec.Command("fct-scraper", "serve", service, "--http-addr", "127.0.0.1:0", "--nats-url", g.url, "--nats-nkey", g.key(service), "--site", "sim", "--base-url", sim.url,
		"--delay-min", "0", "--delay-max", "1ms", "--log-level", "warn", "--output", filepath.Join(g.dir, "output"), "--graceful-shutdown-timeout", "2s")
	if service == "fetcher" {
		cmd.Args = append(cmd.Args, "--concurrency", strconv.Itoa(guardedConcurrency))
	}
	cmd.Stderr = g.t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		g.t.Fatalf("waiting until the %s serves: %v", service, err)
	}
	end = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			g.t.Error(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
			g.t.Errorf("the %s ended with %d, want %d", service, code, codeTerminated)
		}
	})
	g.t.Cleanup(end)
	return end
}

// told waits for a message of the operators' account: an event of a run, or a rejection.
func (g *guarded) told(sub *nats.Subscription, subject string) *nats.Msg {
	g.t.Helper()
	for {
		msg, err := sub.NextMsg(time.Minute)
		if err != nil {
			g.t.Fatalf("waiting for %s: %v", subject, err)
		}
		if msg.Subject == subject {
			return msg
		}
	}
}
