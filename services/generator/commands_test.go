package generator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/generator"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publish sends a command without a reply subject, as nats pub does.
func (f fixture) publish(subject, format string, args ...any) {
	f.t.Helper()
	if err := f.b.Conn().Publish(subject, fmt.Appendf(nil, format, args...)); err != nil {
		f.t.Fatal(err)
	}
}

// consumerInfo returns the state of a consumer.
func (f fixture) consumerInfo(stream, name string) *jetstream.ConsumerInfo {
	f.t.Helper()
	consumer, err := f.b.JetStream().Consumer(f.t.Context(), stream, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return consumer.CachedInfo()
}

// waitUntil fails the test unless a condition holds within a minute.
func (f fixture) waitUntil(what string, holds func() bool) {
	f.t.Helper()
	for limit := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			f.t.Fatalf("never: %s", what)
		}
	}
}

// waitStored waits until the stream of commands has stored count messages.
func (f fixture) waitStored(count uint64) {
	f.t.Helper()
	f.waitUntil(fmt.Sprintf("%d commands stored", count), func() bool {
		stream, err := f.b.JetStream().Stream(f.t.Context(), contract.StreamBatch)
		return err == nil && stream.CachedInfo().State.LastSeq == count
	})
}

func (f fixture) endRun(run contract.RunID, status contract.Status) {
	f.t.Helper()
	state, err := json.Marshal(contract.State{Status: status, Round: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.kv.Put(f.t.Context(), run.StateKey(), state); err != nil {
		f.t.Fatal(err)
	}
}

func TestStopNotDelayedByStarts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stop := f.runService()
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: []byte(`{"year":"25","end":5,"run_id":"mine"}`)}); reply.RunID != "mine" {
		t.Fatal(reply.Error)
	}
	stop()
	const count = 2000
	for i := range count {
		f.publish(contract.SubjectStart, `{"year":"24","start":%d}`, i+1)
	}
	f.waitStored(count + 1)
	defer f.runService()()
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStop, Data: []byte(`{"run_id":"mine"}`)}); reply.RunID != "mine" {
		t.Fatal(reply.Error)
	}
	if waiting := f.consumerInfo(contract.StreamBatch, streams.ConsumerStarts).NumPending; waiting == 0 {
		t.Error("the stop waited for all starts")
	}
}

func TestCommandOrder_StartsAndStops(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	// Executed late, a start must not undo a later stop, and a stop must find the run of an earlier
	// start.
	stop := f.runService()
	f.send(contract.SubjectStart, `{"year":"25","end":5,"run_id":"old"}`)
	stop()
	f.endRun("old", contract.Stopped)
	for i := range 200 {
		f.publish(contract.SubjectStart, `{"start":%d}`, -i)
	}
	f.publish(contract.SubjectStart, `{"year":"25","end":5,"run_id":"old"}`)
	f.publish(contract.SubjectStart, `{"year":"24","end":5,"run_id":"new"}`)
	f.publish(contract.SubjectStop, `{"run_id":"old"}`)
	f.publish(contract.SubjectStop, `{"run_id":"new"}`)
	f.waitStored(205)
	defer f.runService()()
	for sequence, run := range map[uint64]contract.RunID{204: "old", 205: "new"} {
		if result := await[contract.CommandResult](f, f.kv, contract.CommandKey(sequence)); result.RunID != run {
			t.Errorf("stop of %s: %s", run, result.Rejected)
		}
	}
	start := await[contract.CommandResult](f, f.kv, contract.CommandKey(202))
	if _, err := runs.Get[contract.Halt](t.Context(), f.kv, contract.RunID("old").HaltKey()); err != nil {
		t.Errorf("the start (%s) undid the stop: %v", start.Rejected, err)
	}
	// A start after the stop starts the run.
	f.endRun("old", contract.Stopped)
	if again := f.send(contract.SubjectStart, `{"year":"25","end":5,"run_id":"old"}`); again.RunID != "old" {
		t.Error(again.Rejected)
	}
}

func TestActiveRunsLimit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	const bound = 100
	for i := range bound + 5 {
		f.publish(contract.SubjectStart, `{"year":"25","start":%d,"max_cases":1,"run_id":"run-%d"}`, i+1, i)
	}
	for i := range bound + 5 {
		result := await[contract.CommandResult](f, f.kv, contract.CommandKey(uint64(i+1)))
		if accepted := result.RunID != ""; accepted != (i < bound) {
			t.Errorf("start %d: %+v", i+1, result)
		}
		if i >= bound && !strings.Contains(result.Rejected, "allowed is 100; retry the start") {
			t.Errorf("start %d: %q", i+1, result.Rejected)
		}
	}
	if joined := f.send(contract.SubjectStart, `{"year":"25","start":1,"max_cases":1,"run_id":"run-0"}`); joined.RunID != "run-0" {
		t.Errorf("an active run was not joined: %s", joined.Rejected)
	}
	f.endRun("run-0", contract.Completed)
	f.waitUntil("an active run has ended", func() bool {
		return f.send(contract.SubjectStart, `{"year":"25","start":101,"max_cases":1,"run_id":"run-100"}`).RunID != ""
	})
}

func TestReservedHeadersRejected(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	var all sync.WaitGroup
	for i, header := range []nats.Header{
		{"Nats-Msg-Id": {"same"}}, {"Nats-Msg-Id": {"same"}}, {"Nats-Expected-Stream": {"other"}},
		{"nats-msg-id": {"x"}},
		{"Nats-Expected-Last-Subject-Sequence": {"12345"}},
	} {
		body := fmt.Appendf(nil, `{"year":"25","end":%d}`, i+1)
		all.Go(func() {
			rejected := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: body, Header: header})
			if rejected.RunID != "" || !strings.Contains(rejected.Error, "header") {
				t.Errorf("%v: %+v", header, rejected)
			}
		})
		all.Go(func() {
			if accepted := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: body}); accepted.RunID == "" {
				t.Errorf("without %v: %+v", header, accepted)
			}
		})
	}
	all.Wait()
}

func TestCommands_RecreatedStream(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stop := f.runService()
	f.send(contract.SubjectStart, `{"year":"25","end":5,"run_id":"first"}`)
	stop()
	if err := f.b.JetStream().DeleteStream(t.Context(), contract.StreamBatch); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), f.b.JetStream(), streams.Options{}); err != nil {
		t.Fatal(err)
	}
	defer f.runService()()
	if reply := f.request(&nats.Msg{Subject: contract.SubjectStart, Data: []byte(`{"year":"24","end":5,"run_id":"second"}`)}); reply.RunID != "second" || reply.Sequence != 1 {
		t.Errorf("the first command of the new stream: %+v", reply)
	}
}

func TestHandledCommandsExpire(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stop := f.runService()
	f.send(contract.SubjectStart, `{"year":"25","end":5,"run_id":"mine"}`)
	f.send(contract.SubjectStart, `{"start":0}`)
	f.send(contract.SubjectStop, `{"run_id":"mine"}`)
	f.waitUntil("all acknowledged", func() bool {
		return f.consumerInfo(contract.StreamBatch,
			streams.ConsumerStarts).AckFloor.Stream == 3
	})
	stop()
	f.publish(contract.SubjectStart, `{"year":"24","end":5,"run_id":"waits"}`)
	f.waitStored(4)
	service, err := generator.New(t.Context(), generator.Options{
		Bus: f.b, Log: fcttest.Logger(t), Defaults: defaults(), Site: "sim", Program: "test",
		Now: func() time.Time { return time.Now().Add(25 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	f.waitUntil("three commands removed", func() bool {
		stream, err := f.b.JetStream().Stream(t.Context(), contract.StreamBatch)
		return err == nil && stream.CachedInfo().State.FirstSeq >= 4
	})
	if accepted := await[contract.CommandResult](f, f.kv, contract.CommandKey(4)); accepted.RunID != "waits" {
		t.Errorf("the pending command: %+v", accepted)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The limit that the generator reports must be the limit of the stream.
func TestMaxBodyMatchesStreamLimit(t *testing.T) {
	t.Parallel()
	configs, err := streams.Streams()
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range configs {
		if config.Name == contract.StreamBatch && config.MaxMsgSize != 64<<10 {
			t.Errorf("%d bytes, want 64 KiB", config.MaxMsgSize)
		}
	}
}

func TestSteer_PauseResumeTune(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	request := func(subject, body string) contract.CommandReply {
		return f.request(&nats.Msg{Subject: subject, Data: []byte(body)})
	}
	control := func() contract.Control {
		c, err := runs.ReadControl(t.Context(), f.kv, "mine")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const mine, start = `{"run_id":"mine"}`, `{"year":"25","end":5,"run_id":"mine"}`
	for _, subject := range []string{contract.SubjectPause, contract.SubjectResume, contract.SubjectStop} {
		if reply := request(subject, mine); !strings.Contains(reply.Error, `run_id "mine": there is no such run`) {
			t.Errorf("%s of an unknown run: %+v", subject, reply)
		}
	}
	if reply := request(contract.SubjectStart, start); reply.RunID != "mine" {
		t.Fatal(reply.Error)
	}
	if reply := request(contract.SubjectPause, mine); reply.Error != "" || !control().Paused || control().At.IsZero() {
		t.Errorf("pause: %+v, %+v", reply, control())
	}
	request(contract.SubjectTune, `{"run_id":"mine","delay_min":"2s","delay_max":3}`)
	request(contract.SubjectTune, `{"run_id":"mine","concurrency":8}`)
	if c := control(); !c.Paused || *c.DelayMin != 2*time.Second || *c.DelayMax != 3*time.Second || *c.Concurrency != 8 {
		t.Errorf("tuned: %+v", c)
	}
	reply := request(contract.SubjectTune, `{"run_id":"mine","delay_min":"5s"}`)
	if !strings.Contains(reply.Error, "delay_min 5s: allowed is at most delay_max = 3s") || *control().DelayMin != 2*time.Second {
		t.Errorf("delay_min above delay_max: %+v", reply)
	}
	request(contract.SubjectResume, mine)
	request(contract.SubjectResume, mine) // changes nothing
	if c := control(); c.Paused || len(c.Changes) != 4 || c.Changes[3].Command != "resume" || c.Changes[2].Settings["concurrency"] != float64(8) {
		t.Errorf("resumed: %+v", c)
	}
	// A start that joins the run ends a pause; one that begins a round also what was tuned.
	request(contract.SubjectPause, mine)
	if reply := request(contract.SubjectStart, start); reply.Error != "" || control().Paused || control().Concurrency == nil {
		t.Errorf("joined: %+v, %+v", reply, control())
	}
	request(contract.SubjectPause, mine)
	request(contract.SubjectStop, mine)
	if reply := request(contract.SubjectPause, mine); !strings.Contains(reply.Error, "it is being ended: stopped by batch.stop") {
		t.Errorf("pause of a run that ends: %+v", reply)
	}
	f.endRun("mine", contract.Stopped)
	for _, subject := range []string{contract.SubjectPause, contract.SubjectResume} {
		if reply := request(subject, mine); !strings.Contains(reply.Error, "it is not running: stopped") {
			t.Errorf("%s of a stopped run: %+v", subject, reply)
		}
	}
	if reply := request(contract.SubjectStart, start); reply.Error != "" || control().Paused || control().Tuning != (contract.Tuning{}) {
		t.Errorf("next round: %+v, %+v", reply, control())
	}
}

// A pause that is carried out before an earlier start stays in force.
func TestCommandOrder_StartsAndPauses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stop := f.runService()
	f.send(contract.SubjectStart, `{"year":"25","end":5,"run_id":"mine"}`)
	stop()
	for i := range 200 {
		f.publish(contract.SubjectStart, `{"start":%d}`, -i)
	}
	f.publish(contract.SubjectStart, `{"year":"25","end":5,"run_id":"mine"}`)
	f.publish(contract.SubjectPause, `{"run_id":"mine"}`)
	f.waitStored(203)
	defer f.runService()()
	for _, sequence := range []uint64{202, 203} {
		if result := await[contract.CommandResult](f, f.kv, contract.CommandKey(sequence)); result.RunID != "mine" {
			t.Errorf("command %d: %s", sequence, result.Rejected)
		}
	}
	if c, err := runs.ReadControl(t.Context(), f.kv, "mine"); err != nil || !c.Paused {
		t.Errorf("the start undid the pause: %+v, %v", c, err)
	}
}
