package reporter

import (
	"encoding/json"
	"sync"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
)

// pretended is the site behind a desk as a fetcher sees it, and the fetcher that asks it for canaries.
type pretended struct {
	mu sync.Mutex
	// says is what the site answers to a canary; asked are the canaries that stand in the ledger.
	says  func(id contract.CaseID) contract.Verdict
	asked [][]contract.CaseID
	// at is when it is asked; silent makes it not reply.
	at     time.Time
	silent bool
	// leave ends the answering.
	leave func()
}

// alive shows every file.
func alive(contract.CaseID) contract.Verdict { return contract.VerdictSuccess }

// vanished shows none.
func vanished(contract.CaseID) contract.Verdict { return contract.VerdictNoRecord }

// say changes what the site answers.
func (p *pretended) say(says func(contract.CaseID) contract.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.says = says
}

// canaries are those that were asked.
func (p *pretended) canaries() [][]contract.CaseID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// canary is what the site answers to one, an hour after everything else.
func (p *pretended) canary(request contract.CanaryRequest) (entries []contract.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range request.CaseIDs {
		entry := contract.Entry{CaseID: id, Verdict: p.says(id), Rule: "test", StartedAt: p.at, Seconds: 0.25,
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

// keep notes a canary as soon as it is written, so that nobody sees the one without the other.
func (p *pretended) keep(cases []contract.CaseID, write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	write()
	p.asked = append(p.asked, cases)
}

// fetching answers canaries as a fetcher does, for as long as the test runs.
func (d *desk) fetching() *pretended {
	d.t.Helper()
	court := &pretended{says: alive, at: began.Add(time.Hour)}
	subscription, err := d.b.Conn().QueueSubscribe(contract.CanaryService(d.manifest.Site), "fetchers", func(msg *nats.Msg) {
		request, err := contract.DecodeCanaryRequest(msg.Data)
		if err != nil {
			d.t.Error(err)
			return
		}
		entries := court.canary(request)
		reply := contract.CanaryReply{Version: contract.MessageVersion}
		court.keep(request.CaseIDs, func() { reply.Sequence = d.canary(request.RunID, entries) })
		if reply.Verdict, _ = contract.CanaryVerdict(entries); reply.Verdict == contract.VerdictBlocked {
			reply.Error = "blocked by the site"
		}
		if court.silent {
			return
		}
		data, err := json.Marshal(reply)
		if err == nil {
			err = msg.Respond(data)
		}
		if err != nil {
			d.t.Error(err)
		}
	})
	if err != nil {
		d.t.Fatal(err)
	}
	court.leave = sync.OnceFunc(func() { _ = subscription.Unsubscribe() })
	d.t.Cleanup(court.leave)
	return court
}

// canary writes a canary into the ledger of the desk's run and returns its place there; 0 when there is no broker left.
func (d *desk) canary(run contract.RunID, entries []contract.Entry) uint64 {
	data, err := contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: entries}.Encode()
	if err != nil {
		d.t.Error(err)
		return 0
	}
	ack, err := d.b.Publish(d.t.Context(), &nats.Msg{Subject: run.CanarySubject(), Data: data})
	if err != nil {
		return 0
	}
	return ack.Sequence
}
