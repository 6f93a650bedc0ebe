package generator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

// A process that serves a single run ends when that run is stopped; the stop must still be answered.
func TestReply_StopEndsGenerator(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stopService := f.runService()
	started := f.send(contract.SubjectStart, `{"year":"25","end":5,"probe":false}`)
	replies := make(chan contract.CommandReply, 1)
	go func() {
		var reply contract.CommandReply
		defer func() { replies <- reply }()
		body, err := json.Marshal(contract.ControlSpec{RunID: started.RunID})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		answer, err := f.b.Conn().RequestMsgWithContext(ctx, &nats.Msg{Subject: contract.SubjectStop, Data: body})
		if err == nil {
			err = json.Unmarshal(answer.Data, &reply)
		}
		if err != nil {
			t.Error(err)
		}
	}()
	if _, err := runs.Await(t.Context(), f.b, started.RunID.HaltKey(),
		func(contract.Halt) bool { return true }); err != nil {
		t.Fatal(err)
	}
	stopService()
	if reply := <-replies; reply.Error != "" || reply.RunID != started.RunID {
		t.Errorf("answered %+v", reply)
	}
}
