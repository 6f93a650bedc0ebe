//go:build soak

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

func TestRights_Operator(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	_, admin := g.jetStream("admin")
	homes := g.homes(admin)
	g.furnish(homes)
	before, _ := g.look(homes)
	// Their account has all subjects, but what is said there stays there.
	nc := g.connect("operator", func(error) {})
	for subject := range owners() {
		if subject != "batch.rejected" && strings.Count(subject, ".") == 1 && strings.HasPrefix(subject, "batch.") {
			continue
		}
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if after, _ := g.look(homes); !slices.Equal(after, before) {
		t.Errorf("the operator has written: %q, before %q", after, before)
	}
}

// TestRights_WholeRun runs a batch that an operator starts, then tries to empty buckets as the services that write
// into them.
func TestRights_WholeRun(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	sim := startSim(t, "--max", "90", "--missing", "0.1", "--seed", "5", "--latency", "50ms")
	g := newGuarded(t)
	nobody := did(t, codeBroker, "status", "--nats-url", g.url, "--nats-nkey", g.key("operator"))
	if !strings.Contains(nobody.stderr, "no reporter replies") {
		t.Errorf("status without services: %s", nobody.stderr)
	}
	ends := make(map[string]func())
	for _, service := range []string{"generator", "prober", "fetcher", "classifier", "reporter"} {
		ends[service] = g.serve(service, sim)
	}
	g.serve("reporter", sim) // which asks for the lease of the other one
	operator := g.connect("operator", func(err error) { t.Error("operator:", err) })
	events, err := operator.SubscribeSync("batch.>")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := operator.RequestWithContext(t.Context(), contract.SubjectStart, []byte(`{"year":"25"}`)) // without a run id, as people type it
	if err != nil {
		t.Fatal(err)
	}
	var first struct {
		RunID contract.RunID `json:"run_id"`
	}
	if err := json.Unmarshal(answer.Data, &first); err != nil || first.RunID == "" {
		t.Fatalf("an operator's request is answered by %s, %v", answer.Data, err)
	}
	var event contract.Event
	if err := json.Unmarshal(g.told(events, "batch.event."+string(first.RunID)+".finished").Data, &event); err != nil {
		t.Fatal(err)
	}
	// The bound lies at or a little above the highest number that exists.
	if r := event.Report; r == nil || r.Status != contract.Completed || r.Total < 85 || r.Failed != 0 {
		t.Errorf("the run ended so: %+v", r)
	}
	if got := event.Report.Config["concurrency"]; got != float64(guardedConcurrency) {
		t.Errorf("the report says concurrency %v, the fetcher's is %d", got, guardedConcurrency)
	}
	g.operate(first.RunID)
	g.overlap(operator, events)
	g.pings(operator)
	if lines := g.refused(); lines != nil {
		t.Errorf("services were refused what they need:\n%s", strings.Join(lines, "\n"))
	}
	for _, service := range []string{"fetcher", "prober"} {
		ends[service]()
	}
	g.forgeRollup()
}

// pings sees to it that an operator hears every service, each of them in an account of its own.
func (g *guarded) pings(operator *nats.Conn) {
	t := g.t
	t.Helper()
	inbox, err := operator.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.PublishRequest("$SRV.PING", inbox.Subject, nil); err != nil {
		t.Fatal(err)
	}
	heard := make(map[string]int)
	for len(heard) < len(allServices()) || heard["fct-reporter"] < 2 {
		msg, err := inbox.NextMsg(time.Minute)
		if err != nil {
			t.Fatalf("services heard: %v: %v", heard, err)
		}
		var ping micro.Ping
		if err := json.Unmarshal(msg.Data, &ping); err != nil {
			t.Fatal(err)
		}
		heard[ping.Name]++
	}
}

// operate looks at a run that is over, and stops one, with the operator's key.
func (g *guarded) operate(ended contract.RunID) {
	t := g.t
	t.Helper()
	key := []string{"--nats-url", g.url, "--nats-nkey", g.key("operator")}
	ask := func(code int, args ...string) printed { t.Helper(); return did(t, code, append(args, key...)...) }
	var s runStatus
	if told := ask(codeCompleted, "status", "--json"); json.Unmarshal([]byte(told.stdout), &s) != nil || s.RunID != ended ||
		s.Status != contract.Completed || s.Done < 85 {
		t.Errorf("status: %s", told.stdout)
	}
	if told := ask(codeCompleted, "runs"); !strings.Contains(told.stdout, string(ended)) {
		t.Errorf("runs: %s", told.stdout)
	}
	ask(codeCompleted, "stop", "--run", string(ended))
	ask(codeUsage, "status", "--run", "none")
	ask(codeBroker, "setup")
}

// overlap has two runs ask for the same numbers, so that the classifier copies outcomes from one to the other.
func (g *guarded) overlap(operator *nats.Conn, events *nats.Subscription) {
	t := g.t
	t.Helper()
	for _, name := range []string{"left", "right"} {
		if err := operator.Publish(contract.SubjectStart, fmt.Appendf(nil, `{"run_id":%q,"year":"23","end":90,"probe":false}`, name)); err != nil {
			t.Fatal(err)
		}
	}
	for ended := map[string]bool{}; len(ended) < 2; {
		msg, err := events.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if name, is := strings.CutSuffix(strings.TrimPrefix(msg.Subject, "batch.event."), ".finished"); is {
			ended[name] = true
		}
	}
	copies := 0
	for _, name := range []string{"left", "right"} {
		lines, err := os.ReadFile(filepath.Join(g.dir, "output", "attempts_"+name+".ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		copies += strings.Count(string(lines), "asked for by run ")
		if n := strings.Count(string(lines), "\n"); n != 90 {
			t.Errorf("%d attempts of run %s, want 90", n, name)
		}
	}
	if copies == 0 {
		t.Error("no outcome was copied from one run to the other")
	}
	t.Logf("%d outcomes of 180 were copied", copies)
}

// forgeRollup tries to empty buckets by one message, as those who may write into them.
func (g *guarded) forgeRollup() {
	t := g.t
	t.Helper()
	_, admin := g.jetStream("admin")
	for service, subject := range map[string]string{
		"fetcher": "$KV.runs.mine.halt", "prober": "$KV.runs.mine.manifest", "reporter": "$KV.collected.IMM.24.99999", "generator": "$KV.runs.command.99",
	} {
		stream := "KV_" + strings.Split(subject, ".")[1]
		before := g.messages(admin, stream)
		nc, js := g.jetStream(service)
		for _, extent := range []string{"all", "sub"} {
			msg := nats.NewMsg(subject)
			msg.Header.Set("Nats-Rollup", extent)
			if _, err := js.PublishMsg(t.Context(), msg, jetstream.WithRetryAttempts(0)); err == nil {
				t.Errorf("the %s could roll %s up (%s)", service, subject, extent)
			}
		}
		nc.Close()
		if after := g.messages(admin, stream); before == 0 || after < before { // runs may add to it meanwhile
			t.Errorf("%s holds %d messages, before the forged rollup %d", stream, after, before)
		}
	}
}

func (g *guarded) messages(js jetstream.JetStream, stream string) uint64 {
	g.t.Helper()
	opened, err := js.Stream(g.t.Context(), stream)
	if err != nil {
		g.t.Fatal(fmt.Errorf("looking into %s: %w", stream, err))
	}
	return opened.CachedInfo().State.Msgs
}
