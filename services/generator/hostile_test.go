package generator_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

// badCommand is a command that must not start or stop anything, with strings that its error must
// contain.
type badCommand struct {
	subject, body string
	header        nats.Header
	want          []string
	// notStored reports that the stream must not store the command.
	notStored bool
}

// validStart is a valid start; the tests send it with an invalid header or subject.
const validStart = `{"year":"25","end":5,"run_id":"nobody"}`

func badCommands() map[string]badCommand {
	start := func(body string, want ...string) badCommand {
		return badCommand{subject: contract.SubjectStart, body: body, want: want}
	}
	stop := func(body string, want ...string) badCommand {
		return badCommand{subject: contract.SubjectStop, body: body, want: want}
	}
	with := func(name, value string) badCommand {
		return badCommand{subject: contract.SubjectStart, body: validStart,
			header: nats.Header{name: []string{value}}, want: []string{name, value}}
	}
	unkept := func(b badCommand) badCommand {
		b.notStored = true
		return b
	}
	form := "JSON object"
	id := "a-z0-9"
	return map[string]badCommand{
		"empty":             start("", "body", "empty", form),
		"broken":            start(`{"year":"25"`, "body", `{\"year`, form),
		"broken inside":     start(`{"year":}`, "body", form),
		"two values":        start(`{"year":"25"} {"year":"24"}`, "body", form),
		"a list":            start(`[{"year":"25"}]`, "body", form),
		"a text":            start(`"25"`, "body", form),
		"null":              start(`null`, "body", "null", form),
		"not UTF-8":         start("{\"prefix\":\"\xff\xfe\"}", "body", "UTF-8"),
		"a byte order mark": start("\uFEFF{}", "body", "byte order mark"),
		"UTF-16":            start("{\x00}\x00", "body", form),
		"1 MiB of nothing":  unkept(start(strings.Repeat("x", 1<<20), "body", "1048576", "65536")),
		"1 MiB in a field": unkept(start(`{"prefix":"`+strings.Repeat("A", 1<<20)+`"}`, "body",
			"65536")),
		"deep lists": start(strings.Repeat("[", 60_000), "body", form),
		"deep objects": start(`{"year":`+strings.Repeat(`{"a":`, 9000)+"1"+strings.Repeat("}",
			9001), "year", "two ASCII digits"),
		"too deep": start(`{"year":`+strings.Repeat("[", 11000)+strings.Repeat("]",
			11000)+"}", "body", "depth"),
		"a key twice": start(`{"end":5,"end":6}`, "end", "6", "twice"),
		"a key and its alias": start(`{"max_retries":1,"retry_limit":2}`, "retry_limit", "2",
			"max_retries"),
		"unknown field": start(`{"concurency":4}`, "concurency", "4", "unknown", "max_cases"),
		"a field of the file": start(`{"base_url":"http://evil.test"}`, "base_url", "evil.test",
			"unknown"),
		"wrong case":          start(`{"Year":"25"}`, "Year", "unknown"),
		"a thousand fields":   start(manyFields(1000), "unknown", "and 990 more"),
		"a text for a number": start(`{"start":"1"}`, "start", `"1"`, "without quotes", "1 to 99999"),
		"a number for a text": start(`{"year":25}`, "year", "25", "two ASCII digits"),
		"a fraction":          start(`{"start":1.5}`, "start", "1.5", "whole number"),
		"a huge number":       start(`{"end":1e400}`, "end", "1e400", "whole number"),
		"null for a number":   start(`{"start":null}`, "start", "null", "whole number"),
		"a list for a flag":   start(`{"force":[true]}`, "force", "[true]", "true or false"),
		"below":               start(`{"start":0}`, "start", "0", "1 to 99999"),
		"above":               start(`{"end":100000}`, "end", "100000", "1 to 99999"),
		"minus":               start(`{"max_cases":-1}`, "max_cases", "-1", "1 to 99999"),
		"end before start":    start(`{"start":9,"end":8}`, "end", "8", "start (9)"),
		"a year of before":    start(`{"year":"1925"}`, "year", "1925", "two ASCII digits"),
		"arabic digits":       start(`{"year":"٢٥"}`, "year", "two ASCII digits"),
		"a small prefix":      start(`{"prefix":"imm"}`, "prefix", "imm", "capital"),
		"a prefix with dots":  start(`{"prefix":"I.>"}`, "prefix", "capital"),
		"only a search of no": start(`{"probe_only":true,"probe":false}`, "probe_only", "probe true"),
		"a path as run id": start(`{"run_id":"../../etc/passwd"}`, "run_id", "../../etc/passwd",
			id),
		"a drive as run id":    start(`{"run_id":"c:\\x"}`, "run_id", id),
		"a wildcard as run id": start(`{"run_id":"*"}`, "run_id", "*", id),
		"the rest as run id":   start(`{"run_id":">"}`, "run_id", ">", id),
		"tokens as run id":     start(`{"run_id":"a.b"}`, "run_id", "a.b", id),
		"an empty run id":      start(`{"run_id":""}`, "run_id", id),
		"a newline in run id":  start("{\"run_id\":\"a\\n\"}", "run_id", id),
		"a long run id":        start(`{"run_id":"`+strings.Repeat("a", 64)+`"}`, "run_id", id),
		"a job": start(`{"v":1,"run_id":"nobody","case_id":"IMM-1-25"}`, "case_id",
			"IMM-1-25", "unknown"),
		"an event": start(`{"run_id":"nobody","status":"completed","range":{"start":1,"end":2}}`, "status",
			"completed", "unknown"),
		"rollup of all":      unkept(with("Nats-Rollup", "all")),
		"rollup of one":      unkept(with("Nats-Rollup", "sub")),
		"a time to live":     unkept(with("Nats-TTL", "1s")),
		"part of a batch":    unkept(with("Nats-Batch-Id", "forged")),
		"an id":              with("Nats-Msg-Id", "1"),
		"a held expectation": with("Nats-Expected-Stream", contract.StreamBatch),
		"another stream":     unkept(with("Nats-Expected-Stream", "other")),
		"another end":        unkept(with("Nats-Expected-Last-Sequence", "999999")),
		"another last id":    unkept(with("Nats-Expected-Last-Msg-Id", "none")),
		"a counter":          unkept(with("Nats-Incr", "1")),
		"read from a stream": with("Nats-Stream", "KV_sites"),
		"a list of other things": start(`{"ids":["`+strings.Repeat(`x","`, 10_000)+`x"]}`, "ids",
			`"x", "x"`, "and 9996 more", "not a case id"),
		"a list of two years": start(`{"ids":["IMM-1-25","IMM-1-24"]}`, "ids", "IMM-1-24",
			"the first id is of series IMM and year 25"),
		"an empty list": start(`{"ids":[]}`, "ids", "it is empty"),
		"a list and a range": start(`{"ids":["IMM-1-25"],"start":1,"probe":true}`, "start", "probe",
			"ids are given too"),
		"a deep list": start(`{"ids":`+strings.Repeat("[", 9000)+strings.Repeat("]",
			9000)+"}", "ids", "not a list of texts"),
		"a list of plain ids that is too long": unkept(start(`{"ids":["`+strings.Repeat(`IMM-12345-25","`,
			5000)+`IMM-1-25"]}`, "body", "65536")),
		"stop of nobody":  stop(`{"run_id":"nobody"}`, "run_id", "nobody", "id of a run"),
		"stop of all":     stop(`{"run_id":"*"}`, "run_id", "*", id),
		"stop of nothing": stop(`{}`, "run_id", "missing"),
		"stop of a path":  stop(`{"run_id":"../x"}`, "run_id", "../x", id),
		"stop and more":   stop(`{"run_id":"nobody","year":"25"}`, "year", "unknown"),
		"stop of a list":  stop(`{"run_id":"a","ids":["IMM-1-25"]}`, "ids", "unknown"),
		"stop of two":     stop(`{"run_id":"a","run_id":"b"}`, "run_id", "twice"),
	}
}

func manyFields(n int) string {
	fields := make(map[string]int)
	for i := range n {
		fields[fmt.Sprintf("f%d", i)] = i
	}
	body, _ := json.Marshal(fields)
	return string(body)
}

func TestInvalidCommandsRejected(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	rejections, err := f.b.Conn().SubscribeSync(contract.SubjectRejected)
	if err != nil {
		t.Fatal(err)
	}
	commands := badCommands()
	replies := make(map[string]contract.CommandReply, len(commands))
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, c := range commands {
		all.Go(func() {
			reply := f.request(&nats.Msg{Subject: c.subject, Data: []byte(c.body), Header: c.header})
			mu.Lock()
			defer mu.Unlock()
			replies[name] = reply
		})
	}
	all.Wait()
	published := make(map[string]contract.Rejection, len(commands)) // by subject, sequence and reason
	for range commands {
		msg, err := rejections.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var rejection contract.Rejection
		if err := json.Unmarshal(msg.Data, &rejection); err != nil {
			t.Fatal(err)
		}
		published[fmt.Sprint(rejection.Subject, rejection.Sequence, rejection.Reason)] = rejection
	}
	for name, c := range commands {
		reply := replies[name]
		if reply.Error == "" || reply.RunID != "" {
			t.Errorf("%s: replied %+v", name, reply)
		}
		for _, want := range c.want {
			if !strings.Contains(reply.Error, want) {
				t.Errorf("%s: %q does not contain %q", name, reply.Error, want)
			}
		}
		if len(reply.Error) > 5000 {
			t.Errorf("%s: an answer of %d bytes", name, len(reply.Error))
		}
		if stored := reply.Sequence > 0; stored == c.notStored {
			t.Errorf("%s: stored %v", name, stored)
		}
		rejection := published[fmt.Sprint(c.subject, reply.Sequence, reply.Error)]
		if len(rejection.Problems) == 0 || rejection.Problems[0].Field == "" || rejection.Problems[0].Allowed == "" {
			t.Errorf("%s: published %+v, replied %+v", name, rejection, reply)
		}
	}
	stored, err := f.b.Subjects(t.Context(), contract.StreamEvents, contract.SubjectRejected)
	if err != nil || stored[contract.SubjectRejected] != uint64(len(commands)) {
		t.Errorf("%v rejections stored, %v; want %d", stored, err, len(commands))
	}
	f.checkNothingStarted()
	// A valid command is still executed after all that.
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStart,
		Data: []byte(validStart)}); reply.RunID != "nobody" {
		t.Errorf("a good start: %+v", reply)
	}
}

// checkNothingStarted checks that there are no runs, jobs or pending commands.
func (f fixture) checkNothingStarted() {
	f.t.Helper()
	keys, err := f.kv.ListKeysFiltered(f.t.Context(), "*.manifest", "*.state", "*.halt")
	if err != nil {
		f.t.Fatal(err)
	}
	for key := range keys.Keys() {
		f.t.Errorf("%s was written", key)
	}
	jobs, err := f.b.Subjects(f.t.Context(), contract.StreamJobs, ">")
	if err != nil || len(jobs) > 0 {
		f.t.Errorf("jobs %v, %v", jobs, err)
	}
	consumer, err := f.b.JetStream().Consumer(f.t.Context(), contract.StreamBatch, "generator")
	if err != nil {
		f.t.Fatal(err)
	}
	if info := consumer.CachedInfo(); info.NumPending > 0 {
		f.t.Errorf("%d commands are pending", info.NumPending)
	}
}

func TestForgedReplySubjectsIgnored(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	forged := []string{
		contract.SubjectStop, "job.forged.1", "outcome.forged.planned", "$KV.runs.forged.state",
		"$JS.API.STREAM.DELETE.FCT_JOBS",
		"batch.event.forged.finished", "fct.generator.state",
	}
	for i, reply := range forged {
		body := fmt.Sprintf(`{"year":"25","end":%d}`, i+1)
		if err := f.b.Conn().PublishMsg(&nats.Msg{Subject: contract.SubjectStart, Reply: reply,
			Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	// Commands are executed in order, so the earlier ones are finished when this one is answered.
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStart,
		Data: []byte(`{"year":"25","end":99}`)}); reply.RunID == "" {
		t.Fatal(reply.Error)
	}
	for stream, filter := range map[string]string{
		contract.StreamJobs: "job.forged.*", contract.StreamOutcomes: "outcome.forged.*",
		contract.StreamEvents: "batch.event.forged.*",
		contract.StreamBatch:  contract.SubjectStop, "KV_runs": "$KV.runs.forged.state",
	} {
		if written, err := f.b.Subjects(t.Context(), stream, filter); err != nil || len(written) > 0 {
			t.Errorf("%s: %v, %v", stream, written, err)
		}
	}
}

func TestWrongSubjectsStartNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	for _, subject := range []string{"job.nobody.1", "batch.event.nobody.started", "outcome.nobody.0"} {
		if _, err := f.b.Publish(t.Context(), &nats.Msg{Subject: subject, Data: []byte(validStart)}); err != nil {
			t.Fatal(err)
		}
	}
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStop,
		Data: []byte(`{"run_id":"nobody"}`)}); reply.Error == "" {
		t.Errorf("a run exists: %+v", reply)
	}
}

func TestConcurrentEqualStarts(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"named": `{"year":"25","end":5,"run_id":"mine"}`,
		"unnamed": `{"year":"25","end":5}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			defer f.runService()()
			defer f.runService()() // two generators
			var mu sync.Mutex
			var group sync.WaitGroup
			seen, sequences := make(map[contract.RunID]int), make(map[uint64]int)
			for range 100 {
				group.Go(func() {
					reply := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: []byte(body)})
					mu.Lock()
					defer mu.Unlock()
					seen[reply.RunID]++
					sequences[reply.Sequence]++
				})
			}
			group.Wait()
			if len(seen) != 1 || seen[""] > 0 {
				t.Errorf("runs %v, want one", seen)
			}
			keys, err := f.kv.ListKeysFiltered(t.Context(), "*.manifest")
			if err != nil {
				t.Fatal(err)
			}
			manifests := 0
			for range keys.Keys() {
				manifests++
			}
			if manifests != 1 {
				t.Errorf("%d runs, want one", manifests)
			}
		})
	}
}

func TestStart_SameRunIDOtherBatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	send := func(body string) contract.CommandReply {
		return f.request(&nats.Msg{Subject: contract.SubjectStart, Data: []byte(body)})
	}
	const body = `{"year":"25","end":5,"run_id":"mine"}`
	if reply := send(body); reply.RunID != "mine" {
		t.Fatal(reply.Error)
	}
	for other, words := range map[string][]string{
		`{"year":"25","end":6,"run_id":"mine"}`: {"run_id", "mine",
			"another batch", "1 to 5"},
		`{"year":"24","end":5,"run_id":"mine"}`: {"run_id", "mine",
			"another batch", "IMM-25"},
		`{"year":"25","end":5,"run_id":"mine","max_retries":7}`: {"max_retries", "7",
			"has 3"},
		`{"year":"25","end":5,"run_id":"mine","force":true}`: {"run_id",
			"another batch"},
		`{"year":"25","end":5,"run_id":"mine","safe_stop_fails":0,"persist_raw_html":true}`: {"safe_stop_fails",
			"has 20", "persist_raw_html"},
	} {
		reply := send(other)
		for _, want := range words {
			if !strings.Contains(reply.Error, want) {
				t.Errorf("%s: %q does not contain %q", other, reply.Error, want)
			}
		}
	}
	if reply := send(body); reply.RunID != "mine" {
		t.Errorf("the same again: %+v", reply)
	}
	// A stopped run resumes with the settings of its new start.
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStop,
		Data: []byte(`{"run_id":"mine"}`)}); reply.RunID != "mine" {
		t.Errorf("a stop is replied %+v", reply)
	}
	state, err := json.Marshal(contract.State{Status: contract.Stopped, Round: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.kv.Put(t.Context(), "mine.state", state); err != nil {
		t.Fatal(err)
	}
	if reply := send(`{"year":"25","end":5,"run_id":"mine","max_retries":7}`); reply.RunID != "mine" {
		t.Errorf("a stopped run: %+v", reply)
	}
	if m, err := runs.Manifest(t.Context(), f.kv, "mine"); err != nil || m.MaxRetries != 7 {
		t.Errorf("%d retries, %v; want 7", m.MaxRetries, err)
	}
}

// A command is stored while no generator runs, and a JetStream client accepts the generator's reply
// as an acknowledgment.
func TestCommandsBeforeServiceStart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.b.Conn().Publish(contract.SubjectStart, []byte(`{"year":"25","end":5,"run_id":"stored"}`)); err != nil {
		t.Fatal(err)
	}
	defer f.runService()()
	state := await[contract.State](f, f.kv, "stored.state")
	if state.Status != contract.Running {
		t.Errorf("state %+v", state)
	}
	ack, err := f.b.Publish(t.Context(), &nats.Msg{Subject: contract.SubjectStart,
		Data: []byte(`{"year":"25","end":6}`)})
	if err != nil {
		t.Fatal(err)
	}
	if ack.Stream != contract.StreamBatch || ack.Sequence != 2 {
		t.Errorf("acknowledged as %+v", ack)
	}
}

// Equal commands, each sent after the run of the previous one ended, get a new run each.
func TestReply_EqualCommandsInSequence(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	var seen []contract.RunID
	for range 5 {
		reply := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: []byte(`{"year":"25","end":5}`)})
		if reply.RunID == "" || slices.Contains(seen, reply.RunID) {
			t.Fatalf("replied %+v after %v", reply, seen)
		}
		seen = append(seen, reply.RunID)
		over, err := json.Marshal(contract.State{Status: contract.Completed, Round: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.kv.Put(t.Context(), reply.RunID.StateKey(), over); err != nil {
			t.Fatal(err)
		}
	}
}
