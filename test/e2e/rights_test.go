//go:build soak

// The matrix of rights: every service, every foreign subject, every way to reach it.
package e2e_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/streams"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// owners says which services may have an effect on a subject. Words in capitals stand for names that a trial chooses: no
// message of them is there before.
func owners() map[string]string {
	return map[string]string{
		"batch.start": "", "batch.stop": "", "batch.pause": "", "batch.resume": "", "batch.tune": "",
		"batch.event.RUN.started": "generator", "batch.event.RUN.progress": "reporter",
		"batch.event.RUN.waiting": "reporter", "batch.event.RUN.finished": "reporter",
		"job.RUN.1": "generator prober", "answer.RUN.0": "fetcher", "outcome.RUN.0": "classifier",
		"outcome.RUN.planned": "generator",
		"outcome.RUN.canary":  "fetcher reporter", "turn.RUN": "fetcher", "slot.RUN.1": "fetcher",
		"$KV.collected.IMM.25.RUN": "reporter", "$KV.failed.IMM.25.RUN": "reporter",
		"$KV.sites.RUN.block": "fetcher", "$KV.sites.RUN.slowdown": "fetcher",
		"$KV.fetchers.RUN.f": "fetcher", "$KV.held.RUN.f": "fetcher", "$KV.fetchers.reporter.of.RUN": "reporter",
		"$KV.runs.RUN.manifest": "generator prober", "$KV.runs.RUN.state": "generator reporter",
		"$KV.runs.RUN.checkpoint": "reporter",
		"$KV.runs.RUN.halt":       "generator prober fetcher reporter", "$KV.runs.command.RUN": "generator",
		"$KV.runs.batch.RUN": "generator", "$KV.runs.RUN.control": "generator",
		"$KV.runs.RUN.planned": "generator",
	}
}

// verbs are requests to the JetStream API that change something, for a stream and its consumer.
func verbs(stream, consumer string) []string {
	api := "$JS.API."
	return []string{
		api + "STREAM.CREATE." + stream, api + "STREAM.UPDATE." + stream, api + "STREAM.DELETE." + stream,
		api + "STREAM.PURGE." + stream,
		api + "STREAM.MSG.DELETE." + stream, api + "STREAM.RESTORE." + stream, api + "STREAM.SNAPSHOT." + stream,
		api + "STREAM.LEADER.STEPDOWN." + stream, api + "STREAM.PEER.REMOVE." + stream,
		api + "CONSUMER.CREATE." + stream, api + "CONSUMER.CREATE." + stream + ".forged",
		api + "CONSUMER.DURABLE.CREATE." + stream + ".forged",
		api + "CONSUMER.DELETE." + stream + "." + consumer, api + "CONSUMER.PAUSE." + stream + "." + consumer,
		api + "CONSUMER.RESET." + stream + "." + consumer,
		api + "CONSUMER.UNPIN." + stream + "." + consumer, api + "CONSUMER.LEADER.STEPDOWN." + stream + "." + consumer,
	}
}

// consumers are those that stand on the streams while the trials go on.
func consumers() map[string]string {
	return map[string]string{
		contract.StreamBatch: "generator", contract.StreamAnswers: "classifier", contract.StreamJobs: "run-kept",
		contract.StreamPace: "turn-kept",
	}
}

// kept are the messages that have to outlast every trial, one in each stream.
func kept() map[string]string {
	return map[string]string{
		contract.StreamAnswers: "answer.kept.0", contract.StreamOutcomes: "outcome.kept.0",
		contract.StreamEvents: "batch.event.kept.started",
		contract.StreamJobs:   "job.kept.1", contract.StreamPace: "turn.kept",
		"KV_collected": "$KV.collected.IMM.25.1", "KV_failed": "$KV.failed.IMM.25.1",
		"KV_sites":    "$KV.sites.kept.block",
		"KV_fetchers": "$KV.fetchers.kept.f", "KV_held": "$KV.held.kept.f", "KV_runs": "$KV.runs.kept.manifest",
	}
}

// imported are the subjects on which a service may ask something, as deploy/nats/nats.conf has them, with names for wildcards.
func imported(t *testing.T, service string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	_, account, found := strings.Cut(string(text), "\n  "+strings.ToUpper(service)+" {")
	account, _, closed := strings.Cut(account, "\n  }\n")
	if !found || !closed {
		t.Fatalf("there is no account of the %s", service)
	}
	var subjects []string
	for _, match := range regexp.MustCompile(`service: \{ account: \w+, subject: "([^"]+)" \}`).FindAllStringSubmatch(account, -1) {
		subjects = append(subjects, concrete(match[1]))
	}
	if len(subjects) < 10 {
		t.Fatalf("the %s imports %d services, too few to be all", service, len(subjects))
	}
	return subjects
}

// concrete puts names for the wildcards of an import: those of the messages and consumers that are there.
func concrete(subject string) string {
	for _, name := range []struct{ wild, is string }{
		{"CONSUMER.CREATE.FCT_JOBS.>", "CONSUMER.CREATE.FCT_JOBS.run-own.job.own.*"},
		{"CONSUMER.CREATE.FCT_PACE.>", "CONSUMER.CREATE.FCT_PACE.turn-own.turn.own"},
		{"CONSUMER.DELETE.FCT_JOBS.*", "CONSUMER.DELETE.FCT_JOBS.run-gone"},
		{"CONSUMER.DELETE.FCT_PACE.*", "CONSUMER.DELETE.FCT_PACE.turn-gone"}, {"FCT_JOBS.*", "FCT_JOBS.run-kept"},
		{"FCT_PACE.*", "FCT_PACE.turn-kept"},
		{"ACK.FCT_JOBS.>", "ACK.FCT_JOBS.run-kept.1.99.99.1.0"},
		{"ACK.FCT_PACE.>", "ACK.FCT_PACE.turn-kept.1.99.99.1.0"},
		{"generator.>", "generator.1.99.99.1.0"}, {"control.>", "control.1.99.99.1.0"},
		{"classifier.>", "classifier.1.99.99.1.0"},
		{"GET.FCT_EVENTS.>", "GET.FCT_EVENTS.batch.event.kept.started"},
		{"GET.FCT_OUTCOMES.>", "GET.FCT_OUTCOMES.outcome.kept.0"},
		{"KV_runs.>", "KV_runs.$KV.runs.kept.manifest"}, {"KV_sites.>", "KV_sites.$KV.sites.kept.block"},
		{"KV_fetchers.>", "KV_fetchers.$KV.fetchers.kept.f"}, {"KV_held.>", "KV_held.$KV.held.kept.f"},
		{"KV_collected.>", "KV_collected.$KV.collected.IMM.25.1"}, {"KV_failed.>", "KV_failed.$KV.failed.IMM.25.1"},
		{"outcome.*.*", "outcome.own.0"}, {"$KV.collected.>", "$KV.collected.IMM.25.2"},
		{"$KV.failed.>", "$KV.failed.IMM.25.2"}, {"$KV.sites.>", "$KV.sites.own.block"},
	} {
		if before, is := strings.CutSuffix(subject, name.wild); is {
			return before + name.is
		}
	}
	return strings.ReplaceAll(subject, "*", "own")
}

// bodyOf is what a request needs to be answered with as much as it can be.
func bodyOf(subject string) []byte {
	api, _ := strings.CutPrefix(subject, "$JS.API.")
	switch {
	case strings.HasPrefix(api, "CONSUMER.MSG.NEXT."):
		return []byte(`{"batch":1,"no_wait":true}`)
	case strings.HasPrefix(api, "CONSUMER.CREATE.FCT_JOBS."):
		return []byte(`{"stream_name":"FCT_JOBS","config":{"durable_name":"run-own","name":"run-own","filter_subject":"job.own.*","ack_policy":"explicit"}}`)
	case strings.HasPrefix(api, "CONSUMER.CREATE.FCT_PACE."):
		return []byte(`{"stream_name":"FCT_PACE","config":{"durable_name":"turn-own","name":"turn-own","filter_subject":"turn.own","ack_policy":"explicit"}}`)
	case strings.HasPrefix(api, "STREAM.PURGE."):
		return []byte(`{"filter":"job.own.*"}`)
	case strings.HasPrefix(api, "STREAM.MSG.GET."), strings.HasPrefix(api, "DIRECT.GET.") &&
		strings.Count(api, ".") == 2:
		return []byte(`{"seq":1}`)
	default:
		return []byte(`{"run_id":"forged","year":"24","end":20,"probe":false}`)
	}
}

// homes are the JetStream APIs of the admin, by stream.
func (g *guarded) homes(admin jetstream.JetStream) map[string]jetstream.JetStream {
	g.t.Helper()
	configs, err := streams.Streams()
	if err != nil {
		g.t.Fatal(err)
	}
	homes := make(map[string]jetstream.JetStream)
	for _, config := range configs {
		if homes[config.Name], err = streams.AccountAPI(g.t.Context(), admin, config.Name); err != nil {
			g.t.Fatal(err)
		}
	}
	return homes
}

// furnish stores the messages that are to outlast the trials, and makes the consumers.
func (g *guarded) furnish(homes map[string]jetstream.JetStream) {
	g.t.Helper()
	fetchers, err := homes["KV_fetchers"].Stream(g.t.Context(), "KV_fetchers")
	if err != nil {
		g.t.Fatal(err)
	}
	config := fetchers.CachedInfo().Config
	config.MaxAge = time.Hour // its keys expire after 15 s, which a busy machine takes for all tries
	if _, err := homes["KV_fetchers"].UpdateStream(g.t.Context(), config); err != nil {
		g.t.Fatal(err)
	}
	for stream, subject := range kept() {
		writer := homes[stream]
		if stream == contract.StreamJobs || stream == contract.StreamPace {
			_, writer = g.jetStream(map[string]string{contract.StreamJobs: "generator",
				contract.StreamPace: "fetcher"}[stream])
		}
		if _, err := writer.Publish(g.t.Context(), subject,
			[]byte(`{"run_id":"forged","year":"24","end":20,"probe":false}`)); err != nil {
			g.t.Fatal(subject, err)
		}
	}
	for stream, name := range map[string]string{contract.StreamJobs: "run-kept", contract.StreamPace: "turn-kept"} {
		config := jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy,
			FilterSubject: kept()[stream]}
		if _, err := homes[stream].CreateConsumer(g.t.Context(), stream, config); err != nil {
			g.t.Fatal(err)
		}
	}
}

// look is what there is on the server: the subjects stored in each stream, the definitions, and the consumers that are to stay.
func (g *guarded) look(homes map[string]jetstream.JetStream) (subjects []string, definitions map[string]any) {
	g.t.Helper()
	definitions = make(map[string]any)
	for name, js := range homes {
		stream, err := js.Stream(g.t.Context(), name)
		if err != nil {
			g.t.Fatal(name, err)
		}
		info, err := stream.Info(g.t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			g.t.Fatal(name, err)
		}
		for subject := range info.State.Subjects {
			subjects = append(subjects, name+": "+subject)
		}
		definitions[name] = info.Config
		if consumer := consumers()[name]; consumer != "" {
			found, err := js.Consumer(g.t.Context(), name, consumer)
			if err != nil {
				g.t.Fatal(name, err)
			}
			definitions[name+" > "+consumer] = found.CachedInfo().Config
		}
	}
	slices.Sort(subjects)
	return subjects, definitions
}

// forgedIn are the subjects that bear the name of a trial and that a service has no part in.
func forgedIn(subjects []string, service, run string) (found []string) {
	allowed := make(map[string]bool)
	for subject, who := range owners() {
		allowed[strings.ReplaceAll(subject, "RUN", run)] = slices.Contains(strings.Fields(who), service)
	}
	for _, line := range subjects {
		stream, subject, _ := strings.Cut(line, ": ")
		if owns, known := allowed[subject]; known && !owns || stream == contract.StreamBatch {
			found = append(found, line)
		}
	}
	return found
}

// TestRights_NoSubjectsOfOthers has every service put every foreign subject into every place where it can put one: as the subject of a
// message, as the reply subject of each request that it may make, and as the deliver subject of a consumer that it may make.
func TestRights_NoSubjectsOfOthers(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	_, admin := g.jetStream("admin")
	homes := g.homes(admin)
	g.furnish(homes)
	_, before := g.look(homes)
	began, tried := time.Now(), 0
	for _, service := range allServices() {
		run := "forged-" + service
		var targets []string
		for subject := range owners() {
			targets = append(targets, strings.ReplaceAll(subject, "RUN", run))
		}
		for stream := range homes {
			targets = append(targets, verbs(stream, cmp.Or(consumers()[stream], "kept"))...)
		}
		slices.Sort(targets)
		tried += g.attack(service, targets, slices.Sorted(maps.Keys(homes)))
		subjects, now := g.look(homes)
		if found := forgedIn(subjects, service, run); found != nil {
			t.Errorf("the %s has written %q", service, found)
		}
		for stream, subject := range kept() {
			if !slices.Contains(subjects, stream+": "+subject) {
				t.Errorf("the %s has removed %s from %s", service, subject, stream)
			}
		}
		if diff := gocmp.Diff(before, now); diff != "" {
			t.Errorf("the %s has changed definitions (-before +after):\n%s", service, diff)
		}
	}
	t.Logf("%d tries of %d services in %s", tried, len(allServices()), time.Since(began).Round(time.Millisecond))
	g.noticed(homes)
}

// attack makes all tries of one service, and returns how many.
func (g *guarded) attack(service string, targets, all []string) (tried int) {
	t := g.t
	t.Helper()
	nc := g.connect(service, func(error) {}) // what is refused in words is refused
	requests := imported(t, service)
	for _, target := range targets {
		for _, request := range requests {
			if err := nc.PublishRequest(request, target, bodyOf(request)); err != nil {
				t.Fatal(err)
			}
			tried++
		}
		for _, stream := range all {
			body := fmt.Appendf(nil, `{"stream_name":%q,"config":{"name":"forged-%d","deliver_subject":%q,"deliver_policy":"all","ack_policy":"none","inactive_threshold":60000000000}}`,
				stream, tried, target)
			if err := nc.PublishRequest(fmt.Sprintf("$JS.API.CONSUMER.CREATE.%s.forged-%d", stream, tried),
				nats.NewInbox(), body); err != nil {
				t.Fatal(err)
			}
			tried++
		}
	}
	// Itself the subject: a verb that is the service's own is left out, its right use is tried above.
	for _, target := range targets {
		if slices.Contains(requests, target) || strings.HasPrefix(target, "$JS.API.STREAM.PURGE.FCT_JOBS") &&
			service == "reporter" ||
			strings.HasPrefix(target, "$JS.API.CONSUMER.DELETE.FCT_JOBS.") && service == "reporter" {
			continue
		}
		if err := nc.PublishRequest(target, nats.NewInbox(), []byte(`{"run_id":"forged"}`)); err != nil {
			t.Fatal(err)
		}
		tried++
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	// The server answers a service's requests in their order: when the last is answered all have been.
	if _, err := nc.Request("$JS.API.STREAM.INFO.KV_runs", nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	return tried
}

// noticed shows that a forged message would have been: whoever has an account with the streams makes one.
func (g *guarded) noticed(homes map[string]jetstream.JetStream) {
	g.t.Helper()
	nc := homes["KV_runs"].Conn()
	ask := "$JS.API.DIRECT.GET.KV_sites.$KV.sites.kept.block"
	if err := nc.PublishRequest(ask, "$KV.runs.forged-nobody.state", nil); err != nil {
		g.t.Fatal(err)
	}
	for ctx, found := g.t.Context(), []string(nil); found == nil; {
		if ctx.Err() != nil {
			g.t.Fatal("what the admin forged is not seen")
		}
		subjects, _ := g.look(homes)
		found = forgedIn(subjects, "nobody", "forged-nobody")
	}
}

// TestRights_NoInboxOfOthers has every service listen to everything, and the admin and an operator say what is nobody's but the
// owner's to hear.
func TestRights_NoInboxOfOthers(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	_, admin := g.jetStream("admin")
	g.furnish(g.homes(admin))
	heard := make(map[string]*nats.Subscription)
	for _, service := range allServices() {
		nc := g.connect(service, func(err error) { t.Errorf("%s: %v", service, err) })
		sub, err := nc.SubscribeSync(">")
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		heard[service] = sub
	}
	operator := g.connect("operator", func(err error) { t.Error("operator:", err) })
	for subject := range owners() {
		subject = strings.ReplaceAll(subject, "RUN", "secret")
		for _, nc := range []*nats.Conn{admin.Conn(), operator} {
			if err := nc.PublishRequest(subject, nats.NewInbox(), []byte("secret")); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for service, sub := range heard {
		// What was sent to it before is here when the last word is.
		if err := admin.Conn().Publish("$KV.runs.last.state", nil); err != nil {
			t.Fatal(err)
		}
		for {
			msg, err := sub.NextMsg(time.Minute)
			if err != nil {
				t.Fatalf("%s: %v", service, err)
			}
			if msg.Subject == "stored.$KV.runs.last.state" {
				break
			}
			command := strings.HasPrefix(msg.Subject, "batch.") && service == "generator"
			if !strings.HasPrefix(msg.Subject, "stored.") && !command || strings.HasPrefix(msg.Subject, "stored.") &&
				len(msg.Data) > 0 && !strings.HasPrefix(msg.Subject, "stored.batch.event.") {
				t.Errorf("the %s hears %s: %s", service, msg.Subject, msg.Data)
			}
		}
	}
}
