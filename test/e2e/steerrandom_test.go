//go:build soak

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// steered is a run that two processes of services work on, and what is known about it.
type steered struct {
	t     testing.TB
	fleet *fleet
	sim   simulator
	// pages are the addresses of the status servers.
	pages  []string
	random *rand.Rand
	batch  string

	running, paused, tuned bool
	// changes are the commands that have taken effect and are listed in the report.
	changes []string
}

// publish sends a command over NATS and reports whether it was carried out.
func (s *steered) publish(subject, body string) bool {
	s.t.Helper()
	msg, err := s.fleet.broker.Conn().Request(subject, []byte(body), time.Minute)
	if err != nil {
		s.t.Fatal(subject, body, err)
	}
	var reply contract.CommandReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		s.t.Fatal(err)
	}
	return reply.Error == ""
}

// steer sends pause, resume or stop by one of the ways.
func (s *steered) steer(command string) bool {
	s.t.Helper()
	way := s.random.IntN(len(s.pages) + 1)
	if way == len(s.pages) {
		return s.publish("batch."+command, `{"run_id":"steered"}`)
	}
	response, err := http.Post(s.pages[way]+"/api/runs/steered/"+command, "application/json", strings.NewReader("{}"))
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.Body.Close() != nil || response.StatusCode != http.StatusAccepted && response.StatusCode != http.StatusConflict {
		s.t.Fatalf("%s: %s: %s %v", command, response.Status, text, err)
	}
	return response.StatusCode == http.StatusAccepted
}

// status is what a page tells about the run.
func (s *steered) status() (told runStatus) {
	s.t.Helper()
	response, err := http.Get(s.pages[s.random.IntN(len(s.pages))] + "/api/runs/steered")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		s.t.Fatal(err)
	}
	return told
}

// silent checks that the paused run sends no request once its cases in flight have ended.
func (s *steered) silent() {
	s.t.Helper()
	at(time.Now(), 300*time.Millisecond)
	before := s.sim.requests()
	at(time.Now(), 150*time.Millisecond)
	if after := s.sim.requests(); after != before {
		s.t.Errorf("%d requests of a paused run, then %d", before, after)
	}
	if told := s.status(); told.Wait == nil || told.Wait.Reason != contract.WaitPaused {
		s.t.Errorf("a paused run tells %+v", told)
	}
}

// do carries out one random command and checks that it was accepted if it should be.
func (s *steered) do() {
	s.t.Helper()
	name, done, want := "", false, s.running
	switch n := s.random.IntN(12); {
	case n < 3:
		if name, done = "pause", s.steer("pause"); done && !s.paused {
			s.paused, s.changes = true, append(s.changes, name)
		}
		if s.paused && s.running {
			s.silent()
		}
	case n < 6:
		if name, done = "resume", s.steer("resume"); done && s.paused {
			s.paused, s.changes = false, append(s.changes, name)
		}
	case n < 8:
		least, more := s.random.IntN(40), s.random.IntN(40)
		name = "tune"
		done = s.publish(contract.SubjectTune, fmt.Sprintf(`{"run_id":"steered","delay_min":"%dms","delay_max":"%dms","concurrency":%d}`,
			least, least+more, 1+s.random.IntN(6)))
		if done {
			s.tuned, s.changes = true, append(s.changes, name)
		}
	case n < 9:
		bad := []string{`"delay_min":-1`, `"delay_min":"9s","delay_max":"1s"`, `"concurrency":0`, `"delay_max":"NaN"`, `"speed":1`}
		name, want = "a bad tune", false
		done = s.publish(contract.SubjectTune, `{"run_id":"steered",`+bad[s.random.IntN(len(bad))]+`}`)
	case n < 10:
		name = "stop"
		if done = s.steer("stop"); done && s.running {
			s.running = false
			if s.random.IntN(2) == 0 && s.publish(contract.SubjectStart, s.batch) { // refused while the run ends
				s.started()
			} else {
				s.fleet.report("steered")
			}
		} else if !s.running { // a stop of a run that has ended is refused by a page, and does nothing over NATS
			want = done
		}
	default:
		s.start()
		return
	}
	if done != want {
		s.t.Errorf("%s of a run that is running: %v: it was carried out: %v", name, want, done)
	}
}

// start starts the batch: it joins its run, or begins another round.
func (s *steered) start() {
	s.t.Helper()
	if !s.publish(contract.SubjectStart, s.batch) {
		s.t.Error("the start was refused")
	}
	s.started()
}

func (s *steered) started() {
	if s.paused || s.tuned && !s.running {
		s.changes = append(s.changes, "start")
	}
	s.tuned = s.tuned && s.running
	s.running, s.paused = true, false
}

// Fifty random commands by NATS and the pages of two processes steer one run: it sends no request while
// it is paused, requests nothing twice, and its report adds up and lists what took effect.
func TestSteer_Random(t *testing.T) {
	t.Parallel()
	const numbers, seed = 1500, 5
	sim, open := gated(t, courtsim.Options{Seed: 36, Max: 5000, Missing: 0.1}, 1<<40)
	open()
	f := newFleet(t, sim, "--delay-min", "30ms", "--delay-max", "30ms")
	s := &steered{t: t, fleet: f, sim: sim, random: rand.New(rand.NewPCG(seed, 1)),
		batch: fmt.Sprintf(`{"run_id":"steered","year":"25","end":%d,"probe":false}`, numbers)}
	for range 2 {
		addr := fcttest.FreeAddr(t)
		f.live, s.pages = append(f.live, f.launch("--http-addr", addr)), append(s.pages, "http://"+addr)
	}
	f.join()
	for _, page := range s.pages {
		f.until("a process is ready", func() bool {
			response, err := http.Get(page + "/readyz")
			return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
		})
	}
	s.start()
	for range 50 {
		s.do()
	}
	s.start()
	if !s.publish(contract.SubjectTune, `{"run_id":"steered","delay_min":0,"delay_max":0,"concurrency":16}`) {
		t.Error("the last tune was refused")
	}
	s.changes = append(s.changes, "tune")
	report := f.report("steered")
	if report.Status != contract.Completed || report.Total != numbers || report.Succeeded+report.NoRecord+report.Failed != numbers ||
		report.Failed+report.Retries != 0 {
		t.Errorf("%s: %s, %d = %d + %d + %d, %d retries", report.Status, report.Reason, report.Total, report.Succeeded, report.NoRecord,
			report.Failed, report.Retries)
	}
	var changes []string
	for _, change := range report.Changes {
		changes = append(changes, change.Command)
	}
	if !slices.Equal(changes, s.changes) {
		t.Errorf("changes %v\nwant    %v", changes, s.changes)
	}
	if n := fcttest.Repeated(sim.asked()); n != report.CanaryRequests { // those are for records that are known
		t.Errorf("%d requests were repeated, %d of them were canaries", n, report.CanaryRequests)
	}
	if n := sim.requests(); n != report.Requests {
		t.Errorf("the report has %d requests, the court %d", report.Requests, n)
	}
}
