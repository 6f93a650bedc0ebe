package reporter

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// firstCanary is how many no-records in a row, as they come in, make a canary due: of numbers of which one in five is
	// missing, so many come in a row once in 10^14 times. nextCanary is how many more make the next one due: a canary costs one
	// request, so a stretch of no-records takes one in a hundred more.
	firstCanary = 20
	nextCanary  = 100
	// leastDoubts is how many no-records in a row are taken back when a block comes right behind them, and how many unconfirmed
	// ones make a canary due when a run stops because of failures: the site is in trouble then, and is left alone where it can be.
	leastDoubts = 3
	// canaryWait is the wait before a canary is asked again that brought no word; it doubles, up to canaryWaitLimit.
	canaryWait      = 5 * time.Second
	canaryWaitLimit = 5 * time.Minute
)

// question is what this worker knows of its canaries.
type question struct {
	// reply is where the one under way is answered; nil when there is none.
	reply chan contract.CanaryReply
	// until is the ledger's message that the last one has become; it has to be folded before anything is decided.
	until uint64
	asked []contract.CaseID
	// tries counts those that brought no word, again is when the next may be asked.
	tries int
	again time.Time
	// next is how many no-records there must be before another one is asked in the middle of a run, after the last one
	// was given up.
	next int
	// final says that the run is to end, resigned that it ends without a proof, and why.
	final, resigned bool
	why             string
	// blocked is the error of a canary that met a block; empty when none did.
	blocked string
}

// due says whether so many no-records have come in a row that a canary is to be asked.
func (t *tally) due() bool {
	limit := firstCanary
	if t.Canaries > 0 {
		limit = nextCanary
	}
	return t.Gone == nil && len(t.Row) > 0 && t.Quiet >= limit
}

// patrol asks a canary in the middle of a run when one is due.
func (w *worker) patrol(ctx context.Context) error {
	q := &w.question
	if w.halt != nil || !w.tally.due() || w.tally.NoRecord < q.next || w.waiting() {
		return nil
	}
	return w.ask(ctx)
}

// sure says whether the run may end for good: fewer than least no-records are unconfirmed, or no canary can confirm them. Else
// it asks one, and is to be called again.
func (w *worker) sure(ctx context.Context, least int) (bool, error) {
	q := &w.question
	if w.unheard() {
		return false, nil
	}
	if w.tally.unconfirmed() < least || q.resigned {
		return true, nil
	}
	if !q.final {
		q.final, q.tries, q.again, q.blocked = true, 0, time.Time{}, ""
	}
	if w.waiting() {
		return false, nil
	}
	return false, w.ask(ctx)
}

// waiting says that a canary is under way, or that it is too early for another one.
func (w *worker) waiting() bool { return w.unheard() || time.Now().Before(w.question.again) }

// unheard says that a canary is under way, or that what it became is not folded yet.
func (w *worker) unheard() bool {
	return w.question.reply != nil || w.tally.Sequence < w.question.until
}

// ask sends a canary on its way. Its answer comes through the ledger; the reply says when to look there.
func (w *worker) ask(ctx context.Context) error {
	q := &w.question
	cases, err := w.witnesses(ctx)
	if err != nil {
		return fmt.Errorf("looking for a canary: %w", err)
	}
	if len(cases) == 0 {
		w.resign(fmt.Sprintf("%d no-records are unconfirmed: no existing record is known to check the site with", w.tally.unconfirmed()))
		return nil
	}
	request := contract.CanaryRequest{Version: contract.MessageVersion, RunID: w.manifest.RunID, CaseIDs: cases, After: w.tally.Sequence}
	reply := make(chan contract.CanaryReply, 1)
	q.reply, q.asked = reply, cases
	w.asking.Go(func() { reply <- w.request(ctx, request) })
	return nil
}

// request waits for a fetcher's reply; none is a reply with an error.
func (w *worker) request(ctx context.Context, request contract.CanaryRequest) (reply contract.CanaryReply) {
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

// doubt takes back the row of a run that was blocked right behind it: it says so in the ledger, where both readers find it.
// When the run goes on the site shows its files again, and would vouch for what it said before the block.
func (w *worker) doubt(ctx context.Context) error {
	first := contract.Entry{CaseID: w.tally.Row[0].CaseID, Verdict: contract.VerdictNoRecord, Rule: contract.RuleUnconfirmed, StartedAt: w.Now().UTC()}
	data, err := contract.EntryPack{Version: contract.MessageVersion, RunID: w.manifest.RunID, Entries: []contract.Entry{first}}.Encode()
	var ack *jetstream.PubAck
	if err == nil {
		ack, err = w.Bus.Publish(ctx, &nats.Msg{Subject: w.manifest.RunID.CanarySubject(), Data: bus.Compress(data)})
	}
	if err != nil {
		return fmt.Errorf("taking back the no-records of %s: %w", w.manifest.RunID, err)
	}
	w.question.until = max(w.question.until, ack.Sequence)
	return nil
}

// hear takes in the reply to a canary.
func (w *worker) hear(reply contract.CanaryReply) {
	q := &w.question
	q.reply, q.until = nil, max(q.until, reply.Sequence)
	w.Logger.Info("reporter.canary", "run_id", w.manifest.RunID, "case_id", q.asked[0], "doubts", len(w.tally.Row),
		"verdict", reply.Verdict, "error", reply.Error)
	switch reply.Verdict {
	case contract.VerdictSuccess, contract.VerdictNoRecord:
		q.tries, q.next = 0, 0
		return
	case contract.VerdictBlocked: // nobody is to be asked any more, and nothing is to be believed for it
		q.blocked = reply.Error
		q.again = time.Now().Add(canaryWaitLimit)
		return
	case contract.VerdictTransient: // as when there is no reply at all
	}
	if q.tries++; q.tries > w.manifest.MaxRetries {
		w.resign(fmt.Sprintf("%d no-records are unconfirmed: the site did not answer for %s, known to exist", w.tally.unconfirmed(), q.asked[0]))
		return
	}
	q.again = time.Now().Add(min(canaryWait<<(q.tries-1), canaryWaitLimit))
}

// resign gives up a canary: in the middle of a run until many more no-records have come, at its end for good. The no-records
// stay unconfirmed then.
func (w *worker) resign(why string) {
	q := &w.question
	q.tries, q.again = 0, time.Time{}
	q.next = w.tally.NoRecord + nextCanary
	if q.final {
		q.resigned, q.why = true, why
	}
}
