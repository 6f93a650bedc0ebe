package fetcher_test

import (
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"
)

func TestRunOfAnotherCourtIsEndedUnasked(t *testing.T) {
	t.Parallel()
	p := setUp(t, 3)
	m, err := runs.Manifest(t.Context(), p.runs, run)
	if err != nil {
		t.Fatal(err)
	}
	m.Origin = "https://www.court.test"
	p.put(run.ManifestKey(), m)
	stop := p.work(func(o *fetcher.Options) { o.Origin = "http://127.0.0.1:1" })
	halt, err := runs.Await(t.Context(), p.b, run.HaltKey(), func(h contract.Halt) bool { return h.Reason != "" })
	stop()
	if err != nil || halt.Status != contract.Errored || !strings.Contains(halt.Reason, m.Origin) || !strings.Contains(halt.Reason, "http://127.0.0.1:1") {
		t.Errorf("halt %+v, %v", halt, err)
	}
	if all, _ := p.court.requests(); all != 0 {
		t.Errorf("%d requests", all)
	}
}
