package reporter

import (
	"encoding/json"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go"
)

// fakeSite stands for the site of a fixture and for the fetcher that sends canaries to it.
type fakeSite struct {
	mu sync.Mutex
	// verdict is what the site answers to a canary; requested are the canaries in the ledger.
	verdict   func(id contract.CaseID) contract.Verdict
	requested [][]contract.CaseID
	// at is the time of the site's answers; with noReply the fetcher stores the canary but does not
	// reply.
	at      time.Time
	noReply bool
	// stopFetcher ends the fetcher.
	stopFetcher func()
}

// showsAll shows every case.
func showsAll(contract.CaseID) contract.Verdict { return contract.VerdictSuccess }

// showsNone shows no case.
func showsNone(contract.CaseID) contract.Verdict { return contract.VerdictNoRecord }

// setVerdict changes what the site answers.
func (p *fakeSite) setVerdict(verdict func(contract.CaseID) contract.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verdict = verdict
}

// canaries returns the canaries that were sent.
func (p *fakeSite) canaries() [][]contract.CaseID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requested
}

// answer returns the entries of a canary, an hour after all other entries.
func (p *fakeSite) answer(request contract.CanaryRequest) (entries []contract.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range request.CaseIDs {
		entry := contract.Entry{CaseID: id, Verdict: p.verdict(id), Rule: "test", StartedAt: p.at, Seconds: 0.25,
			Requests: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: p.at, Seconds: 0.2, GapSeconds: 7}}}
		if entry.Verdict != contract.VerdictSuccess {
			entry.Raw, entry.RawType = []byte(`{"Count":0,"data":[]}`), "json"
		}
		entries = append(entries, entry)
		if entry.Verdict != contract.VerdictNoRecord {
			break
		}
	}
	return entries
}

// record publishes a canary and records it under one lock, so that no reader sees only one of the
// two.
func (p *fakeSite) record(cases []contract.CaseID, write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	write()
	p.requested = append(p.requested, cases)
}

// startFetcher answers canary requests as a fetcher does, until the test ends.
func (f *fixture) startFetcher() *fakeSite {
	f.t.Helper()
	site := &fakeSite{verdict: showsAll, at: fcttest.StartTime().Add(time.Hour)}
	subscription, err := f.bus.Conn().QueueSubscribe(contract.CanaryService(f.manifest.Site), "fetchers",
		func(msg *nats.Msg) {
			request, err := contract.DecodeCanaryRequest(msg.Data)
			if err != nil {
				f.t.Error(err)
				return
			}
			entries := site.answer(request)
			reply := contract.CanaryReply{Version: contract.MessageVersion}
			site.record(request.CaseIDs, func() { reply.Sequence = f.publishCanary(request.RunID, entries) })
			if reply.Verdict, _ = contract.CanaryVerdict(entries); reply.Verdict == contract.VerdictBlocked {
				reply.Error = "blocked by the site"
			}
			if site.noReply {
				return
			}
			data, err := json.Marshal(reply)
			if err == nil {
				err = msg.Respond(data)
			}
			if err != nil {
				f.t.Error(err)
			}
		})
	if err != nil {
		f.t.Fatal(err)
	}
	site.stopFetcher = sync.OnceFunc(func() { _ = subscription.Unsubscribe() })
	f.t.Cleanup(site.stopFetcher)
	return site
}

// publishCanary publishes a canary to the ledger and returns its sequence; 0 when the broker is
// gone.
func (f *fixture) publishCanary(run contract.RunID, entries []contract.Entry) uint64 {
	data, err := ledger.Encode(contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: entries})
	if err != nil {
		f.t.Error(err)
		return 0
	}
	ack, err := f.bus.Publish(f.t.Context(), &nats.Msg{Subject: run.CanarySubject(), Data: data})
	if err != nil {
		return 0
	}
	return ack.Sequence
}
