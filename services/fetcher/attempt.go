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
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go/jetstream"
)

// attempt asks the site once for a case, of which so many processes have died, and stores what it answered.
func (w *shift) attempt(d delivery, job contract.Job, attempt, crashes int) error {
	id := job.CaseID
	together, err := w.apart(crashes)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", id, err)
	}
	defer together()
	leave, err := w.climate.enter(w.begin)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", id, err)
	}
	defer leave()
	defer w.holdings.end(id.Number)
	exchanges, seconds, err := w.ask(d, job, attempt, crashes)
	if w.unsent(id, exchanges, err != nil) {
		return errGiveBack
	}
	blocked := w.heed(id, exchanges, job.Retry || attempt > 1, err)
	leave()
	if err != nil && (len(exchanges) == 0 || !blocked) {
		return fmt.Errorf("asking for %s: %w", id, err)
	}
	return w.store(contract.Answer{
		CaseID: id, Attempt: attempt, MaxAttempts: job.MaxAttempts, KeepRaw: w.manifest.PersistRawHTML,
		AckSubject: d.msg.Reply(), PlannedAt: plannedAt(d.msg), Exchanges: exchanges, Aborted: err != nil, Seconds: seconds,
	})
}

// apart keeps a suspicious job from being attempted beside another one until together is called.
func (w *shift) apart(crashes int) (together func(), err error) {
	if crashes < suspicious {
		return func() {}, nil
	}
	select {
	case w.alone <- struct{}{}:
		return func() { <-w.alone }, nil
	case <-w.begin.Done():
		return nil, context.Cause(w.begin)
	}
}

// crashed has the classifier settle a job that so many processes have died of: it is asked for no more.
func (w *shift) crashed(d delivery, job contract.Job, attempt, crashes int) error {
	w.Log.Error("fetcher.job.crashed", "run_id", w.manifest.RunID, "case_id", job.CaseID.String(), "crashes", crashes)
	return w.store(contract.Answer{
		CaseID: job.CaseID, Attempt: attempt, MaxAttempts: job.MaxAttempts, Crashes: crashes,
		AckSubject: d.msg.Reply(), PlannedAt: plannedAt(d.msg), Exchanges: []contract.Exchange{},
	})
}

// store stores an answer and leaves its job to the classifier. The job keeps its place until then, so that a process that dies
// loses no more answers than it has places: they are asked for again.
func (w *shift) store(answer contract.Answer) error {
	if err := w.keep(answer); err != nil {
		return fmt.Errorf("storing the answer for %s: %w", answer.CaseID, err)
	}
	return bus.ErrLeaveUnsettled
}

// ask makes the requests of an attempt, each when it is its turn. The attempt begins, and is on record as held, when its first
// request may leave: a process that dies while a job only waits has not crashed on it.
func (w *shift) ask(d delivery, job contract.Job, attempt, crashes int) (exchanges []contract.Exchange, seconds float64, err error) {
	ask := asker(w.Site.Fetch)
	if job.LikelyAbsent {
		ask = w.Site.FetchProofFirst
	}
	var asking start
	defer asking.made() // also when the last request could not be sent
	ctx, cancel := context.WithCancelCause(w.finish)
	defer cancel(nil)
	connected := func() bool { return true }
	if !w.connecting.done() { // a stop does not wait for a connection
		connected = context.AfterFunc(w.begin, func() { cancel(context.Cause(w.begin)) })
		defer connected()
	}
	begun := sync.OnceFunc(func() {
		connected()
		w.Log.Info("batch.job.start", "run_id", w.manifest.RunID, "case_id", job.CaseID.String(), "attempts", attempt)
	})
	left := func() {
		asking.made()
		begun()
	}
	requests := 0
	limited := site.WithTimeouts(site.WithRequestSent(ctx, left), w.manifest.RequestTimeout, w.manifest.JobTimeout)
	exchanges, err = w.robots.first(ask)(limited, job.CaseID, func(ctx context.Context) (time.Duration, error) {
		requests++
		gap, err := w.turn(ctx, requests == 1, &asking)
		if err == nil && requests == 1 && !w.connecting.begin(job.CaseID.Number) {
			err = errGiveBack
		}
		if err == nil && !d.kept() { // it is asked for by somebody else
			err = errSlipped
		}
		if err == nil && requests == 1 {
			err = w.holdings.begin(w.finish, job.CaseID.Number, attempt, crashes)
		}
		return gap, err
	})
	asking.waits(exchanges)
	return exchanges, asking.seconds(), err
}

// heed does what the site said that concerns more than this case, and says whether it told us to go away, here or elsewhere.
// retry says that the number has failed before.
func (w *shift) heed(id contract.CaseID, exchanges []contract.Exchange, retry bool, err error) (blocked bool) {
	rule, wait, blocked := w.Site.Blocked(id, exchanges, time.Now())
	var forbids forbidden
	switch {
	case blocked:
		// This process stops at once; the others hear of it through the buckets.
		w.end(runs.Halted{Halt: contract.Halt{Status: contract.Blocked, Reason: rule}})
		if err := w.block(context.WithoutCancel(w.finish), w.manifest, id, rule, wait); err != nil {
			w.fail(err)
		}
		return true
	case errors.As(err, &forbids):
		halt := contract.Halt{Status: contract.Blocked, Reason: forbids.Error(), At: time.Now().UTC()}
		w.end(runs.Halted{Halt: halt})
		if err := runs.Halt(context.WithoutCancel(w.finish), w.runs, w.manifest.RunID, halt); err != nil {
			w.fail(err)
		}
	default:
		w.climate.note(context.WithoutCancel(w.finish), exchanges, retry, w.Site.RetryAfter)
	}
	return w.unwelcome()
}

// plannedAt is when the job was stored; zero for a message that does not say it.
func plannedAt(msg jetstream.Msg) time.Time {
	metadata, err := msg.Metadata()
	if err != nil {
		return time.Time{}
	}
	return metadata.Timestamp.UTC()
}

// keep stores an answer, again and again while the store only stumbles: to ask the site a second time for what it has
// answered would be worse. Of an answer that the store cannot hold it stores that it came and how large it was: the attempt counts.
func (w *shift) keep(answer contract.Answer) error {
	for {
		err := w.gather.Do(w.finish, ready{w.manifest.RunID, answer})
		switch {
		case errors.Is(err, bus.ErrTooLarge) && withoutBodies(&answer):
			continue
		case err == nil || errors.Is(err, bus.ErrStore) || errors.Is(err, bus.ErrTooLarge):
			return err
		}
		w.Log.Warn("fetcher.answer.kept", "run_id", w.manifest.RunID, "case_id", answer.CaseID.String(), "error", err)
		if delay.Sleep(w.finish, classifying) != nil {
			return err
		}
	}
}

// withoutBodies drops the bodies of an answer and says so in its exchanges; false when there is none.
func withoutBodies(answer *contract.Answer) (dropped bool) {
	for i := range answer.Exchanges {
		if x := &answer.Exchanges[i]; len(x.Body) > 0 {
			x.Error = fmt.Sprintf("max_body: the store cannot hold this answer: %d bytes", len(x.Body))
			x.Body, dropped = nil, true
		}
	}
	return dropped
}

// turn waits until the next request may start. Nothing is begun once the run is halted; a case that is under way is
// finished, unless the site told us to go away: then not one request more is made.
func (w *shift) turn(ctx context.Context, first bool, asking *start) (time.Duration, error) {
	asking.made()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(w.begin, func() {
		if first || w.unwelcome() {
			cancel(context.Cause(w.begin))
		}
	})
	defer stop()
	permit, err := w.pacer.Wait(ctx, !first, w.climate.hold)
	if err != nil {
		return 0, err
	}
	asking.expect(permit)
	if w.begin.Err() != nil && (first || w.unwelcome()) {
		return 0, context.Cause(w.begin)
	}
	return permit.Gap, nil
}

// start is the request of an attempt that is about to leave the machine.
type start struct {
	mu      sync.Mutex
	waiting func()
	// first is when the first request of the attempt was let go.
	first time.Time
	// permits are those of all requests of the attempt.
	permits []Permit
}

// waits fills in for how long each request was held.
func (s *start) waits(exchanges []contract.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range exchanges[:min(len(exchanges), len(s.permits))] {
		exchanges[i].WaitedSeconds, exchanges[i].SlowedSeconds = s.permits[i].Waited.Seconds(), s.permits[i].Slowed.Seconds()
	}
}

// seconds is how long ago the first request was let go, by the monotonic clock; 0 when none was.
func (s *start) seconds() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		return 0
	}
	return time.Since(s.first).Seconds()
}

func (s *start) expect(permit Permit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = permit.Started
	s.permits = append(s.permits, permit)
	if s.first.IsZero() {
		s.first = time.Now()
	}
}

// made says that the request has left, or never will.
func (s *start) made() {
	s.mu.Lock()
	started := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	if started != nil {
		started()
	}
}

// unwelcome says whether the run was halted because the site blocks us.
func (w *shift) unwelcome() bool {
	var halted runs.Halted
	return errors.As(context.Cause(w.begin), &halted) && halted.Status == contract.Blocked
}
