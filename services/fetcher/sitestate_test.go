package fetcher_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/fetcher"
)

// logLines passes on log lines while they are read, and drops the others.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}

// TestSiteState_WaitAtStartLogged checks that a run that starts during a slowdown logs it: it sends
// no request for minutes and would seem to hang.
func TestSiteState_WaitAtStartLogged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	sites, err := f.bus.KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	slowdown, err := json.Marshal(contract.SiteSlowdown{Level: 9, Until: now.Add(time.Hour), Reason: "status 503",
		ChangedAt: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sites.Put(t.Context(), contract.SlowdownKey("sim"), slowdown); err != nil {
		t.Fatal(err)
	}
	logged := make(logLines, 100)
	stop := f.startFetcher(func(o *fetcher.Options) { o.Log = slog.New(slog.NewTextHandler(logged, nil)) })
	defer stop()
	for line := range logged {
		if strings.Contains(line, "msg=site.slowed") && strings.Contains(line, `reason="status 503"`) {
			break
		}
	}
	fetchers, err := f.bus.KV(t.Context(), contract.BucketFetchers)
	if err != nil {
		t.Fatal(err)
	}
	// it works on the run
	f.waitUntil(func() bool { keys, err := fetchers.Keys(t.Context()); return err == nil && len(keys) > 0 })
	if total, _ := f.site.requests(); total != 0 {
		t.Errorf("%d requests during the slowdown", total)
	}
}
