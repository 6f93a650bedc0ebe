package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// killFor is how long processes are killed one after another.
var killFor = flag.Duration("kill-for", 15*time.Second, "how long TestThreeProcessesKeepOnePace kills processes")

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

func TestThreeProcessesKeepOnePace(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const pause = 100 * time.Millisecond
	killing := *killFor
	numbers := int(killing/pause)*8/10 + 40
	sim := startSim(t, "--max", "99999", "--missing", "0.05", "--seed", "31", "--latency", "40ms")
	f := newFleet(t, sim, "--delay-min", "100ms", "--delay-max", "120ms", "--concurrency", "4", "--graceful-shutdown-timeout", "5s")
	f.open(3)
	body, err := json.Marshal(map[string]any{"run_id": "paced", "year": "25", "end": numbers, "probe": false})
	if err != nil {
		t.Fatal(err)
	}
	f.order("paced", string(body))
	kills := 0
	for begun := time.Now(); time.Since(begun) < killing; kills++ {
		at(time.Now(), 2*time.Second)
		victim := kills % len(f.live)
		if err := f.live[victim].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = f.live[victim].Wait() // killed, as it was to be
		f.live[victim] = f.launch()
	}
	report := f.report("paced")
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 0 {
		t.Errorf("%s (%s): %d numbers, %d failed; want %d and none", report.Status, report.Reason, report.Total, report.Failed, numbers)
	}
	p := place{t: t, dir: f.dir, shared: true}
	outcomes := p.outcomes()
	checkTruth(t, newSim(t, courtsim.Options{Seed: 31, Max: 99999, Missing: 0.05}), outcomes, numbers)
	p.checkRecords(outcomes)
	stats := sim.stats()
	// A busy machine may let the court notice the first of two requests late, so the gaps are those of the senders.
	starts := f.starts("paced")
	for i := 1; i < len(starts); i++ {
		if gap := starts[i].Sub(starts[i-1]); gap < pause {
			t.Errorf("two requests started %s apart, at %s", gap, starts[i].Format(time.RFC3339Nano))
		}
	}
	if stats.MaxInFlight > 4 {
		t.Errorf("%d requests in flight at once, want at most 4", stats.MaxInFlight)
	}
	n := again(sim.asked())
	if most := kills*4 + report.CanaryRequests; n > most {
		t.Errorf("%d cases were asked for again after %d kills, want at most %d", n, kills, most)
	}
	t.Logf("%d kills, %d cases asked for again, smallest gap at the court %.4f s", kills, n, *stats.MinGapSeconds)
}

// starts are when the requests in the ledger of a run were started, in order of time.
func (f *fleet) starts(run contract.RunID) []time.Time {
	f.t.Helper()
	var starts []time.Time
	for _, entry := range f.entries(run) {
		for _, request := range entry.Requests {
			starts = append(starts, request.StartedAt)
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	// One entry may be there twice: a classifier that was killed behind its word says it again.
	return slices.CompactFunc(starts, time.Time.Equal)
}

// entries are all entries in the ledger of a run, canaries included.
func (f *fleet) entries(run contract.RunID) []contract.Entry {
	f.t.Helper()
	stream, err := f.broker.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
	if err != nil {
		f.t.Fatal(err)
	}
	var entries []contract.Entry
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(f.t.Context(), seq, jetstream.WithGetMsgSubject(run.OutcomeFilter()))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return entries
		}
		if err != nil {
			f.t.Fatal(err)
		}
		seq = msg.Sequence + 1
		if msg.Subject == run.PlannedSubject() {
			continue
		}
		pack, err := ledger.Decode[contract.EntryPack](msg.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		entries = append(entries, pack.Entries...)
	}
}

func TestServeRefusesWhatItCannotServe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no server":    {nil, "nats_url is empty"},
		"two servers":  {[]string{"--embedded", "--nats-url", "nats://127.0.0.1:1"}, "--embedded"},
		"a service":    {[]string{"cleaner", "--embedded"}, `service "cleaner"`},
		"taken port":   {[]string{"--embedded", "--embedded-addr", "127.0.0.1:99999"}, "invalid port"},
		"credentials":  {[]string{"--nats-url", "nats://127.0.0.1:1", "--nats-creds", "nowhere.creds"}, "nowhere.creds"},
		"http address": {[]string{"--embedded", "--embedded-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:99999"}, "http_addr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("fct-scraper", append([]string{"serve", "--site", "sim"}, test.args...)...)
			cmd.Dir = t.TempDir()
			said, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != codeUsage && exit.ExitCode() != codeBroker || !strings.Contains(string(said), test.want) {
				t.Errorf("%v: %s; want a word of %q", err, said, test.want)
			}
		})
	}
}

// stats is what the court noticed.
func (s simulator) stats() courtsim.Stats {
	s.t.Helper()
	answer, err := http.Get(s.url + "/__stats")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var stats courtsim.Stats
	if err := json.NewDecoder(answer.Body).Decode(&stats); err != nil {
		s.t.Fatal(err)
	}
	return stats
}
