package fetcher

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serveCanaries answers canary requests until stop is called. Any fetcher of the site can answer,
// whether it works on the run or not.
func (s *Service) serveCanaries(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var handlers sync.WaitGroup
	subject := contract.CanaryService(s.SiteName)
	subscription, err := s.Bus.Conn().QueueSubscribe(subject, "fetchers", func(msg *nats.Msg) {
		handlers.Go(func() { s.replyCanary(ctx, msg) })
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	return func() {
		cancel()
		_ = subscription.Unsubscribe() // fails only on a closed connection
		handlers.Wait()
	}, nil
}

// replyCanary fetches the canaries and replies when the result is stored in the ledger. The
// requester has a timeout of its own.
func (s *Service) replyCanary(ctx context.Context, msg *nats.Msg) {
	request, err := contract.DecodeCanaryRequest(msg.Data)
	var reply contract.CanaryReply
	if err == nil {
		reply, err = s.fetchCanaries(ctx, request)
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

// fetchCanaries fetches known cases until the site shows one, and stores the result. If the site
// shows none of them, that is a block: it stops all fetchers at once.
func (s *Service) fetchCanaries(ctx context.Context, request contract.CanaryRequest) (contract.CanaryReply, error) {
	if block, _ := s.limiter.Block(); block != nil {
		reply := contract.CanaryReply{Verdict: contract.VerdictBlocked, Error: blockHalt(*block).Reason}
		return reply, runs.Halt(ctx, s.runs, request.RunID, blockHalt(*block))
	}
	var entries []contract.Entry
	var wait time.Duration
	for _, id := range request.CaseIDs {
		entry, siteWait, err := s.fetchCanary(ctx, id)
		if err != nil && len(entries)+len(entry.Requests) == 0 { // no request was sent
			return contract.CanaryReply{}, fmt.Errorf("fetching canary %s: %w", id, err)
		}
		entries, wait = append(entries, entry), siteWait
		if entry.Verdict != contract.VerdictNoRecord {
			break
		}
	}
	verdict, _ := contract.CanaryVerdict(entries)
	reply := contract.CanaryReply{Verdict: verdict}
	last := entries[len(entries)-1]
	s.Log.Info("fetcher.canary", "run_id", request.RunID, "case_id", last.CaseID.String(), "verdict", verdict)
	// The ledger first: it withdraws unconfirmed no-records. With a halt alone the run would keep
	// them.
	sequence, storeErr := s.storeCanary(ctx, request, entries)
	reply.Sequence = sequence
	if verdict == contract.VerdictNoRecord || verdict == contract.VerdictBlocked {
		rule := last.Rule
		if verdict == contract.VerdictNoRecord {
			rule = contract.RuleCanary
		}
		if err := s.recordBlock(context.WithoutCancel(ctx), request.RunID, last.CaseID, rule, wait); err != nil {
			return reply, err
		}
		reply.Error = fmt.Sprintf("blocked by the site at %s (%s)", last.CaseID, rule)
	}
	return reply, storeErr
}

// fetchCanary fetches a known case once, at the pace of all requests, and reads the answer. wait is
// the Retry-After of a block, if it has one. After an error, entry holds the requests that were
// made.
func (s *Service) fetchCanary(
	ctx context.Context, id contract.CaseID,
) (entry contract.Entry, wait time.Duration, err error) {
	entry = contract.Entry{CaseID: id, Verdict: contract.VerdictTransient}
	admissions, err := s.limiter.Admit(ctx, 1)
	if err != nil {
		entry.Error = err.Error()
		return entry, 0, err
	}
	defer admissions[0].Release()
	permitted := s.limiter.NewAttempt()
	exchanges, err := s.robots.wrap(s.Site.Fetch)(site.WithRequestSent(ctx, permitted.Sent), id,
		func(ctx context.Context) (time.Duration, error) {
			sinceLast, err := permitted.WaitTurn(ctx)
			if err != nil {
				return 0, err
			}
			if block, _ := s.limiter.Block(); block != nil { // it may have been set while waiting
				err = fmt.Errorf("blocked by the site at %s (%s)", block.CaseID, block.Rule)
			}
			return sinceLast, err
		})
	permitted.Sent()
	permitted.FillWaits(exchanges)
	for i := range exchanges {
		exchanges[i].Size = len(exchanges[i].Body)
	}
	entry.Requests = exchanges
	if len(exchanges) > 0 {
		entry.StartedAt = exchanges[0].StartedAt
		entry.Seconds = permitted.Seconds()
	}
	if err != nil {
		entry.Error = err.Error()
		return entry, 0, err
	}
	return entry, s.applyReading(&entry, exchanges), nil
}

// applyReading fills in what the answer means and returns the Retry-After of a block.
func (s *Service) applyReading(entry *contract.Entry, exchanges []contract.Exchange) (wait time.Duration) {
	reading := s.readSafely(entry.CaseID, exchanges)
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

// readSafely reads an answer. An answer on which the reader panics is transient.
func (s *Service) readSafely(id contract.CaseID, exchanges []contract.Exchange) (reading contract.Classification) {
	defer func() {
		if panicValue := recover(); panicValue != nil {
			s.Log.Error("fetcher.reader.panic", "case_id", id.String(), "panic", fmt.Sprint(panicValue))
			reading = contract.Classification{Verdict: contract.VerdictTransient, Rule: "panic",
				Error: fmt.Sprintf("reading the answer: panic: %v", panicValue)}
		}
	}()
	return s.Read(id, exchanges)
}

// storeCanary stores a canary in the ledger and returns the sequence of its message.
func (s *Service) storeCanary(
	ctx context.Context, request contract.CanaryRequest, entries []contract.Entry,
) (uint64, error) {
	run := request.RunID
	msg, err := ledger.CanaryMessage(run, entries, request.After)
	var ack *jetstream.PubAck
	if err == nil {
		ack, err = s.Bus.Publish(context.WithoutCancel(ctx), msg)
	}
	if err != nil {
		return 0, fmt.Errorf("storing the canary of run %s: %w", run, err)
	}
	return ack.Sequence, nil
}
