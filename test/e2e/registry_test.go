//go:build soak

package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/micro"
)

// gathered asks all services and returns what answers, as many as are wanted.
func gathered[T any](f *fleet, verb micro.Verb, name string, want int) []T {
	f.t.Helper()
	subject, err := micro.ControlSubject(verb, name, "")
	if err != nil {
		f.t.Fatal(err)
	}
	return answers[T](f, subject, want)
}

// answers sends an empty request and returns what answers, as many as are wanted.
func answers[T any](f *fleet, subject string, want int) []T {
	f.t.Helper()
	nc := f.broker.Conn()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		f.t.Fatal(err)
	}
	var all []T
	for range want {
		msg, err := sub.NextMsg(30 * time.Second)
		if err != nil {
			f.t.Fatalf("%d answers to %s, want %d: %v", len(all), subject, want, err)
		}
		var one T
		if err := json.Unmarshal(msg.Data, &one); err != nil {
			f.t.Fatalf("%v: %s", err, msg.Data)
		}
		all = append(all, one)
	}
	return all
}

// semverPattern is the start of a version of the services API (semver.org).
var semverPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+`)

func TestServicesAPI_EachRole(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0", "--latency", "50ms")
	f := newFleet(t, sim)
	f.connect()
	flags := []string{"--nats-url", f.server.URL(), "--site", "fct-cf", "--base-url", sim.url, "--delay-min", "10ms", "--delay-max", "20ms", "--output", filepath.Join(f.dir, "output")}
	first := startServer(t, flags...)
	second := startServer(t, append(flags, "fetcher", "classifier")...)
	first.until("/readyz", "", ready)
	second.until("/readyz", "", ready)

	var names []string
	for _, info := range gathered[micro.Info](f, micro.InfoVerb, "", 7) {
		names = append(names, info.Name)
		if !semverPattern.MatchString(info.Version) || info.Description == "" {
			t.Errorf("%s is %q: %q", info.Name, info.Version, info.Description)
		}
	}
	slices.Sort(names)
	if want := []string{"fct-classifier", "fct-classifier", "fct-fetcher", "fct-fetcher", "fct-generator", "fct-prober", "fct-reporter"}; !slices.Equal(names, want) {
		t.Errorf("services %v, want %v", names, want)
	}

	f.order("watched", `{"run_id":"watched","year":"25","end":5000,"probe":false}`)
	busy := false
	for began := time.Now(); !busy && time.Since(began) < time.Minute; {
		for _, stats := range gathered[micro.Stats](f, micro.StatsVerb, "fct-fetcher", 2) {
			var s serviceState
			if err := json.Unmarshal(stats.Endpoints[0].Data, &s); err != nil {
				t.Fatal(err)
			}
			if s.Service != "fct-fetcher" || s.PauseMaxSeconds != 0.02 || s.Block != nil {
				t.Errorf("state %+v", s)
			}
			busy = busy || s.InFlight > 0 && s.InFlight <= s.Concurrency && slices.Equal(s.Runs, []contract.RunID{"watched"})
		}
	}
	if !busy {
		t.Error("no fetcher ever said that it asks for a case of the run")
	}
	// The endpoint says the same, from every instance.
	for _, s := range answers[serviceState](f, "fct.fetcher.state", 2) {
		if s.Service != "fct-fetcher" || s.Site != "fct-cf" || s.Concurrency != 4 {
			t.Errorf("state %+v", s)
		}
	}
	if err := runs.Halt(t.Context(), f.runs, "watched", contract.Halt{Status: contract.Stopped, Reason: "seen enough", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	f.report("watched")
}
