package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// simulator is `fct-scraper sim` in a process of its own.
type simulator struct {
	t   testing.TB
	url string
}

// startSim starts a simulator and waits until it says where it is; it ends with the test.
func startSim(t testing.TB, args ...string) simulator {
	t.Helper()
	cmd := exec.Command("fct-scraper", append([]string{"sim", "--addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Error("ending the simulator:", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("starting the simulator:", err)
	}
	return simulator{t, strings.TrimSpace(line)}
}

// gated starts a court in the test's own process that answers so many requests and holds the others until open is called: what is to
// happen in the middle of a run happens there on the slowest machine too.
func gated(t testing.TB, options courtsim.Options, answered int64) (sim simulator, open func()) {
	t.Helper()
	court := fcttest.Site(t, options)
	gate := make(chan struct{})
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/__stats" && asked.Add(1) > answered {
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		court.ServeHTTP(w, r)
	}))
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(func() {
		open()
		server.Close()
	})
	return simulator{t, server.URL}, open
}

// asked is how often each call was made for each number of IMM-25.
func (s simulator) asked() map[string]map[string]int {
	s.t.Helper()
	return s.stats().PerNumber["IMM-25"]
}

// place is where batches run as processes.
type place struct {
	t    testing.TB
	dir  string
	args []string
	// shared says that several processes write into its folder.
	shared bool
}

// newPlace is a place whose batches ask the simulator, by the flags given.
func newPlace(t testing.TB, sim simulator, flags ...string) place {
	dir := t.TempDir()
	args := []string{
		"batch", "2025", "--json", "--site", "fct-cf", "--base-url", sim.url, "--probe=false", "--robots=false", "--log-level", "warn",
		"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"),
	}
	return place{t: t, dir: dir, args: append(args, flags...)}
}

// searching is the place with `probe` as its command, which takes no --probe.
func (p place) searching() place {
	p.args = slices.DeleteFunc(slices.Clone(p.args), func(arg string) bool { return arg == "--probe=false" })
	p.args[0] = "probe"
	return p
}

// start starts a batch; its result goes to out, or nowhere.
func (p place) start(out *bytes.Buffer) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command("fct-scraper", p.args...)
	if cmd.Stderr = p.t.Output(); out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// finish runs a batch to its end, which is to have this exit code.
func (p place) finish(code int) contract.Report {
	p.t.Helper()
	var out bytes.Buffer
	cmd := p.start(&out)
	err := cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("exit code %d, want %d: %v\n%s", got, code, err, out.String())
	}
	var report contract.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		p.t.Fatalf("reading the report: %v\n%s", err, out.String())
	}
	return report
}

// outcomes reads the attempts files: the outcome of each number, which is to be there once.
func (p place) outcomes() map[int]contract.Outcome {
	p.t.Helper()
	found := make(map[int]contract.Outcome)
	files, err := filepath.Glob(filepath.Join(p.dir, "output", "attempts_*.ndjson"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		for text := range strings.Lines(string(data)) {
			var line contract.AttemptLine
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				p.t.Fatalf("%s: %v: %q", file, err, text)
			}
			outcome := contract.Outcome(line.Outcome)
			if !outcome.Valid() {
				continue
			}
			if found[line.CaseID.Number] != "" {
				p.t.Errorf("%s has two outcomes", line.CaseID)
			}
			found[line.CaseID.Number] = outcome
		}
	}
	return found
}

// checkResumed gives the batch again and checks that it completes, with an outcome for each number and
// the records to match. Only what was in flight when the first one ended is requested again.
func (p place) checkResumed(sim simulator, numbers int) {
	p.t.Helper()
	p.finish(codeCompleted)
	outcomes := p.outcomes()
	if len(outcomes) != numbers {
		p.t.Errorf("%d outcomes for %d numbers", len(outcomes), numbers)
	}
	p.checkRecords(outcomes)
	if again := fcttest.Repeated(sim.asked()); again > 8 {
		p.t.Errorf("%d requests were made again", again)
	}
}

// checkRecords reads every record file: each is whole, and there is one for each success and no other.
func (p place) checkRecords(outcomes map[int]contract.Outcome) {
	p.t.Helper()
	pattern := "*"
	if p.shared { // what a killed process leaves is removed by the first one that is alone
		pattern = "IMM*"
	}
	files, err := filepath.Glob(filepath.Join(p.dir, "output", "cases", "IMM", "25", pattern))
	if err != nil {
		p.t.Fatal(err)
	}
	succeeded := 0
	for _, outcome := range outcomes {
		if outcome == contract.Success {
			succeeded++
		}
	}
	if len(files) != succeeded {
		p.t.Errorf("%d record files for %d successes", len(files), succeeded)
	}
	validate := fcttest.RecordSchema(p.t)
	for _, file := range files {
		data, err := os.ReadFile(file)
		var record contract.Record
		if err == nil {
			err = errors.Join(validate(data), json.Unmarshal(data, &record))
		}
		if err != nil || filepath.Base(file) != record.CaseID.String()+".json" || len(record.Docket) != record.Entries ||
			outcomes[record.CaseID.Number] != contract.Success {
			p.t.Errorf("%s: %v; %s with %d entries of %d", file, err, record.CaseID, len(record.Docket), record.Entries)
		}
	}
}

// checkTruth compares outcomes with what the court has from 1 to most.
func checkTruth(t testing.TB, sim *courtsim.Simulator, outcomes map[int]contract.Outcome, most int) {
	t.Helper()
	if len(outcomes) != most {
		t.Errorf("%d outcomes for %d numbers", len(outcomes), most)
	}
	for n := 1; n <= most; n++ {
		want := contract.NoRecord
		if sim.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}) {
			want = contract.Success
		}
		if outcomes[n] != want {
			t.Errorf("number %d is %q, want %q", n, outcomes[n], want)
		}
	}
}

// at waits until a process has lived so long: the instant of a kill is what such a test is about.
func at(begun time.Time, instant time.Duration) {
	timer := time.NewTimer(time.Until(begun.Add(instant)))
	defer timer.Stop()
	<-timer.C
}

func (p place) glob(pattern string) []string {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(p.dir, "output", pattern))
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}

// requests is how many the simulator has seen for IMM-25.
func (s simulator) requests() int {
	s.t.Helper()
	sum := 0
	for _, calls := range s.asked() {
		sum += fcttest.Total(calls)
	}
	return sum
}

// await waits until the simulator has seen so many requests.
func (s simulator) await(requests int) {
	s.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(time.Minute)
	for s.requests() < requests {
		select {
		case <-limit:
			s.t.Fatal("the requests did not come")
		case <-ticker.C:
		}
	}
}

// again is how often a question was asked again: a kill may lose the one that is under way, whatever it took.
func again(asked map[string]map[string]int) int {
	n := 0
	for _, calls := range asked {
		n += slices.Max(slices.Collect(maps.Values(calls))) - 1
	}
	return n
}

// totals is how many requests the court has seen once it has seen at least n.
func (s simulator) totals(n int) int {
	s.t.Helper()
	for began := time.Now(); ; at(time.Now(), 20*time.Millisecond) {
		if total := s.stats().Requests; total >= n {
			return total
		}
		if time.Since(began) > time.Minute {
			s.t.Fatalf("the court has not seen %d requests", n)
		}
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

// server is a process that serves, and what it said about itself.
type server struct {
	t    testing.TB
	cmd  *exec.Cmd
	http string // where it says how it is
	// said are the lines that it writes to stderr, heard those that were read of them.
	said  chan string
	heard []string
}

// startServer starts `serve` with those flags and waits until it says where it answers over HTTP. It ends with the test.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, said: make(chan string, 10_000)}
	s.cmd = exec.Command("fct-scraper", append([]string{"serve", "--http-addr", "127.0.0.1:0", "--log-format", "json", "--robots=false"}, args...)...)
	s.cmd.Dir = t.TempDir()
	errors, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.said)
		for lines := bufio.NewScanner(errors); lines.Scan(); {
			s.said <- lines.Text()
		}
	}()
	t.Cleanup(s.stop)
	s.http = "http://" + s.hears("http.listening")["addr"].(string)
	return s
}

// hears waits for a log line of that message.
func (s *server) hears(event string) map[string]any {
	s.t.Helper()
	for line := range s.said {
		s.heard = append(s.heard, line)
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == event {
			return fields
		}
		s.t.Log(line)
	}
	s.t.Fatalf("the process ended without %s", event)
	return nil
}

func (s *server) stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	for line := range s.said { // until it ends
		s.heard = append(s.heard, line)
		s.t.Log(line)
	}
	_ = s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != codeTerminated {
		s.t.Errorf("a process that was told to stop ended with %d, want %d", code, codeTerminated)
	}
}

// get asks for a page; accept may be empty.
func (s *server) get(path, accept string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.http+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// until asks for a page again and again until its answer is good.
func (s *server) until(path, accept string, good func(status int, text string) bool) string {
	s.t.Helper()
	for began := time.Now(); ; {
		status, text := s.get(path, accept)
		if good(status, text) {
			return text
		}
		if time.Since(began) > time.Minute {
			s.t.Fatalf("%s still says %d: %s", path, status, text)
		}
		at(time.Now(), 20*time.Millisecond)
	}
}

func ready(status int, _ string) bool { return status == http.StatusOK }

// checked is what `healthcheck` says and ends with.
func (s *server) checked(path string) (int, string) {
	s.t.Helper()
	cmd := exec.Command("fct-scraper", "healthcheck", "--url", s.http+path)
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}
