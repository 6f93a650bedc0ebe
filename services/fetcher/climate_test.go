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

// lines hands on what is logged, a line at a time, as long as somebody reads it.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}

// A run that begins while the site is to be left alone asks nothing for minutes; without a word it would seem to hang.
func TestAWaitFoundAtTheStartIsTold(t *testing.T) {
	t.Parallel()
	p := setUp(t, 5)
	sites, err := p.b.KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	left, err := json.Marshal(contract.SiteSlowdown{Level: 9, Until: now.Add(time.Hour), Reason: "status 503", ChangedAt: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sites.Put(t.Context(), contract.SlowdownKey("sim"), left); err != nil {
		t.Fatal(err)
	}
	said := make(lines, 100)
	stop := p.work(func(o *fetcher.Options) { o.Log = slog.New(slog.NewTextHandler(said, nil)) })
	defer stop()
	for line := range said {
		if strings.Contains(line, "msg=site.slowed") && strings.Contains(line, `reason="status 503"`) {
			break
		}
	}
	present, err := p.b.KV(t.Context(), contract.BucketFetchers)
	if err != nil {
		t.Fatal(err)
	}
	p.until(func() bool { keys, err := present.Keys(t.Context()); return err == nil && len(keys) > 0 }) // it works on the run
	if all, _ := p.court.requests(); all != 0 {
		t.Errorf("%d requests while the site was to be left alone", all)
	}
}
