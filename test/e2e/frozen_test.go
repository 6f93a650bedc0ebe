//go:build soak

package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// frostWait is the longest that anything is kept for a process without a word from it, in these tests: the ack-waits of turn
// and slots are that, the others and the reporter's lease are shortened to it at the broker.
const frostWait = 6 * time.Second

// frost is one process of a role, frozen in the middle of its work for three of these while another one takes over.
type frost struct {
	role    string
	numbers int
	probe   bool
	// begun says that the process has begun its work; it is frozen then. Nil freezes it before the batch is started, whose
	// command it then has in its hands.
	begun func(f *fleet, sim simulator) bool
	// late thaws it after the run's end, whenever that is.
	late bool
}

func TestServices_FrozenAndResumed(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	leased := func(f *fleet, sim simulator) bool {
		return f.has(contract.BucketFetchers, "reporter.of.frozen") && len(sim.asked()) > 10
	}
	// All at once, however many tests may run in parallel: they wait more than they work.
	var playing sync.WaitGroup
	defer playing.Wait()
	for name, s := range map[string]frost{
		// With requests under way, and about to be given the turn.
		"fetcher": {role: "fetcher", numbers: 180, begun: func(f *fleet, sim simulator) bool {
			return len(sim.asked()) > 5 && f.consumer(contract.StreamPace, "turn-fct-cf").NumWaiting > 0 &&
				answers[serviceState](f, "fct.fetcher.state", 1)[0].InFlight > 1 && f.consumer(contract.StreamPace, "turn-fct-cf").NumWaiting > 0
		}},
		"classifier":                       {role: "classifier", numbers: 180, begun: func(_ *fleet, sim simulator) bool { return len(sim.asked()) > 10 }},
		"reporter":                         {role: "reporter", numbers: 180, begun: leased},
		"reporter, until the run is ended": {role: "reporter", numbers: 60, begun: leased, late: true},
		"generator":                        {role: "generator", numbers: 80},
		"prober":                           {role: "prober", numbers: 150, probe: true, begun: func(_ *fleet, sim simulator) bool { return len(sim.asked()) > 2 }},
	} {
		playing.Go(func() { t.Run(name, s.play) })
	}
}

func (s frost) play(t *testing.T) {
	options := courtsim.Options{Seed: 41, Max: s.numbers + 5, Missing: 0.05}
	sim := startSim(t, "--max", fmt.Sprint(options.Max), "--missing", "0.05", "--seed", "41", "--latency", "250ms")
	const pause = 100 * time.Millisecond
	f := newFleet(t, sim, "--delay-min", "100ms", "--delay-max", "150ms", "--concurrency", "4", "--graceful-shutdown-timeout", "5s", "--year", "25")
	others := slices.DeleteFunc(allServices(), func(role string) bool { return role == s.role })
	f.join()
	f.live = append(f.live, f.launch(others...))
	victim := f.launch(s.role)
	f.live = append(f.live, victim)
	end := fmt.Sprintf(`"end":%d,`, s.numbers)
	if s.probe {
		end = ""
	}
	frozen := s.freeze(f, sim, victim, fmt.Sprintf(`{"run_id":"frozen",%s"probe":%v}`, end, s.probe))
	var report contract.Report
	if s.late {
		report = f.report("frozen")
	}
	at(frozen, 3*frostWait)
	before := len(f.entries("frozen"))
	left := f.files()
	tell(t, victim, syscall.SIGCONT)
	t.Logf("thawed after %s, %d entries in the ledger", time.Since(frozen), before)
	if !s.late {
		report = f.report("frozen")
		left = f.files()
	}
	// What comes after is done by both: the thawed one is awake, and has done what it had in its hands.
	f.order("after", fmt.Sprintf(`{"run_id":"after","start":%d,"end":%d,"probe":false}`, s.numbers+1, s.numbers+5))
	if after := f.report("after"); after.Total+after.Skipped != 5 {
		t.Errorf("the run after it: %+v", after)
	}
	asked := sim.asked()
	f.end()
	if diff := cmp.Diff(left, f.files(), cmp.FilterPath(onlyThen(left), cmp.Ignore())); diff != "" {
		t.Errorf("files were touched after the run's end: %s", diff)
	}
	s.check(f, report, fcttest.Site(t, options))
	if n := again(asked); n > 4+report.CanaryRequests {
		t.Errorf("%d numbers were asked for again, want at most the 4 that were under way and %d canaries", n, report.CanaryRequests)
	}
	if most := sim.stats().MaxInFlight; most > 4 {
		t.Errorf("%d requests in flight at once", most)
	}
	starts := f.starts("frozen")
	for i := 1; i < len(starts); i++ {
		if gap := starts[i].Sub(starts[i-1]); gap < pause {
			t.Errorf("two requests started %s apart, at %s", gap, starts[i].Format(time.RFC3339Nano))
		}
	}
	t.Logf("%d numbers asked for again, %d more entries than numbers", again(asked), len(f.entries("frozen"))-report.Total)
}

// freeze starts the batch and stops the process when it has begun; another process of the role is started then. It returns when that was.
func (s frost) freeze(f *fleet, sim simulator, victim *exec.Cmd, batch string) time.Time {
	f.t.Helper()
	f.t.Cleanup(func() { _ = victim.Process.Signal(syscall.SIGCONT) }) // else it would not hear that it is to end
	var since time.Time
	if s.begun == nil {
		// A run that it has seen through shows that it is all there.
		f.order("before", fmt.Sprintf(`{"run_id":"before","start":%d,"end":%d,"probe":false}`, s.numbers+1, s.numbers+1))
		f.report("before")
		for f.consumer(contract.StreamBatch, "generator").NumWaiting == 0 {
			at(time.Now(), 20*time.Millisecond)
		}
		tell(f.t, victim, syscall.SIGSTOP)
		since = time.Now()
		if err := f.broker.Conn().Publish(contract.SubjectStart, []byte(batch)); err != nil {
			f.t.Fatal(err)
		}
		f.live = append(f.live, f.launch(s.role))
		f.hasten()
	} else {
		f.hasten()
		f.order("frozen", batch)
		for began := time.Now(); !s.begun(f, sim); at(time.Now(), 20*time.Millisecond) {
			if time.Since(began) > time.Minute {
				f.t.Fatal("it does not begin")
			}
		}
		tell(f.t, victim, syscall.SIGSTOP)
		since = time.Now()
		f.live = append(f.live, f.launch(s.role))
	}
	if _, err := runs.Await(f.t.Context(), f.broker, contract.RunID("frozen").StateKey(), func(contract.State) bool { return true }); err != nil {
		f.t.Fatal(err)
	}
	f.waitFor(contract.StreamJobs, contract.RunID("frozen").ConsumerName())
	return since
}

func tell(t testing.TB, cmd *exec.Cmd, what os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(what); err != nil {
		t.Fatal(err)
	}
}

// hasten shortens at the broker how long it waits for the word of a process: of commands, answers and leases.
func (f *fleet) hasten() {
	f.t.Helper()
	f.waitFor(contract.StreamBatch, "generator")
	f.waitFor(contract.StreamAnswers, "classifier")
	js := f.broker.JetStream()
	stream, err := js.Stream(f.t.Context(), "KV_"+contract.BucketFetchers)
	if err == nil {
		config := stream.CachedInfo().Config
		config.MaxAge, config.Duplicates = frostWait, frostWait
		_, err = js.UpdateStream(f.t.Context(), config)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) waitFor(stream, name string) {
	f.t.Helper()
	config := f.consumer(stream, name).Config
	config.AckWait = frostWait
	if _, err := f.broker.JetStream().UpdateConsumer(f.t.Context(), stream, config); err != nil {
		f.t.Fatal(err)
	}
}

// consumer is how a consumer stands.
func (f *fleet) consumer(stream, name string) *jetstream.ConsumerInfo {
	f.t.Helper()
	consumer, err := f.broker.JetStream().Consumer(f.t.Context(), stream, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return consumer.CachedInfo()
}

func (f *fleet) has(bucket, key string) bool {
	f.t.Helper()
	kv, err := f.broker.KV(f.t.Context(), bucket)
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = kv.Get(f.t.Context(), key)
	return err == nil
}

// end ends all processes.
func (f *fleet) end() {
	f.t.Helper()
	for _, cmd := range f.live {
		tell(f.t, cmd, syscall.SIGTERM)
	}
	for _, cmd := range f.live {
		_ = cmd.Wait() // the code says it
		if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
			f.t.Errorf("a process that was told to stop ended with %d, want %d", code, codeTerminated)
		}
	}
	f.live = nil
}

// files are the fleet's files: what is in them and when that was written.
func (f *fleet) files() map[string]string {
	f.t.Helper()
	found := make(map[string]string)
	root := filepath.Join(f.dir, "output")
	err := filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		// A reporter may remove the lock of the files that it writes after the run's end.
		if err != nil || info.IsDir() || strings.HasPrefix(info.Name(), ".fct-tmp-") || strings.HasPrefix(info.Name(), ".fct-writer-") {
			return err
		}
		data, err := os.ReadFile(name)
		found[strings.TrimPrefix(name, root)] = info.ModTime().Format(time.RFC3339Nano) + " " + string(data)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

// onlyThen leaves out what came later.
func onlyThen(left map[string]string) func(cmp.Path) bool {
	return func(path cmp.Path) bool {
		at, is := path.Last().(cmp.MapIndex)
		return is && left[at.Key().String()] == ""
	}
}

// check holds what the run has left against what the court has.
func (s frost) check(f *fleet, report contract.Report, court *courtsim.Simulator) {
	f.t.Helper()
	p := place{t: f.t, dir: f.dir, shared: true}
	outcomes := p.outcomes()
	p.checkRecords(outcomes)
	own := p.outcomesOf("frozen")
	succeeded := 0
	for n, outcome := range outcomes {
		exists := court.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n})
		if exists != (outcome == contract.Success) || !exists && outcome != contract.NoRecord {
			f.t.Errorf("number %d is %q, it exists: %v", n, outcome, exists)
		}
		if exists && own[n] != "" {
			succeeded++
		}
	}
	for n := 1; n <= report.End; n++ {
		if own[n] == "" {
			f.t.Errorf("number %d has no outcome", n)
		}
	}
	if report.Status != contract.Completed || report.TotalAttempted != len(own) || report.Succeeded != succeeded || report.Failed != 0 ||
		report.NoRecordCount != len(own)-succeeded || !s.probe && report.Total != s.numbers {
		f.t.Errorf("%s (%s): %d = %d + %d + %d, want %d of which %d exist", report.Status, report.Reason,
			report.TotalAttempted, report.Succeeded, report.NoRecordCount, report.Failed, len(own), succeeded)
	}
	f.checkStore(outcomes)
}

// checkStore looks at the keys of what is collected, and that nothing of the run is left to be done.
func (f *fleet) checkStore(outcomes map[int]contract.Outcome) {
	f.t.Helper()
	collected := make(map[int]contract.Outcome)
	err := runs.EachOutcome(f.t.Context(), f.broker, contract.BucketCollected, "fct-cf", "IMM", "25", func(n int, value contract.Collected) {
		collected[n] = value.Outcome
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(outcomes, collected); diff != "" {
		f.t.Errorf("collected: %s", diff)
	}
	// The ledger may hold an attempt twice, but never two opinions.
	said := make(map[int]contract.Outcome)
	for _, entry := range f.entries("frozen") {
		if before := said[entry.CaseID.Number]; before != "" && entry.Outcome != before {
			f.t.Errorf("the ledger says of %s first %q, then %q", entry.CaseID, before, entry.Outcome)
		}
		said[entry.CaseID.Number] = entry.Outcome
	}
	run := contract.RunID("frozen")
	for stream, filter := range map[string]string{contract.StreamJobs: run.JobFilter(), contract.StreamAnswers: run.AnswerFilter()} {
		left, err := f.broker.Subjects(f.t.Context(), stream, filter)
		if err != nil || len(left) > 0 {
			f.t.Errorf("left in %s: %v, %v", stream, left, err)
		}
	}
	if _, err := f.broker.JetStream().Consumer(f.t.Context(), contract.StreamJobs, run.ConsumerName()); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		f.t.Errorf("the consumer of the run's jobs: %v, want none", err)
	}
}
