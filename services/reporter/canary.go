package reporter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// minUnconfirmed is how many no-records in a row are voided when a block follows them, and how
	// many unconfirmed ones make a canary due when failures stop a run: the site is in trouble
	// then, so requests are avoided where possible.
	minUnconfirmed = 3
	// canaryBackoff is the wait before a canary without an answer is repeated; it doubles up to
	// maxCanaryBackoff.
	canaryBackoff    = 5 * time.Second
	maxCanaryBackoff = 5 * time.Minute
)

// canaryState is what a worker knows of its canaries.
type canaryState struct {
	// reply receives the answer of the canary in flight; nil when there is none.
	reply chan contract.CanaryReply
	// foldUntil is the sequence of the last canary's ledger message. It must be folded before
	// anything is decided.
	foldUntil uint64
	cases     []contract.CaseID
	// unanswered counts the canaries without an answer in a row; retryAt is the earliest time of
	// the next one.
	unanswered int
	retryAt    time.Time
	// nextAt is how many no-records the run must have before a canary in the middle of the run is
	// due again, after one was given up.
	nextAt int
	// ending is set once the run is about to end; givenUp when it ends without confirmation, with
	// givenUpReason.
	ending, givenUp bool
	givenUpReason   string
	// blocked is the error of a canary that was blocked; empty when none was.
	blocked string
}

// maybeStartCanary starts a canary in the middle of a run when one is due.
func (w *worker) maybeStartCanary(ctx context.Context) error {
	c := &w.canary
	if w.halt != nil || w.control.Paused || !w.tally.CanaryDue() || w.tally.NoRecord < c.nextAt || w.canaryBusy() {
		return nil
	}
	return w.startCanary(ctx)
}

// canaryBusy reports whether a canary is in flight or it is too early for another one.
func (w *worker) canaryBusy() bool {
	return w.canaryPending() || time.Now().Before(w.canary.retryAt)
}

// canaryPending reports whether a canary is in flight or its ledger message is not folded yet.
func (w *worker) canaryPending() bool {
	return w.canary.reply != nil || w.tally.Sequence < w.canary.foldUntil
}

// startCanary requests a canary in the background. The fetcher stores its outcome in the ledger;
// the reply holds the sequence of that message.
func (w *worker) startCanary(ctx context.Context) error {
	c := &w.canary
	cases, err := w.canaryCases(ctx)
	if err != nil {
		return fmt.Errorf("choosing canary cases: %w", err)
	}
	if len(cases) == 0 {
		w.giveUpCanary(fmt.Sprintf("%d no-records are unconfirmed: no existing record is known to check the site with",
			w.tally.UnconfirmedCount()))
		return nil
	}
	request := contract.CanaryRequest{Version: contract.MessageVersion, RunID: w.manifest.RunID, CaseIDs: cases,
		After: w.tally.Sequence}
	reply := make(chan contract.CanaryReply, 1)
	c.reply, c.cases = reply, cases
	w.canaryRequests.Go(func() { reply <- w.requestCanary(ctx, request) })
	return nil
}

// requestCanary waits for a fetcher's reply. Without one it returns a reply with an error.
func (w *worker) requestCanary(ctx context.Context, request contract.CanaryRequest) (reply contract.CanaryReply) {
	ctx, cancel := context.WithTimeout(ctx, w.FinalTimeout)
	defer cancel()
	data, err := json.Marshal(request)
	var msg *nats.Msg
	if err == nil {
		msg, err = w.Bus.Conn().RequestWithContext(ctx, contract.CanaryService(w.manifest.Site), data)
	}
	if err == nil {
		err = json.Unmarshal(msg.Data, &reply)
	}
	if err == nil {
		err = contract.CheckVersion(reply.Version)
	}
	if err != nil {
		return contract.CanaryReply{Error: err.Error()}
	}
	return reply
}

// publishVoid voids the unconfirmed no-records of a run that was blocked right after them. It
// publishes that to the ledger, where both the fold and the verifier find it. Otherwise, once the
// run resumes and the site shows records again, those would confirm what the site answered before
// the block.
func (w *worker) publishVoid(ctx context.Context) error {
	first := contract.Entry{CaseID: w.tally.Unconfirmed[0].CaseID, Verdict: contract.VerdictNoRecord,
		Rule: contract.RuleUnconfirmed, StartedAt: w.Now().UTC()}
	msg, err := ledger.CanaryMessage(w.manifest.RunID, []contract.Entry{first}, 0)
	var ack *jetstream.PubAck
	if err == nil {
		ack, err = w.Bus.Publish(ctx, msg)
	}
	if err != nil {
		return fmt.Errorf("voiding the no-records of %s: %w", w.manifest.RunID, err)
	}
	w.canary.foldUntil = max(w.canary.foldUntil, ack.Sequence)
	return nil
}

func (w *worker) onCanaryReply(reply contract.CanaryReply) {
	c := &w.canary
	c.reply, c.foldUntil = nil, max(c.foldUntil, reply.Sequence)
	w.Logger.Info("reporter.canary", "run_id", w.manifest.RunID, "case_id", c.cases[0],
		"unconfirmed", len(w.tally.Unconfirmed), "verdict", reply.Verdict, "error", reply.Error)
	switch reply.Verdict {
	case contract.VerdictSuccess, contract.VerdictNoRecord:
		c.unanswered, c.nextAt = 0, 0
		return
	case contract.VerdictBlocked: // no further request may be sent, and nothing is confirmed
		c.blocked = reply.Error
		c.retryAt = time.Now().Add(maxCanaryBackoff)
		return
	case contract.VerdictTransient: // like no reply at all
	}
	if c.unanswered++; c.unanswered > w.manifest.MaxRetries {
		w.giveUpCanary(fmt.Sprintf("%d no-records are unconfirmed: the site did not answer for %s, known to exist",
			w.tally.UnconfirmedCount(), c.cases[0]))
		return
	}
	c.retryAt = time.Now().Add(min(canaryBackoff<<(c.unanswered-1), maxCanaryBackoff))
}

// giveUpCanary gives up a canary: in the middle of a run until many more no-records have come, at
// its end for good. The no-records stay unconfirmed.
func (w *worker) giveUpCanary(why string) {
	c := &w.canary
	c.unanswered, c.retryAt = 0, time.Time{}
	c.nextAt = w.tally.NoRecord + fold.NextCanaryAfter
	if c.ending {
		c.givenUp, c.givenUpReason = true, why
	}
}

// canaryCases returns cases that are known to exist, the best first: the newest of this run, then
// those that other runs collected of this year, then of any other year of the series.
func (w *worker) canaryCases(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	taken := map[int]bool{}
	for _, number := range slices.Concat(w.tally.NewestSuccesses, w.newestCollected.numbers()) {
		if len(cases) < fold.MaxCanaryCases && !taken[number] && w.tally.Outcomes.Get(number) != contract.NoRecord {
			taken[number] = true
			cases = append(cases, w.manifest.Case(number))
		}
	}
	if len(cases) > 0 {
		return cases, nil
	}
	return w.canaryCasesOfOtherYears(ctx)
}

// canaryCasesOfOtherYears returns the first collected cases that it finds in other years of the
// series.
func (w *worker) canaryCasesOfOtherYears(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	keys := bus.Keys{Bucket: contract.BucketCollected, Filters: []string{w.manifest.Prefix + ".>"}}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		id, keyErr := contract.ParseKey(entry.Key())
		value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
		if keyErr == nil && err == nil && id.Year != w.manifest.Year && value.AppliesTo(w.manifest.Site) &&
			value.Outcome == contract.Success {
			cases = append(cases, id)
		}
		if len(cases) >= fold.MaxCanaryCases {
			return bus.ErrStop
		}
		return nil
	})
	return cases, err
}

// newestCases are the cases of this year that were collected last, the newest first.
type newestCases []collectedCase

type collectedCase struct {
	number int
	at     time.Time
}

// add inserts a case if it is among the newest.
func (n *newestCases) add(number int, value contract.Collected) {
	if value.Outcome != contract.Success {
		return
	}
	*n = append(*n, collectedCase{number, value.At})
	slices.SortStableFunc(*n, func(a, b collectedCase) int { return b.at.Compare(a.at) })
	*n = (*n)[:min(len(*n), fold.MaxCanaryCases)]
}

func (n newestCases) numbers() []int {
	numbers := make([]int, len(n))
	for i, c := range n {
		numbers[i] = c.number
	}
	return numbers
}
