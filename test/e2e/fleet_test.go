package e2e_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fleet are processes that serve one NATS server, which runs in the test.
type fleet struct {
	t      testing.TB
	server *natsd.Server
	args   []string
	dir    string
	broker *bus.Bus
	runs   jetstream.KeyValue
	live   []*exec.Cmd
}

// newFleet starts the server; processes get the flags given and ask the simulator.
func newFleet(t testing.TB, sim simulator, flags ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	var err error
	if f.server, err = natsd.StartOn(filepath.Join(f.dir, "data"), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.server.Close(); err != nil {
			t.Error(err)
		}
	})
	f.args = append([]string{
		"serve", "--nats-url", f.server.URL(), "--http-addr", "127.0.0.1:0", "--site", "fct-cf", "--base-url", sim.url, "--robots=false", "--log-level", "warn",
		"--output", filepath.Join(f.dir, "output"),
	}, flags...)
	return f
}

// launch starts a process of these services, or of all, and waits until it says that it serves.
func (f *fleet) launch(services ...string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.Command("fct-scraper", append(slices.Clone(f.args), services...)...)
	cmd.Stderr = f.t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		f.t.Fatal("waiting until a process serves:", err)
	}
	return cmd
}

// open starts n processes and connects the test to their server. They end with the test.
func (f *fleet) open(n int) {
	f.t.Helper()
	for range n {
		f.live = append(f.live, f.launch())
	}
	f.join()
}

// join connects the test to the server; the processes end with it.
func (f *fleet) join() {
	f.t.Helper()
	f.t.Cleanup(func() {
		for _, cmd := range f.live {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				f.t.Error(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
				f.t.Errorf("a process that was told to stop ended with %d, want %d", code, codeTerminated)
			}
		}
	})
	f.connect()
}

// connect connects the test to the server, on which it makes the streams.
func (f *fleet) connect() {
	f.t.Helper()
	nc, err := f.server.Connect()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	if f.broker, err = bus.New(nc, fcttest.Logger(f.t), bus.Options{}); err != nil {
		f.t.Fatal(err)
	}
	if err := streams.Ensure(f.t.Context(), f.broker.JetStream(), streams.Options{}); err != nil {
		f.t.Fatal(err)
	}
	if f.runs, err = f.broker.KV(f.t.Context(), contract.BucketRuns); err != nil {
		f.t.Fatal(err)
	}
}

// order starts a batch by a message.
func (f *fleet) order(id contract.RunID, body string) {
	f.t.Helper()
	if err := f.broker.Conn().Publish(contract.SubjectStart, []byte(body)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := runs.Await(f.t.Context(), f.broker, id.StateKey(), func(contract.State) bool { return true }); err != nil {
		f.t.Fatal(err)
	}
}

// report waits until a run has ended.
func (f *fleet) report(id contract.RunID) contract.Report {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 3*time.Minute)
	defer cancel()
	state, err := runs.Await(ctx, f.broker, id.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
	if err != nil {
		f.t.Fatal(err)
	}
	if state.Report == nil {
		f.t.Fatalf("run %s ended without a report: %+v", id, state)
	}
	return *state.Report
}

// later starts the server of the fleet and connects the test to it.
func (f *fleet) later(addr string) {
	f.t.Helper()
	var err error
	if f.server, err = natsd.StartOn(filepath.Join(f.dir, "data"), addr); err != nil {
		f.t.Fatal(err)
	}
	nc, err := nats.Connect(f.server.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	if f.broker, err = bus.New(nc, fcttest.Logger(f.t), bus.Options{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) openRuns() {
	f.t.Helper()
	var err error
	if f.runs, err = f.broker.KV(f.t.Context(), contract.BucketRuns); err != nil {
		f.t.Fatal(err)
	}
}

// until waits until a condition holds.
func (f *fleet) until(what string, condition func() bool) {
	f.t.Helper()
	for began := time.Now(); !condition(); at(time.Now(), 20*time.Millisecond) {
		if time.Since(began) > time.Minute {
			f.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// kill kills a process and waits until it is gone.
func kill(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it was to be
}
