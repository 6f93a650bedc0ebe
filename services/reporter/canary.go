package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// firstCanaryAfter is how many no-records in a row, as they come in, make a canary due: of numbers of which one in five is
	// missing, so many come in a row once in 10^14 times. nextCanary is how many more make the next one due: a canary costs one
	// request, so a stretch of no-records takes one in a hundred more.
	firstCanaryAfter = 20
	nextCanaryAfter  = 100
	// minUnconfirmed is how many no-records in a row are taken back when a block comes right behind them, and how many unconfirmed
	// ones make a canary due when a run stops because of failures: the site is in trouble then, and is left alone where it can be.
	minUnconfirmed = 3
	// canaryBackoff is the wait before a canary is asked again that brought no word; it doubles, up to canaryWaitLimit.
	canaryBackoff    = 5 * time.Second
	maxCanaryBackoff = 5 * time.Minute
)

// canaryState is what this worker knows of its canaries.
type canaryState struct {
	// reply is where the one under way is answered; nil when there is none.
	reply chan contract.CanaryReply
	// foldUntil is the ledger's message that the last one has become; it has to be folded before anything is decided.
	foldUntil uint64
	cases     []contract.CaseID
	// unanswered counts those that brought no word, again is when the next may be asked.
	unanswered int
	retryAt    time.Time
	// nextAt is how many no-records there must be before another one is asked in the middle of a run, after the last one
	// was given up.
	nextAt int
	// ending says that the run is to end, resigned that it ends without a proof, and why.
	ending, givenUp bool
	givenUpReason   string
	// blocked is the error of a canary that met a block; empty when none did.
	blocked string
}

// canaryDue says whether so many no-records have come in a row that a canary is to be asked.
func (t *tally) canaryDue() bool {
	limit := firstCanaryAfter
	if t.Canaries > 0 {
		limit = nextCanaryAfter
	}
	return t.Vanished == nil && len(t.Unconfirmed) > 0 && t.NoRecordStreak >= limit
}

// maybeStartCanary asks a canary in the middle of a run when one is due.
func (w *worker) maybeStartCanary(ctx context.Context) error {
	q := &w.canary
	if w.halt != nil || !w.tally.canaryDue() || w.tally.NoRecord < q.nextAt || w.canaryBlocked() {
		return nil
	}
	return w.startCanary(ctx)
}

// confirmEnd says whether the run may end for good: fewer than least no-records are unconfirmed, or no canary can confirm them. Else
// it asks one, and is to be called again.
func (w *worker) confirmEnd(ctx context.Context, least int) (bool, error) {
	q := &w.canary
	if w.canaryPending() {
		return false, nil
	}
	if w.tally.unconfirmedCount() < least || q.givenUp {
		return true, nil
	}
	if !q.ending {
		q.ending, q.unanswered, q.retryAt, q.blocked = true, 0, time.Time{}, ""
	}
	if w.canaryBlocked() {
		return false, nil
	}
	return false, w.startCanary(ctx)
}

// canaryBlocked says that a canary is under way, or that it is too early for another one.
func (w *worker) canaryBlocked() bool {
	return w.canaryPending() || time.Now().Before(w.canary.retryAt)
}

// canaryPending says that a canary is under way, or that what it became is not folded yet.
func (w *worker) canaryPending() bool {
	return w.canary.reply != nil || w.tally.Sequence < w.canary.foldUntil
}

// startCanary sends a canary on its way. Its answer comes through the ledger; the reply says when to look there.
func (w *worker) startCanary(ctx context.Context) error {
	q := &w.canary
	cases, err := w.canaryCases(ctx)
	if err != nil {
		return fmt.Errorf("looking for a canary: %w", err)
	}
	if len(cases) == 0 {
		w.giveUpCanary(fmt.Sprintf("%d no-records are unconfirmed: no existing record is known to check the site with", w.tally.unconfirmedCount()))
		return nil
	}
	request := contract.CanaryRequest{Version: contract.MessageVersion, RunID: w.manifest.RunID, CaseIDs: cases, After: w.tally.Sequence}
	reply := make(chan contract.CanaryReply, 1)
	q.reply, q.cases = reply, cases
	w.canaryRequests.Go(func() { reply <- w.requestCanary(ctx, request) })
	return nil
}

// requestCanary waits for a fetcher's reply; none is a reply with an error.
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

// publishVoid takes back the row of a run that was blocked right behind it: it says so in the ledger, where both readers find it.
// When the run goes on the site shows its files again, and would vouch for what it said before the block.
func (w *worker) publishVoid(ctx context.Context) error {
	first := contract.Entry{CaseID: w.tally.Unconfirmed[0].CaseID, Verdict: contract.VerdictNoRecord, Rule: contract.RuleUnconfirmed, StartedAt: w.Now().UTC()}
	data, err := contract.EntryPack{Version: contract.MessageVersion, RunID: w.manifest.RunID, Entries: []contract.Entry{first}}.Encode()
	var ack *jetstream.PubAck
	if err == nil {
		ack, err = w.Bus.Publish(ctx, &nats.Msg{Subject: w.manifest.RunID.CanarySubject(), Data: bus.Compress(data)})
	}
	if err != nil {
		return fmt.Errorf("taking back the no-records of %s: %w", w.manifest.RunID, err)
	}
	w.canary.foldUntil = max(w.canary.foldUntil, ack.Sequence)
	return nil
}

// onCanaryReply takes in the reply to a canary.
func (w *worker) onCanaryReply(reply contract.CanaryReply) {
	q := &w.canary
	q.reply, q.foldUntil = nil, max(q.foldUntil, reply.Sequence)
	w.Logger.Info("reporter.canary", "run_id", w.manifest.RunID, "case_id", q.cases[0], "doubts", len(w.tally.Unconfirmed),
		"verdict", reply.Verdict, "error", reply.Error)
	switch reply.Verdict {
	case contract.VerdictSuccess, contract.VerdictNoRecord:
		q.unanswered, q.nextAt = 0, 0
		return
	case contract.VerdictBlocked: // nobody is to be asked any more, and nothing is to be believed for it
		q.blocked = reply.Error
		q.retryAt = time.Now().Add(maxCanaryBackoff)
		return
	case contract.VerdictTransient: // as when there is no reply at all
	}
	if q.unanswered++; q.unanswered > w.manifest.MaxRetries {
		w.giveUpCanary(fmt.Sprintf("%d no-records are unconfirmed: the site did not answer for %s, known to exist", w.tally.unconfirmedCount(), q.cases[0]))
		return
	}
	q.retryAt = time.Now().Add(min(canaryBackoff<<(q.unanswered-1), maxCanaryBackoff))
}

// giveUpCanary gives up a canary: in the middle of a run until many more no-records have come, at its end for good. The no-records
// stay unconfirmed then.
func (w *worker) giveUpCanary(why string) {
	q := &w.canary
	q.unanswered, q.retryAt = 0, time.Time{}
	q.nextAt = w.tally.NoRecord + nextCanaryAfter
	if q.ending {
		q.givenUp, q.givenUpReason = true, why
	}
}

// canaryCases are files that are known to exist, the best first: the newest of this run, then those that other runs
// collected of this year, then of any other year of the series.
func (w *worker) canaryCases(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	taken := map[int]bool{}
	for _, number := range slices.Concat(w.tally.NewestSuccesses, w.newestCollected.numbers()) {
		if len(cases) < maxCanaryCases && !taken[number] && w.tally.Outcomes.get(number) != contract.NoRecord {
			taken[number] = true
			cases = append(cases, w.manifest.Case(number))
		}
	}
	if len(cases) > 0 {
		return cases, nil
	}
	return w.canaryCasesOfOtherYears(ctx)
}

// canaryCasesOfOtherYears are files of other years of the series; the search for them ends with the first that are found.
func (w *worker) canaryCasesOfOtherYears(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	err := w.Bus.Scan(ctx, bus.Keys{Bucket: contract.BucketCollected, Filters: []string{w.manifest.Prefix + ".>"}}, func(entry jetstream.KeyValueEntry) error {
		id, wrong := contract.ParseKey(entry.Key())
		value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
		if wrong == nil && err == nil && id.Year != w.manifest.Year && value.AppliesTo(w.manifest.Site) && value.Outcome == contract.Success {
			cases = append(cases, id)
		}
		if len(cases) >= maxCanaryCases {
			return errStopReading
		}
		return nil
	})
	if errors.Is(err, errStopReading) {
		err = nil
	}
	return cases, err
}

// newestCases are the files of this year that were collected last, the newest first.
type newestCases []collectedCase

type collectedCase struct {
	number int
	at     time.Time
}

// add takes a file in if it is among the newest.
func (n *newestCases) add(number int, value contract.Collected) {
	if value.Outcome != contract.Success {
		return
	}
	at := 0
	for at < len(*n) && !value.At.After((*n)[at].at) {
		at++
	}
	if at == maxCanaryCases {
		return
	}
	list := append(append(append(newestCases{}, (*n)[:at]...), collectedCase{number, value.At}), (*n)[at:]...)
	*n = list[:min(len(list), maxCanaryCases)]
}

func (n newestCases) numbers() []int {
	numbers := make([]int, len(n))
	for i, c := range n {
		numbers[i] = c.number
	}
	return numbers
}
