package fetcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher/limit"

	"github.com/nats-io/nats.go"
)

// errLeaseExpired reports that the server may have delivered a job to another process: this process
// did not run for longer than the ack-wait.
var errLeaseExpired = errors.New("the lease of the message has expired")

// attempt is the next attempt at a job.
type attempt struct {
	lease *lease.Message
	job   contract.Job
	// number counts the attempts from 1. crashes is how many processes have died with the job in
	// flight.
	number, crashes int
	// plannedAt is when the job was stored.
	plannedAt time.Time
}

// answer returns the answer of the attempt before any request.
func (a attempt) answer() contract.Answer {
	return contract.Answer{
		CaseID: a.job.CaseID, Attempt: a.number, MaxAttempts: a.job.MaxAttempts,
		AckSubject: a.lease.Msg().Reply(), PlannedAt: a.plannedAt, Exchanges: []contract.Exchange{},
	}
}

// makeAttempt makes an attempt and stores its answer. It returns bus.ErrLeaveUnsettled if the
// answer is stored. The error wraps errNotReached, and returns the job at once, if the site was not
// reached so far.
func (w *runWorker) makeAttempt(startCtx, finishCtx context.Context, a attempt) error {
	id := a.job.CaseID
	unlock, err := w.isolate(startCtx, a.crashes)
	if err != nil {
		return fmt.Errorf("fetching %s: %w", id, err)
	}
	defer unlock()
	leave, err := w.service.limiter.EnterHalfOpen(startCtx)
	if err != nil {
		return fmt.Errorf("fetching %s: %w", id, err)
	}
	defer leave()
	defer w.record.remove(id.Number)
	answer, err := w.sendRequests(startCtx, finishCtx, a)
	if w.recordConnection(startCtx, finishCtx, id, answer.Exchanges, err != nil) {
		return bus.RetryIn(0, errNotReached)
	}
	blocked := w.applySiteSignals(startCtx, a, answer.Exchanges, err)
	leave()
	if err != nil && (len(answer.Exchanges) == 0 || !blocked) {
		return fmt.Errorf("fetching %s: %w", id, err)
	}
	err = w.storeAnswer(finishCtx, answer)
	w.service.Site.Release(answer.Exchanges) // a message has copies of the bodies
	return err
}

// isolate keeps a job with isolationThreshold crashes or more from being attempted next to another
// such job, until unlock is called.
func (w *runWorker) isolate(startCtx context.Context, crashes int) (unlock func(), err error) {
	if crashes < isolationThreshold {
		return func() {}, nil
	}
	select {
	case w.service.isolated <- struct{}{}:
		return func() { <-w.service.isolated }, nil
	case <-startCtx.Done():
		return nil, context.Cause(startCtx)
	}
}

// storeCrashed stores an answer that makes the classifier settle a job on which crashLimit
// processes have died: it is not fetched again.
func (w *runWorker) storeCrashed(ctx context.Context, a attempt) error {
	w.log.Error("fetcher.job.crashed", "run_id", w.manifest.RunID, "case_id", a.job.CaseID.String(), "crashes",
		a.crashes)
	answer := a.answer()
	answer.Crashes = a.crashes
	return w.storeAnswer(ctx, answer)
}

// storeAnswer stores an answer and returns bus.ErrLeaveUnsettled: the classifier settles the job.
// The job keeps its admission until the answer is stored. So a process that dies loses at most as
// many answers as it may have cases in flight; those are fetched again.
func (w *runWorker) storeAnswer(ctx context.Context, answer contract.Answer) error {
	if err := w.persistAnswer(ctx, answer); err != nil {
		return fmt.Errorf("storing the answer for %s: %w", answer.CaseID, err)
	}
	return bus.ErrLeaveUnsettled
}

// sendRequests sends the requests of an attempt, each at its turn. The attempt starts, and enters
// the in-flight record, when its first request may leave: a process that dies while a job only
// waits has not crashed on it.
func (w *runWorker) sendRequests(startCtx, finishCtx context.Context, a attempt) (contract.Answer, error) {
	fetch := fetchFunc(w.service.Site.Fetch)
	if a.job.LikelyAbsent {
		fetch = w.service.Site.FetchProofFirst
	}
	permitted := w.service.limiter.NewAttempt()
	defer permitted.Sent() // also if the last request could not be sent
	ctx, cancel := context.WithCancelCause(finishCtx)
	defer cancel(nil)
	disarm := func() bool { return true }
	if !w.reachability.Reached() { // a stop does not wait for a connection to be made
		disarm = context.AfterFunc(startCtx, func() { cancel(context.Cause(startCtx)) })
		defer disarm()
	}
	logStart := sync.OnceFunc(func() {
		disarm()
		w.log.Info("batch.job.start", "run_id", w.manifest.RunID, "case_id", a.job.CaseID.String(), "attempts",
			a.number)
	})
	sent := func() {
		permitted.Sent()
		logStart()
		w.countRequest(finishCtx)
	}
	requests := 0
	limited := site.WithTimeouts(site.WithRequestSent(ctx, sent), w.manifest.RequestTimeout, w.manifest.JobTimeout)
	if w.manifest.Header {
		limited = site.WithHeader(limited)
	}
	exchanges, err := w.service.robots.wrap(fetch)(limited, a.job.CaseID,
		func(ctx context.Context) (time.Duration, error) {
			requests++
			gap, err := w.waitTurn(startCtx, ctx, requests == 1, permitted)
			if err == nil && requests == 1 && !w.reachability.StartTry(a.job.CaseID.Number) {
				err = bus.RetryIn(0, errNotReached)
			}
			if err == nil && !a.lease.Valid() { // another process may be fetching it
				err = errLeaseExpired
			}
			if err == nil && requests == 1 {
				err = w.record.add(finishCtx, a.job.CaseID.Number, a.number, a.crashes)
			}
			return gap, err
		})
	permitted.FillWaits(exchanges)
	answer := a.answer()
	answer.Exchanges, answer.Seconds, answer.Aborted = exchanges, permitted.Seconds(), err != nil
	answer.KeepRaw = w.manifest.PersistRawHTML
	return answer, err
}

// applySiteSignals applies what the exchanges say about the site as a whole: a block, a path that
// robots.txt forbids, or trouble. It reports whether the run is halted because the site blocks
// requests, of this run or of another.
func (w *runWorker) applySiteSignals(
	startCtx context.Context, a attempt, exchanges []contract.Exchange, err error,
) (halted bool) {
	ctx := context.WithoutCancel(startCtx)
	rule, wait, blocked := w.service.Site.Blocked(a.job.CaseID, exchanges, time.Now())
	var forbiddenErr forbiddenError
	switch {
	case blocked:
		// This process stops at once; the others are notified through the buckets.
		w.stop(runs.Halted{Halt: contract.Halt{Status: contract.Blocked, Reason: rule}})
		if err := w.service.recordBlock(ctx, w.manifest.RunID, a.job.CaseID, rule, wait); err != nil {
			w.fail(err)
		}
		return true
	case errors.As(err, &forbiddenErr):
		w.halt(ctx, contract.Halt{Status: contract.Blocked, Reason: forbiddenErr.Error(), At: time.Now().UTC()})
	default:
		w.service.limiter.Record(ctx, exchanges, a.job.Retry || a.number > 1, w.service.Site.RetryAfter)
	}
	return siteBlocked(startCtx)
}

// persistAnswer stores an answer, and tries again while the store returns passing errors: to fetch
// the case a second time would be worse. If the answer is too large for the store, it stores the
// answer without bodies and with their size: the attempt counts.
func (w *runWorker) persistAnswer(ctx context.Context, answer contract.Answer) error {
	for {
		err := w.service.answerWrites.Do(ctx, pendingAnswer{w.manifest.RunID, answer})
		switch {
		case errors.Is(err, bus.ErrTooLarge) && dropBodies(&answer):
			continue
		case err == nil || errors.Is(err, bus.ErrStore) || errors.Is(err, bus.ErrTooLarge):
			return err
		}
		w.log.Warn("fetcher.answer.kept", "run_id", w.manifest.RunID, "case_id", answer.CaseID.String(), "error", err)
		if delay.Sleep(ctx, recheckDelay) != nil {
			return err
		}
	}
}

// dropBodies drops the bodies of an answer and notes that in its exchanges; false if there is none.
func dropBodies(answer *contract.Answer) (dropped bool) {
	for i := range answer.Exchanges {
		if x := &answer.Exchanges[i]; len(x.Body) > 0 {
			x.Error = fmt.Sprintf("max_body: the store cannot hold this answer: %d bytes", len(x.Body))
			x.Body, dropped = nil, true
		}
	}
	return dropped
}

// waitTurn waits until the next request may start. No case is started once the run is halted. A
// case under way is finished, unless the site blocks requests: then no further request is sent.
func (w *runWorker) waitTurn(startCtx, ctx context.Context, first bool, permit *limit.Attempt) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(startCtx, func() {
		if first || siteBlocked(startCtx) {
			cancel(context.Cause(startCtx))
		}
	})
	defer stop()
	sinceLast, err := permit.WaitTurn(ctx)
	if err != nil {
		return 0, err
	}
	if startCtx.Err() == nil {
		w.haltIfBlocked(startCtx) // before watchBlock has noticed
	}
	if startCtx.Err() != nil && (first || siteBlocked(startCtx)) {
		return 0, context.Cause(startCtx)
	}
	return sinceLast, nil
}

// siteBlocked reports whether the run was halted because the site blocks requests.
func siteBlocked(startCtx context.Context) bool {
	halted, ok := errors.AsType[runs.Halted](context.Cause(startCtx))
	return ok && halted.Status == contract.Blocked
}

// maxPackBytes bounds the answers of one message; a single larger answer has a message of its own.
const maxPackBytes = 4 << 20

// pendingAnswer is an answer that waits to be stored.
type pendingAnswer struct {
	run    contract.RunID
	answer contract.Answer
}

// size estimates the bytes of the answer in a message.
func (r pendingAnswer) size() int {
	bytes := 512
	for _, exchange := range r.answer.Exchanges {
		bytes += 512 + len(exchange.Body)
	}
	return bytes
}

// publishAnswers stores answers that were ready together, packed by run and chunk.
func (s *Service) publishAnswers(ctx context.Context, items []pendingAnswer) error {
	type packKey struct {
		run   contract.RunID
		chunk int
	}
	packs := make(map[packKey][]contract.Answer)
	var order []packKey // in the order of arrival
	for _, item := range items {
		key := packKey{item.run, contract.Chunk(item.answer.CaseID.Number)}
		if packs[key] == nil {
			order = append(order, key)
		}
		packs[key] = append(packs[key], item.answer)
	}
	msgs := make([]*nats.Msg, 0, len(order))
	for _, key := range order {
		msg, err := s.answerEncoder.AnswerMessage(key.run, packs[key])
		if err != nil {
			return fmt.Errorf("storing answers of run %s: %w", key.run, err)
		}
		msgs = append(msgs, msg)
	}
	return s.Bus.PublishBatch(ctx, msgs)
}

// fetchFunc sends the requests of one attempt.
type fetchFunc func(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error)

// robotsMaxAge is how long a robots.txt is used before it is fetched again (RFC 9309, section 2.4).
const robotsMaxAge = 24 * time.Hour

// forbiddenError reports that robots.txt forbids the path of a case.
type forbiddenError struct{ path string }

// Error names the path and the setting that overrides robots.txt.
func (f forbiddenError) Error() string {
	return fmt.Sprintf("robots.txt of the site forbids %s to this program; set robots = false to fetch it anyway",
		f.path)
}

// robots is the site's robots.txt. One case at a time checks it; the first one fetches it.
type robots struct {
	fetch         Robots
	setCrawlDelay func(time.Duration)
	// current holds the rules that were fetched last.
	current chan fetchedRules
}

// fetchedRules are the rules and when they were fetched; the zero value was never fetched.
type fetchedRules struct {
	site.RobotsRules
	fetchedAt time.Time
}

func newRobots(fetch Robots, setCrawlDelay func(time.Duration)) *robots {
	r := &robots{fetch: fetch, setCrawlDelay: setCrawlDelay, current: make(chan fetchedRules, 1)}
	r.current <- fetchedRules{}
	return r
}

// wrap returns a fetchFunc that fetches robots.txt first if that is due, then calls fetch. The
// exchanges of robots.txt come first; they are the only ones if it could not be fetched or is a
// block. The error is a forbiddenError if robots.txt forbids the path of the case.
func (r *robots) wrap(fetch fetchFunc) fetchFunc {
	if r.fetch == nil {
		return fetch
	}
	return func(
		ctx context.Context, id contract.CaseID, before site.BeforeRequest,
	) ([]contract.Exchange, error) {
		robotsExchanges, err := r.check(ctx, id, before)
		switch {
		case errors.Is(err, site.ErrRobotsUnreachable):
			robotsExchanges[len(robotsExchanges)-1].Error = fmt.Sprintf("%.300s", err.Error())
			return robotsExchanges, nil
		case isRobotsBlock(err):
			return robotsExchanges, nil
		case err != nil:
			return robotsExchanges, err
		}
		exchanges, err := fetch(ctx, id, before)
		if len(exchanges) == 0 && err != nil {
			return robotsExchanges, err
		}
		return append(robotsExchanges, exchanges...), err
	}
}

func isRobotsBlock(err error) bool {
	var block *site.RobotsBlockedError
	return errors.As(err, &block)
}

func (r *robots) check(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
	var rules fetchedRules
	select {
	case rules = <-r.current:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { r.current <- rules }()
	var exchanges []contract.Exchange
	if rules.fetchedAt.IsZero() || time.Since(rules.fetchedAt) > robotsMaxAge {
		fetched, err := r.fetch(ctx, before)
		if exchanges = fetched.Requests; err != nil {
			return exchanges, err
		}
		rules = fetchedRules{fetched, time.Now()}
		r.setCrawlDelay(fetched.CrawlDelay())
	}
	if path, ok := rules.Allows(id); !ok {
		return exchanges, forbiddenError{path}
	}
	return exchanges, nil
}
