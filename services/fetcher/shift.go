package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
)

// renew is how often a fetcher says that it works on a run; what it said expires after 15 s.
const renew = 5 * time.Second

// shift is one fetcher's work on one round of a run.
type shift struct {
	*Service
	manifest contract.Manifest
	ledger   *ledger
	holdings *holdings
	// connecting says whether the site was reached in this round.
	connecting *connecting
	// begin ends when nothing new is to be begun, finish when what is in flight is to be given up.
	begin, finish context.Context
	giveUp        context.CancelCauseFunc
	// end ends begin.
	end    context.CancelCauseFunc
	flight sync.WaitGroup
	// made is when the consumer of the jobs was made, remade says that it was made again since the work began.
	made   time.Time
	remade atomic.Bool

	mu   sync.Mutex
	held map[int]bool
	// crowded says that another run of the same series and year was worked on beside this one; the crowd guards it.
	crowded bool
	// past is the ledger of the run that was over when an outcome of it was looked for last; offered are the numbers of
	// which the classifier was asked to copy one.
	past    *ledger
	offered map[int]bool
	// told are the waits that were logged, by their reasons, each with the latest end that was told.
	told map[string]time.Time
	// broken is the first error that ends the work on the run.
	broken error
}

// fail ends the work on the run with an error.
func (w *shift) fail(err error) {
	w.mu.Lock()
	if w.broken == nil {
		w.broken = err
	}
	w.mu.Unlock()
	w.end(err)
}

// work takes jobs of a run until begin ends, then waits for what is in flight: until the deadline of the halt, or
// until service, the service's own context, ends.
func (s *Service) work(service, begin context.Context, m contract.Manifest) error {
	begin, end := context.WithCancelCause(begin)
	defer end(nil)
	finish, giveUp := context.WithCancelCause(context.WithoutCancel(begin))
	defer giveUp(nil)
	w := &shift{
		Service: s, manifest: m, begin: begin, finish: finish, giveUp: giveUp, end: end, held: make(map[int]bool),
		ledger: s.ledgerOf(m.RunID), holdings: s.holdingsOf(m.RunID), offered: make(map[int]bool),
		told: make(map[string]time.Time), connecting: newConnecting(s.Backoff),
	}
	defer s.crowd.join(w)()
	leave, err := w.attend()
	if err != nil {
		return err
	}
	defer leave()
	stopWatch := context.AfterFunc(begin, func() {
		w.putDown()
		w.limit(service)
	})
	defer stopWatch()
	var listening sync.WaitGroup
	listening.Go(w.listen)
	w.take()
	w.flight.Wait()
	end(nil)
	listening.Wait()
	w.putDown()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// putDown records that what this process holds from now on is no crash if it dies.
func (w *shift) putDown() {
	if err := w.holdings.close(w.finish, context.Cause(w.begin)); err != nil { // then it counts as one
		w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// listen ends the work on the run when the site tells anybody to go away, whichever run he asked for.
func (w *shift) listen() {
	for {
		block, told := w.climate.blocked(time.Now())
		if block != nil {
			w.end(runs.Halted{Halt: haltOf(*block)})
			if err := w.halt(context.WithoutCancel(w.finish), w.manifest, *block); err != nil {
				w.fail(err)
			}
			return
		}
		select {
		case <-told:
		case <-w.begin.Done():
			return
		}
	}
}

// limit gives up what is in flight at the halt's deadline, or with the service.
func (w *shift) limit(service context.Context) {
	var halted runs.Halted
	if cause := context.Cause(w.begin); !errors.As(cause, &halted) {
		grace := w.Grace
		if errors.Is(cause, bus.ErrStore) { // nothing that is asked now could be kept
			grace = 0
		}
		limited, cancel := context.WithTimeout(w.finish, grace)
		defer cancel()
		<-limited.Done()
		w.giveUp(context.Cause(w.begin))
		return
	}
	ctx := service
	if !halted.Deadline.IsZero() {
		limited, cancel := context.WithDeadline(service, delay.Until(time.Now(), halted.Deadline, halted.Deadline.Sub(halted.At)))
		defer cancel()
		ctx = limited
	}
	select {
	case <-ctx.Done():
		w.giveUp(halted)
	case <-w.finish.Done(): // all has landed
	}
}

// attend says that this fetcher works on the run, and what it holds, again and again until the function it returns is called.
func (w *shift) attend() (leave func(), err error) {
	// Not with begin: a word that is cut off may have been stored, and then the run waits until it expires.
	limited, cancel := context.WithTimeout(w.finish, renew)
	defer cancel()
	if err := w.say(limited); err != nil {
		return nil, fmt.Errorf("joining run %s: %w", w.manifest.RunID, err)
	}
	silence := delay.Every(renew, func() {
		w.present()
		if err := w.holdings.flush(w.finish); err != nil {
			w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
		}
	})
	return func() {
		silence()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.begin), renew)
		defer cancel()
		if err := w.fetchers.Delete(ctx, w.manifest.RunID.FetcherKey(w.ID)); err != nil { // then it expires
			w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		}
	}, nil
}

// say says that this fetcher works on the run.
func (w *shift) say(ctx context.Context) error {
	value, err := json.Marshal(contract.Presence{At: time.Now().UTC(), Wait: w.tellWait(), Reached: w.connecting.done()})
	if err != nil {
		return err
	}
	_, err = w.fetchers.Put(ctx, w.manifest.RunID.FetcherKey(w.ID), value)
	return err
}

// present says it once more; a word that is lost is made good by the next.
func (w *shift) present() {
	if err := w.say(w.finish); err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// tellWait is why nothing is asked just now; nil while requests are made. It is logged when it is new, or lasts longer than was said.
func (w *shift) tellWait() *contract.Wait {
	now := w.pacer.waiting.Load()
	if now == nil {
		now = w.connecting.waiting()
	}
	if now == nil {
		return nil
	}
	w.mu.Lock()
	until, told := w.told[now.Reason]
	fresh := !told || !now.repeats && now.Until.Sub(until) > tellFrom
	if fresh {
		w.told[now.Reason] = now.Until
	}
	w.mu.Unlock()
	if fresh {
		w.Log.Info("batch.run.wait", "run_id", w.manifest.RunID, "reason", now.Reason, "until", now.Until.UTC().Round(time.Second))
	}
	return &now.Wait
}

// settle does one job and says what becomes of its message. Lost words make the job come again, and then its
// history is read. What becomes of a job that has slipped is for others to say.
func (w *shift) settle(d delivery) {
	err := w.do(d)
	msg, kept := d.msg, d.letGo()
	var wait waiting
	switch {
	case !kept && !errors.Is(err, bus.ErrStore):
	case err == nil:
		_ = msg.Ack()
	case errors.Is(err, bus.ErrLeaveUnsettled):
	case errors.As(err, &wait):
		_ = msg.NakWithDelay(time.Duration(wait))
	case errors.Is(err, contract.ErrMessage):
		w.Log.Error("fetcher.job.dropped", "subject", msg.Subject(), "error", err)
		_ = msg.Term()
	case errors.Is(err, bus.ErrStore), errors.Is(err, runs.ErrUnreadable):
		w.fail(err)
		_ = msg.NakWithDelay(bus.NoDelay)
	case w.begin.Err() != nil:
		_ = msg.NakWithDelay(bus.NoDelay)
	default:
		w.Log.Warn("fetcher.job.failed", "subject", msg.Subject(), "error", err)
		_ = msg.NakWithDelay(classifying)
	}
}

// waiting says that a job is not to be done yet.
type waiting time.Duration

func (w waiting) Error() string { return "to be left alone for " + time.Duration(w).String() }
