package fetcher_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fetcher"
)

// TestPullFailureAtRunEnd checks which failed pulls are logged: the end of a run removes its
// consumer before the fetchers are notified, so only a removal without an end is a failure.
func TestPullFailureAtRunEnd(t *testing.T) {
	for name, ended := range map[string]bool{"run ended": true, "consumer lost": false} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				f := newFixture(t, 3)
				logged := make(logLines, 100)
				stop := f.startFetcher(func(o *fetcher.Options) { o.Log = slog.New(slog.NewTextHandler(logged, nil)) })
				f.waitAnswered(3)
				if err := f.bus.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs,
					runID.ConsumerName()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond) // the fetcher has been notified by now
				if ended {
					f.put(runID.StateKey(), contract.State{Status: contract.Completed, Round: 1})
				}
				time.Sleep(time.Minute)
				stop()
				close(logged)
				failures := 0
				for line := range logged {
					if strings.Contains(line, "msg=fetcher.pull.failed") {
						failures++
					}
				}
				if ended != (failures == 0) {
					t.Errorf("run ended %t: %d failures logged", ended, failures)
				}
			})
		})
	}
}
