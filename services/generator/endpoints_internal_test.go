package generator

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// A stop may end this process before its request reaches the endpoint.
func TestReplyMatcher_ResultBeforeRequestAndStop(t *testing.T) {
	r := newReplyMatcher()
	r.deliverStored(contract.CommandResult{Digest: "key", RunID: "run", At: time.Now()}, 1)
	results, ok := r.register("key")
	if !ok {
		t.Fatal("not registered")
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.close()
	}()
	result, err := r.await("key", results, time.Minute)
	if err != nil || result.RunID != "run" {
		t.Errorf("%+v, %v", result, err)
	}
	r.unregister("key", results)
	<-closed
}
