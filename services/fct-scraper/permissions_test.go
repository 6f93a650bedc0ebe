package main

import (
	"encoding/json"
	"errors"
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
)

// publishable is who may publish what; a subject of nobody is refused to every service.
func publishable() map[string]string {
	return map[string]string{
		"batch.start": "", "batch.stop": "", "batch.rejected": "generator",
		"batch.event.r.started": "generator", "batch.event.r.progress": "reporter", "batch.event.r.finished": "reporter",
		"job.r.1": "generator prober", "answer.r.0": "fetcher", "outcome.r.0": "classifier", "outcome.r.planned": "generator",
		"outcome.r.canary": "fetcher reporter", "fetch.canary.s": "reporter", "$KV.fetchers.reporter.of.r": "reporter",
		"outcome.r.1.x": "", "outcome.r": "", "$JS.API.STREAM.MSG.GET.FCT_OUTCOMES": "prober fetcher classifier reporter", "$JS.API.STREAM.MSG.GET.FCT_ANSWERS": "fetcher",
		"turn.s": "fetcher", "slot.s.1": "fetcher",
		"$KV.collected.IMM.25.1": "reporter", "$KV.failed.IMM.25.1": "reporter", "$KV.sites.s.block": "fetcher", "$KV.fetchers.r.f": "fetcher", "$KV.held.r.f": "fetcher",
		"$KV.runs.r.manifest": "generator prober", "$KV.runs.r.state": "generator reporter", "$KV.runs.r.checkpoint": "reporter",
		"$KV.runs.r.halt": "generator prober fetcher reporter", "$KV.runs.command.1": "generator", "$KV.runs.batch.1": "generator",
		"$JS.API.STREAM.CREATE.MINE": "generator", "$JS.API.STREAM.UPDATE.FCT_JOBS": "", "$JS.API.STREAM.DELETE.FCT_OUTCOMES": "",
		"$JS.API.STREAM.PURGE.FCT_OUTCOMES": "", "$JS.API.STREAM.PURGE.FCT_JOBS": "reporter", "$JS.API.STREAM.PURGE.KV_collected": "",
		"$JS.API.STREAM.MSG.DELETE.FCT_OUTCOMES": "", "$JS.API.STREAM.SNAPSHOT.FCT_JOBS": "", "$JS.API.STREAM.RESTORE.FCT_JOBS": "",
		"$JS.API.STREAM.NAMES": "", "$JS.API.STREAM.LIST": "", "$JS.API.STREAM.LEADER.STEPDOWN.FCT_JOBS": "", "$JS.API.INFO": "",
		"$JS.API.CONSUMER.CREATE.FCT_JOBS.mine": "generator", "$JS.API.CONSUMER.CREATE.FCT_BATCH.mine": "", "$JS.API.CONSUMER.CREATE.FCT_EVENTS.mine": strings.Join(allServices(), " "),
		"$JS.API.CONSUMER.CREATE.FCT_ANSWERS.mine": "", "$JS.API.CONSUMER.CREATE.FCT_OUTCOMES.mine": "prober reporter",
		"$JS.API.CONSUMER.CREATE.KV_sites.mine": "fetcher", "$JS.API.CONSUMER.DURABLE.CREATE.FCT_BATCH.mine": "",
		"$JS.API.CONSUMER.NAMES.KV_runs": "", "$JS.API.CONSUMER.LIST.KV_runs": "", "$JS.API.CONSUMER.PAUSE.KV_runs.mine": "",
		"$JS.API.CONSUMER.DELETE.FCT_ANSWERS.classifier": "generator", "$JS.API.CONSUMER.DELETE.FCT_BATCH.generator": "generator",
		"$JS.API.CONSUMER.DELETE.FCT_JOBS.run-r": "generator reporter", "$JS.API.CONSUMER.PAUSE.FCT_JOBS.run-r": "",
		"$JS.API.CONSUMER.MSG.NEXT.FCT_JOBS.run-r": "fetcher", "$JS.API.CONSUMER.MSG.NEXT.FCT_ANSWERS.classifier": "classifier",
		"$JS.API.CONSUMER.MSG.NEXT.FCT_BATCH.generator": "generator", "$JS.API.DIRECT.GET.FCT_BATCH.batch.start": "",
		"$JS.ACK.FCT_JOBS.run-r.1.1.1.1.1": "fetcher classifier", "$JS.ACK.FCT_ANSWERS.classifier.1.1.1.1.1": "classifier",
		"$JS.ACK.FCT_BATCH.generator.1.1.1.1.1": "generator", "$JS.ACK.FCT_PACE.turn-s.1.1.1.1.1": "fetcher",
		"$SYS.REQ.SERVER.PING": "", "$SRV.PING": "", "_INBOX.x": "", "_INBOX_generator.x": "", "_INBOX_fetcher.x": "", "elsewhere": "",
	}
}

// subscribable is who may listen where.
func subscribable() map[string]string {
	subjects := map[string]string{
		">": "", "*": "", "batch.>": "", "batch.start": "generator", "batch.stop": "generator", "batch.rejected": "", "batch.event.>": "",
		"job.>": "", "answer.>": "", "outcome.>": "", "turn.*": "", "slot.>": "", "fetch.canary.s": "fetcher", "fetch.>": "", "$KV.>": "", "$KV.sites.>": "",
		"$JS.>": "", "$JS.ACK.>": "", "$JS.API.>": "", "$JS.EVENT.ADVISORY.>": "", "$SYS.>": "", "_INBOX.>": "", "elsewhere": "",
	}
	for _, service := range allServices() {
		subjects["_INBOX_"+service+".>"], subjects["fct."+service+".state"] = service, service
	}
	return subjects
}

// forbidden are the subjects that a service has no part in, sorted.
func forbidden(subjects map[string]string, service string) (list []string) {
	for subject, owners := range subjects {
		if !slices.Contains(strings.Fields(owners), service) {
			list = append(list, subject)
		}
	}
	slices.Sort(list)
	return list
}

// try does one thing after another that is forbidden, and returns what was let pass.
func (g *guarded) try(service string, subjects []string, do func(nc *nats.Conn, subject string) error) (passed []string) {
	g.t.Helper()
	refused := make(chan error, len(subjects))
	nc := g.connect(service, func(err error) { refused <- err })
	for _, subject := range subjects {
		if err := do(nc, subject); err != nil {
			g.t.Fatalf("%s: %s: %v", service, subject, err)
		}
		// The server's word on it, if there is one, is read before the flush returns.
		if err := nc.Flush(); err != nil {
			g.t.Fatal(err)
		}
		if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			passed = append(passed, subject)
			continue
		}
		if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
			g.t.Errorf("%s: %s: %v", service, subject, err)
		}
	}
	return passed
}

func TestEveryForbiddenSubjectIsRefused(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	tried := 0
	for _, service := range allServices() {
		publish, subscribe := forbidden(publishable(), service), forbidden(subscribable(), service)
		tried += len(publish) + len(subscribe)
		if passed := g.try(service, publish, func(nc *nats.Conn, subject string) error { return nc.Publish(subject, nil) }); passed != nil {
			t.Errorf("the %s could publish to %q", service, passed)
		}
		if passed := g.try(service, subscribe, func(nc *nats.Conn, subject string) error {
			_, err := nc.SubscribeSync(subject)
			return err
		}); passed != nil {
			t.Errorf("the %s could subscribe to %q", service, passed)
		}
		// The trial itself can tell: what the service needs is let pass.
		own := "_INBOX_" + service + ".own"
		if passed := g.try(service, []string{own}, func(nc *nats.Conn, subject string) error {
			_, err := nc.SubscribeSync(subject)
			return err
		}); len(passed) != 1 {
			t.Errorf("the %s could not listen on its own %s", service, own)
		}
	}
	t.Logf("%d services, %d forbidden subjects tried", len(allServices()), tried)
}

func TestOperatorsReachCommandsAndEventsAlone(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	_, admin := g.jetStream("admin")
	// Their account has all subjects, but what is said there stays there.
	nc := g.connect("operator", func(error) {})
	for subject := range publishable() {
		if subject == "batch.start" || subject == "batch.stop" || strings.HasPrefix(subject, "$S") {
			continue
		}
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	names := admin.StreamNames(t.Context())
	for name := range names.Name() {
		t.Errorf("the operator made the stream %s", name)
	}
	if err := names.Err(); err != nil {
		t.Error(err)
	}
}

// TestServicesWorkWithTheirRightsAlone runs a batch that an operator starts, then tries to start another one as who is not
// an operator.
func TestServicesWorkWithTheirRightsAlone(t *testing.T) {
	fcttest.Long(t)
	t.Parallel()
	sim := startSim(t, "--max", "90", "--missing", "0.1", "--seed", "5", "--latency", "50ms")
	g := newGuarded(t)
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
	g.overlap(operator, events)
	if lines := g.refused(); lines != nil {
		t.Errorf("services were refused what they need:\n%s", strings.Join(lines, "\n"))
	}
	for _, service := range []string{"fetcher", "prober"} {
		ends[service]()
	}
	g.forgeStart(events)
	g.forgeDelivery(operator, events)
	g.forgeRollup()
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

// forgeStart has the server send a good start, which a service wrote into a bucket of its own, to batch.start as the answer
// to a request: no rights on subjects keep that from it. It is stored as a command, and refused as one.
func (g *guarded) forgeStart(events *nats.Subscription) {
	t := g.t
	t.Helper()
	_, admin := g.jetStream("admin")
	manifests := g.manifests(admin)
	fetcher, js := g.jetStream("fetcher")
	if _, err := js.Publish(t.Context(), "$KV.sites.mine", []byte(`{"run_id":"forged","year":"24","end":20,"probe":false}`)); err != nil {
		t.Fatal(err)
	}
	if err := fetcher.PublishRequest("$JS.API.DIRECT.GET.KV_sites.$KV.sites.mine", contract.SubjectStart, nil); err != nil {
		t.Fatal(err)
	}
	var rejection contract.Rejection
	if err := json.Unmarshal(g.told(events, contract.SubjectRejected).Data, &rejection); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(rejection.Reason, jetstream.StreamHeader) {
		t.Errorf("the forged start was refused because of %s, want the server's mark", rejection.Reason)
	}
	if after := g.manifests(admin); !slices.Equal(after, manifests) {
		t.Errorf("runs %v, want %v as before", after, manifests)
	}
}

// forgeDelivery has a consumer of jobs deliver one to batch.start: it is stored under its own subject, which no command has.
func (g *guarded) forgeDelivery(operator *nats.Conn, events *nats.Subscription) {
	t := g.t
	t.Helper()
	// Five jobs are no batch, whose headers would keep them out of the stream of commands.
	if err := operator.Publish(contract.SubjectStart, []byte(`{"run_id":"second","year":"24","end":5,"probe":false}`)); err != nil {
		t.Fatal(err)
	}
	g.told(events, "batch.event.second.started")
	_, admin := g.jetStream("admin")
	manifests := g.manifests(admin)
	fetcher, _ := g.jetStream("fetcher")
	pull := []byte(`{"batch":1,"expires":30000000000}`)
	if err := fetcher.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.FCT_JOBS.run-second", contract.SubjectStart, pull); err != nil {
		t.Fatal(err)
	}
	stream, err := admin.Stream(t.Context(), contract.StreamBatch)
	if err != nil {
		t.Fatal(err)
	}
	for ctx := t.Context(); ; {
		if msg, err := stream.GetLastMsgForSubject(ctx, "job.second.*"); err == nil {
			t.Logf("stored among the commands: %s", msg.Subject)
			break
		} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Fatal(err)
		}
	}
	// A command that comes after it is carried out after it.
	if _, err := operator.RequestWithContext(t.Context(), contract.SubjectStop, []byte(`{"run_id":"second"}`)); err != nil {
		t.Fatal(err)
	}
	if after := g.manifests(admin); !slices.Equal(after, manifests) {
		t.Errorf("runs %v, want %v as before", after, manifests)
	}
}

// manifests are the keys of the runs that there are.
func (g *guarded) manifests(js jetstream.JetStream) (keys []string) {
	g.t.Helper()
	kv, err := js.KeyValue(g.t.Context(), contract.BucketRuns)
	if err != nil {
		g.t.Fatal(err)
	}
	list, err := kv.ListKeysFiltered(g.t.Context(), "*.manifest")
	if err != nil {
		g.t.Fatal(err)
	}
	for key := range list.Keys() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
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
