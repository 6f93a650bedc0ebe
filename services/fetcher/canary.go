package fetcher

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go"
)

// canaries answers those who want to know whether the site still shows what it has, until the function it returns is
// called. Any fetcher of the site will do, whether it works on the run or not.
func (s *Service) canaries(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var answering sync.WaitGroup
	service := contract.CanaryService(s.SiteName)
	subscription, err := s.Bus.Conn().QueueSubscribe(service, "fetchers", func(msg *nats.Msg) {
		answering.Go(func() { s.answerCanary(ctx, msg) })
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("answering on %s: %w", service, err)
	}
	return func() {
		cancel()
		_ = subscription.Unsubscribe() // a connection that is gone has none
		answering.Wait()
	}, nil
}

// answerCanary asks the site and replies when what it answered stands in the ledger. Who asked waits for no reply for ever.
func (s *Service) answerCanary(ctx context.Context, msg *nats.Msg) {
	request, err := contract.DecodeCanaryRequest(msg.Data)
	var reply contract.CanaryReply
	if err == nil {
		reply, err = s.canary(ctx, request)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	reply.Version = contract.MessageVersion
	body, err := json.Marshal(reply)
	if err == nil {
		err = msg.Respond(body)
	}
	if err != nil {
		s.Log.Warn("fetcher.canary.unheard", "run_id", request.RunID, "error", err)
	}
}

// canary asks for known files until one is there, and keeps what the site answered. The one who sees that they have all
// vanished is the witness of a block: it stops everybody at once.
func (s *Service) canary(ctx context.Context, request contract.CanaryRequest) (contract.CanaryReply, error) {
	m := contract.Manifest{RunID: request.RunID}
	if block, _ := s.climate.blocked(time.Now()); block != nil {
		return s.refuse(ctx, m, block)
	}
	var entries []contract.Entry
	var wait time.Duration
	for _, id := range request.CaseIDs {
		entry, told, err := s.look(ctx, id)
		if err != nil && len(entries)+len(entry.Requests) == 0 { // the site was not asked
			return contract.CanaryReply{}, fmt.Errorf("asking for canary %s: %w", id, err)
		}
		entries, wait = append(entries, entry), told
		if entry.Verdict != contract.VerdictNoRecord {
			break
		}
	}
	verdict, _ := contract.CanaryVerdict(entries)
	reply := contract.CanaryReply{Verdict: verdict}
	last := entries[len(entries)-1]
	s.Log.Info("fetcher.canary", "run_id", request.RunID, "case_id", last.CaseID.String(), "verdict", verdict)
	// First the ledger, which takes back what is not true; a halt alone would let the run go on with it.
	sequence, kept := s.keepCanary(ctx, request, entries)
	reply.Sequence = sequence
	if verdict == contract.VerdictNoRecord || verdict == contract.VerdictBlocked {
		rule := last.Rule
		if verdict == contract.VerdictNoRecord {
			rule = contract.RuleCanary
		}
		if err := s.block(context.WithoutCancel(ctx), m, last.CaseID, rule, wait); err != nil {
			return reply, err
		}
		reply.Error = fmt.Sprintf("blocked by the site at %s (%s)", last.CaseID, rule)
	}
	return reply, kept
}

// refuse is the reply of a fetcher whose site may not be asked; the run is halted for it like any other.
func (s *Service) refuse(ctx context.Context, m contract.Manifest, block *contract.SiteBlock) (contract.CanaryReply, error) {
	return contract.CanaryReply{
		Verdict: contract.VerdictBlocked,
		Error:   fmt.Sprintf("blocked by the site at %s (%s), until %s", block.CaseID, block.Rule, block.Until.UTC().Format(time.RFC3339)),
	}, s.halt(ctx, m, *block)
}

// look asks the site once for a known file, at the pace of all requests, and reads what it answered. wait is how long the
// site said to stay away, if it did. What was asked before an error comes with it.
func (s *Service) look(ctx context.Context, id contract.CaseID) (entry contract.Entry, wait time.Duration, err error) {
	entry = contract.Entry{CaseID: id, Verdict: contract.VerdictTransient}
	held, err := s.places.take(ctx, 1)
	if err != nil {
		entry.Error = err.Error()
		return entry, 0, err
	}
	defer held[0].free()
	var asking start
	requests := 0
	exchanges, err := s.robots.first(s.Site.Fetch)(site.WithRequestSent(ctx, asking.made), id, func(ctx context.Context) (time.Duration, error) {
		asking.made()
		requests++
		permit, err := s.pacer.Wait(ctx, requests > 1, s.climate.hold)
		if err != nil {
			return 0, err
		}
		asking.expect(permit)
		if block, _ := s.climate.blocked(time.Now()); block != nil { // there may be one by now
			err = fmt.Errorf("blocked by the site at %s (%s)", block.CaseID, block.Rule)
		}
		return permit.Gap, err
	})
	asking.made()
	asking.waits(exchanges)
	for i := range exchanges {
		exchanges[i].Size = len(exchanges[i].Body)
	}
	entry.Requests = exchanges
	if len(exchanges) > 0 {
		entry.StartedAt = exchanges[0].StartedAt
		entry.Seconds = asking.seconds()
	}
	if err != nil {
		entry.Error = err.Error()
		return entry, 0, err
	}
	return entry, s.judge(&entry, exchanges), nil
}

// judge fills in what the answer says and returns how long the site said to stay away.
func (s *Service) judge(entry *contract.Entry, exchanges []contract.Exchange) (wait time.Duration) {
	reading := s.read(entry.CaseID, exchanges)
	entry.Verdict, entry.Rule, entry.Error, entry.Notes = reading.Verdict, reading.Rule, reading.Error, reading.Notes
	if raw := reading.Raw; reading.Verdict != contract.VerdictSuccess && raw >= 0 && raw < len(exchanges) {
		entry.Raw, entry.RawType = exchanges[raw].Body, reading.RawType
	}
	rule, wait, blocked := s.Site.Blocked(entry.CaseID, exchanges, time.Now())
	if blocked {
		entry.Verdict, entry.Rule = contract.VerdictBlocked, rule
	}
	return wait
}

// read reads an answer. One that the reader cannot bear is no word from the site.
func (s *Service) read(id contract.CaseID, exchanges []contract.Exchange) (reading contract.Classification) {
	defer func() {
		if cause := recover(); cause != nil {
			s.Log.Error("fetcher.reader.panic", "case_id", id.String(), "panic", fmt.Sprint(cause))
			reading = contract.Classification{Verdict: contract.VerdictTransient, Rule: "panic", Error: fmt.Sprintf("reading the answer: panic: %v", cause)}
		}
	}()
	return s.Read(id, exchanges)
}

// keepCanary writes a canary into the ledger and returns its place there.
func (s *Service) keepCanary(ctx context.Context, request contract.CanaryRequest, entries []contract.Entry) (uint64, error) {
	run := request.RunID
	body, err := contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: entries, After: request.After}.Encode()
	if err != nil {
		return 0, fmt.Errorf("keeping the canary of run %s: %w", run, err)
	}
	ack, err := s.Bus.Publish(context.WithoutCancel(ctx), &nats.Msg{Subject: run.CanarySubject(), Data: bus.Compress(body)})
	if err != nil {
		return 0, fmt.Errorf("keeping the canary of run %s: %w", run, err)
	}
	return ack.Sequence, nil
}
