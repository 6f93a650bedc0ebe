package reporter

import (
	"testing"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// TestReportShowsTheFetchersSettings: the process that planned the run may have another pace than those that sent the requests.
func TestReportShowsTheFetchersSettings(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2, func(m *contract.Manifest) {
		m.Config = map[string]any{"prefix": "IMM", "delay_min": "1s", "delay_max": "3s", "concurrency": 4}
	})
	held, err := d.b.KV(t.Context(), contract.BucketHeld)
	if err != nil {
		t.Fatal(err)
	}
	say := func(run contract.RunID, fetcher string, settings map[string]any) {
		d.put(held, run.FetcherKey(fetcher), contract.InFlightRecord{Version: contract.MessageVersion, RunID: run, Fetcher: fetcher, Settings: settings})
	}
	say("run", "a", map[string]any{"delay_min": "5s", "delay_max": "6s", "concurrency": 2})
	say("run", "b", map[string]any{"delay_min": "5s", "delay_max": "9s", "concurrency": 2})
	say("run", "old", nil)
	say("another", "a", map[string]any{"delay_min": "0s"})
	if _, err := held.Put(t.Context(), d.manifest.RunID.FetcherKey("damaged"), []byte("?")); err != nil {
		t.Fatal(err)
	}
	d.packs(success(1), success(2))
	d.planned(0)
	state := d.finish()
	want := map[string]any{"prefix": "IMM", "delay_min": "5s", "delay_max": []any{"6s", "9s"}, "concurrency": 2.0}
	if diff := cmp.Diff(want, state.Report.Config); diff != "" {
		t.Error(diff)
	}
	if report, _, err := d.rewritten(); err != nil || !cmp.Equal(want, report.Config) {
		t.Errorf("written again: %v: %s", err, cmp.Diff(want, report.Config))
	}
}
