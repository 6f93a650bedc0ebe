package fetcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/fetcher"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
)

// begin makes a run of so many jobs beside the first; years tell their cases apart.
func (p plant) begin(id contract.RunID, year string, jobs int) {
	p.t.Helper()
	config, err := streams.JobsConsumer(id)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.b.JetStream().CreateConsumer(p.t.Context(), contract.StreamJobs, config); err != nil {
		p.t.Fatal(err)
	}
	m := contract.Manifest{Version: contract.MessageVersion, RunID: id, Prefix: "IMM", Year: year, MaxRetries: 3, Site: "sim"}
	var msgs []*nats.Msg
	for n := 1; n <= jobs; n++ {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: id, CaseID: m.Case(n)})
		if err != nil {
			p.t.Fatal(err)
		}
		msgs = append(msgs, &nats.Msg{Subject: id.JobSubject(n), Data: body})
	}
	if err := p.b.PublishBatch(p.t.Context(), msgs); err != nil {
		p.t.Fatal(err)
	}
	p.put(id.ManifestKey(), m)
	p.put(id.StateKey(), contract.State{Status: contract.Running, Round: 1})
}

// order is the years in the order in which they were asked for.
type order struct {
	*court
	mu    sync.Mutex
	years []string
}

func (o *order) Ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	exchanges, err := o.court.Ask(ctx, id, before)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.years = append(o.years, id.Year)
	return exchanges, err
}

// longestWait is how many requests of others came between two of one run, while all had jobs left.
func (o *order) longestWait(runs, jobs int) (most int, begun bool) {
	asked, last := make(map[string]int), make(map[string]int)
	for i, year := range o.years {
		if len(last) == runs { // all have begun
			most = max(most, i-last[year]-1)
		}
		last[year] = i
		if asked[year]++; asked[year] == jobs {
			break
		}
	}
	return most, len(last) == runs
}

func TestRunsTakeTurns(t *testing.T) {
	t.Parallel()
	const jobs = 60
	for _, shared := range []bool{false, true} {
		for _, runs := range []int{2, 3} {
			for concurrency := 1; concurrency <= 4; concurrency++ {
				t.Run(fmt.Sprintf("shared=%v,runs=%d,concurrency=%d", shared, runs, concurrency), func(t *testing.T) {
					t.Parallel()
					p := setUp(t, 0)
					for i := range runs {
						p.begin(contract.RunID(fmt.Sprintf("run-%d", i)), fmt.Sprintf("2%d", i), jobs)
					}
					asked, open := &order{court: p.court}, make(chan struct{})
					p.court.answer = func(ctx context.Context, n int) (contract.Exchange, error) {
						<-open
						return fine(ctx, n)
					}
					stop := p.work(func(o *fetcher.Options) { o.Site, o.Concurrency, o.Shared = asked, concurrency, shared })
					p.until(func() bool {
						present, err := p.b.Subjects(t.Context(), "KV_"+contract.BucketFetchers, "$KV.fetchers.>")
						return err == nil && len(present) == runs+1 // that of setUp too
					})
					close(open) // now all want a turn
					p.until(func() bool { all, _ := p.court.requests(); return all >= jobs })
					stop()
					if wait, begun := asked.longestWait(runs, jobs); !begun || wait > 2*runs*concurrency {
						t.Errorf("all began: %v; a run waited for %d requests of others", begun, wait)
					}
				})
			}
		}
	}
}
