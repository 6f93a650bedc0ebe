//go:build natscommand && soak

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/micro"
)

// natsCommand is the nats command of tools/go.mod. Its first build takes minutes and needs modules that nothing else does, so these
// tests have a build tag.
type natsCommand struct {
	t    testing.TB
	path string
	args []string
}

func newNatsCommand(t testing.TB, url string) natsCommand {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", "nats")
	cmd.Dir = filepath.Join("..", "..")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("building the nats command: %v: %s", err, said)
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return natsCommand{t: t, path: lines[len(lines)-1], args: []string{"--server", url}}
}

// says is what the command says; the operator's own contexts and credentials must not lead it to another server.
func (c natsCommand) says(args ...string) string {
	c.t.Helper()
	cmd := exec.Command(c.path, slices.Concat(c.args, args)...)
	cmd.Dir = filepath.Join("..", "..") // where streams/ is
	cmd.Env = slices.DeleteFunc(append(os.Environ(), "XDG_CONFIG_HOME="+c.t.TempDir()), func(v string) bool { return strings.HasPrefix(v, "NATS_") })
	said, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return string(said)
}

// until asks again and again until what the command says is as it is to be.
func (c natsCommand) until(want func(said string) bool, args ...string) {
	c.t.Helper()
	var said string
	for began := time.Now(); time.Since(began) < time.Minute; {
		if said = c.says(args...); want(said) {
			return
		}
	}
	c.t.Fatalf("nats %s still says\n%s", strings.Join(args, " "), said)
}

func TestNatsCommand_ShowsServices(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0", "--latency", "100ms")
	f := newFleet(t, sim)
	f.connect()
	command := newNatsCommand(t, f.server.URL())
	flags := []string{"--nats-url", f.server.URL(), "--site", "fct-cf", "--base-url", sim.url, "--delay-min", "10ms", "--delay-max", "20ms", "--output", filepath.Join(f.dir, "output")}
	startServer(t, flags...).until("/readyz", "", ready)
	f.order("shown", `{"run_id":"shown","year":"25","end":90000,"probe":false}`)

	every := func(line string) func(string) bool {
		return func(said string) bool {
			return !slices.ContainsFunc(allServices(), func(role string) bool {
				return !regexp.MustCompile(strings.ReplaceAll(line, "ROLE", role)).MatchString(said)
			})
		}
	}
	command.until(every(`fct-ROLE +│`), "micro", "ls")
	command.until(every(`(?m)^fct-ROLE \S+ +rtt=`), "micro", "ping")
	for _, info := range gathered[micro.Info](f, micro.InfoVerb, "", len(allServices())) {
		role, what := strings.TrimPrefix(info.Name, "fct-"), info.Description
		command.until(func(said string) bool {
			return strings.Contains(said, what) && strings.Contains(said, "fct."+role+".state") && strings.Contains(said, `"shown"`)
		}, "micro", "info", "fct-"+role)
		command.until(func(said string) bool { return strings.Contains(said, "│ state ") }, "micro", "stats", "fct-"+role)
		command.until(func(said string) bool {
			s := stateIn(t, said)
			return s.Service == "fct-"+role && slices.Equal(s.Runs, []contract.RunID{"shown"})
		}, "micro", "stats", "fct-"+role, "--json")
	}
	command.until(func(said string) bool {
		s := stateIn(t, said)
		return s.InFlight > 0 && s.Concurrency == 4 && s.PauseMinSeconds == 0.01 && s.PauseMaxSeconds == 0.02 && s.Block == nil && strings.Contains(said, `"block": null`)
	}, "micro", "stats", "fct-fetcher", "--json")
	f.block(contract.SiteBlock{CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 3}, RunID: "shown", Rule: "status 403", At: time.Now(), Until: time.Now().Add(time.Hour)})
	if report := f.report("shown"); report.Status != contract.Blocked {
		t.Errorf("%s (%s), want it blocked", report.Status, report.Reason)
	}
	command.until(func(said string) bool {
		s := stateIn(t, said)
		return s.InFlight == 0 && len(s.Runs) == 0 && s.Block != nil && s.Block.Rule == "status 403"
	}, "micro", "stats", "fct-fetcher", "--json")
	command.until(func(said string) bool { return strings.Contains(said, `"rule": "status 403"`) }, "micro", "info", "fct-fetcher")
}

// block has the site tell everybody to go away.
func (f *fleet) block(block contract.SiteBlock) {
	f.t.Helper()
	kv, err := f.broker.KV(f.t.Context(), contract.BucketSites)
	var value []byte
	if err == nil {
		value, err = json.Marshal(block)
	}
	if err == nil {
		_, err = kv.Put(f.t.Context(), contract.BlockKey("fct-cf"), value)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// stateIn is the state of the one instance in what `nats micro stats --json` says.
func stateIn(t testing.TB, said string) (s serviceState) {
	t.Helper()
	var all []micro.Stats
	if err := json.Unmarshal([]byte(said), &all); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if len(all) != 1 || len(all[0].Endpoints) == 0 {
		return s
	}
	if err := json.Unmarshal(all[0].Endpoints[0].Data, &s); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return s
}

// A server that others use is changed by its operator alone; the program names the commands that do it.
func TestNatsCommand_RepairsDrift(t *testing.T) {
	t.Parallel()
	f := &fleet{t: t, dir: t.TempDir()}
	f.later("127.0.0.1:0")
	t.Cleanup(func() {
		if err := f.server.Close(); err != nil {
			t.Error(err)
		}
	})
	command := newNatsCommand(t, f.server.URL())
	js := f.broker.JetStream()
	if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := alter(t.Context(), js, older, contract.StreamOutcomes, contract.StreamEvents, "KV_"+contract.BucketRuns); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`nats ((?:stream|consumer) edit .* --config \S+\.json)`)
	for _, what := range []string{"FCT_EVENTS", "FCT_OUTCOMES", "KV_runs", "FCT_ANSWERS classifier"} {
		said, _ := exec.Command("fct-scraper", "serve", "generator", "--nats-url", f.server.URL(), "--http-addr", "127.0.0.1:0").CombinedOutput()
		found := named.FindStringSubmatch(string(said))
		if found == nil || !strings.Contains(found[1], " edit "+what+" ") {
			t.Fatalf("%s\nwant it to name the command that changes %s", said, what)
		}
		if strings.HasPrefix(what, "KV_") { // it asks whether that is meant, on a terminal alone
			definition, err := os.ReadFile(filepath.Join("..", "..", "streams", what+".stream.json"))
			if err != nil {
				t.Fatal(err)
			}
			command.says("request", "$JS.API.STREAM.UPDATE."+what, string(definition))
			continue
		}
		command.says(append(strings.Fields(found[1]), "--force")...)
	}
	if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Error(err)
	}
}
