package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/services/reporter/verify"

	"github.com/nats-io/nats.go/jetstream"
)

// deadlineGrace is the time after the deadline of a halted run in which its last outcomes may still
// be stored and folded.
const deadlineGrace = 300 * time.Millisecond

// endFacts is what is known when a worker decides whether its run ends.
type endFacts struct {
	// complete means that every job has its outcome; safeStop is the reason of a safe stop, empty
	// when there is none or the run has no jobs.
	complete bool
	safeStop string
	// unconfirmed counts the unconfirmed no-records, noRecordStreak those since the last proof.
	unconfirmed, noRecordStreak int
	// vanished is why the run ends when a canary has vanished, block the reason of the block; empty
	// when none has.
	vanished, block string
	halt            *contract.Halt
	// haltWritten means that this worker has written a halt, haltDue that it is time to find out
	// what is in flight of a halted run.
	haltWritten, haltDue bool
	inFlight             inFlight
	canary               canaryState
	// paused means that no canary may be requested now.
	paused bool
	// pending means that a canary is not folded yet; busy also that it is too early for another.
	pending, busy bool
	// isStretch reports whether a reason is that of a safe stop after a stretch of no-records.
	isStretch func(reason string) bool
}

// inFlight is whether messages of a halted run may still come.
type inFlight int

const (
	inFlightUnknown inFlight = iota
	inFlightSome
	inFlightNone // or the deadline of the halt has passed
)

// endStep is what a worker does next about the end of its run.
type endStep int

const (
	stepWait          endStep = iota
	stepHaltBlocked           // halt the run as blocked
	stepCheckInFlight         // find out what is in flight, then decide again
	stepConfirm               // from now on canaries are for the end of the run; decide again
	stepStartCanary           // confirm the no-records
	stepVoid                  // void the no-records
	stepEnd                   // end the run with the status and the reasons
)

// endDecision is a step with its arguments. givenUp says why no-records stay unconfirmed.
type endDecision struct {
	step            endStep
	status          contract.Status
	reason, givenUp string
}

// decideEnd returns what to do next about the end of a run.
func decideEnd(f endFacts) endDecision {
	if f.complete {
		status := contract.Completed
		if f.safeStop != "" {
			status = contract.SafeStop
		}
		// A run that was stopped or blocked leaves its unconfirmed no-records to its next round.
		if f.halt == nil || f.halt.Status == contract.SafeStop || f.unconfirmed < f.confirmThreshold(f.safeStop) {
			return f.confirmed(status, f.safeStop)
		}
	}
	switch halt := f.halt; {
	case f.vanished != "" && !f.haltWritten:
		return endDecision{step: stepHaltBlocked, reason: f.block}
	case halt == nil, f.inFlight == inFlightUnknown && !f.haltDue, f.inFlight == inFlightSome:
		return endDecision{}
	case f.inFlight == inFlightUnknown:
		return endDecision{step: stepCheckInFlight}
	case f.vanished != "":
		return endDecision{step: stepEnd, status: contract.Blocked, reason: f.vanished}
	case halt.Status == contract.Blocked && f.noRecordStreak >= minUnconfirmed && !f.pending:
		return endDecision{step: stepVoid}
	case halt.Status == contract.Errored: // a canary cannot repair an unreadable key
		return endDecision{step: stepEnd, status: contract.Errored, reason: halt.Reason}
	default:
		return f.confirmed(halt.Status, halt.Reason)
	}
}

// confirmed ends a run, once its no-records are confirmed if it cannot be resumed.
func (f endFacts) confirmed(status contract.Status, reason string) endDecision {
	end := endDecision{step: stepEnd, status: status, reason: reason, givenUp: f.canary.givenUpReason}
	switch blocked := f.canary.blocked; {
	case status.Resumable():
		return end
	case f.pending:
		return endDecision{}
	case f.unconfirmed < f.confirmThreshold(reason), f.canary.givenUp:
		return end
	case !f.canary.ending:
		return endDecision{step: stepConfirm}
	case f.paused:
		return endDecision{}
	case !f.busy:
		return endDecision{step: stepStartCanary}
	case blocked == "":
		return endDecision{}
	case f.noRecordStreak >= minUnconfirmed:
		return endDecision{step: stepVoid}
	default: // they stay unconfirmed until the site accepts requests again
		return endDecision{step: stepEnd, status: contract.Blocked, reason: blocked}
	}
}

// confirmThreshold is how many unconfirmed no-records make a canary due before a run ends for this
// reason; the reason is empty for a complete run.
func (f endFacts) confirmThreshold(reason string) int {
	if reason == "" || f.isStretch(reason) {
		return 1
	}
	return minUnconfirmed
}

// endIfDue decides and acts until the run has ended or something has to happen first. It reports
// whether the run has ended.
func (w *worker) endIfDue(ctx context.Context) (bool, error) {
	known := inFlightUnknown
	for {
		var err error
		switch d := decideEnd(w.endFacts(known)); d.step {
		case stepWait:
			return false, nil
		case stepHaltBlocked:
			err = w.haltRun(ctx, contract.Blocked, d.reason)
		case stepCheckInFlight:
			w.haltCheckedAt = time.Now()
			known, err = w.findInFlight(ctx)
		case stepConfirm:
			w.canary.ending, w.canary.unanswered, w.canary.retryAt, w.canary.blocked = true, 0, time.Time{}, ""
		case stepStartCanary:
			return false, w.startCanary(ctx)
		case stepVoid:
			return false, w.publishVoid(ctx)
		case stepEnd:
			return w.endWith(ctx, d)
		}
		if err != nil {
			return false, err
		}
	}
}

// endWith writes what was folded and ends the run. It returns false with an error that came before the end.
func (w *worker) endWith(ctx context.Context, d endDecision) (bool, error) {
	if err := w.write(ctx); err != nil {
		return false, err
	}
	if d.status == contract.SafeStop {
		var err error
		if d.reason, err = w.explainSafeStop(ctx, d.reason); err != nil {
			return false, err
		}
	}
	return true, w.verifyAndEnd(ctx, d.status, joinReasons(d.reason, d.givenUp))
}

func (w *worker) endFacts(known inFlight) endFacts {
	f := endFacts{
		complete: w.tally.Complete(), unconfirmed: w.tally.UnconfirmedCount(), noRecordStreak: w.tally.NoRecordStreak,
		halt: w.halt, haltWritten: w.haltWritten, haltDue: time.Since(w.haltCheckedAt) >= haltInterval,
		inFlight: known, canary: w.canary, paused: w.paused(), pending: w.canaryPending(), busy: w.canaryBusy(),
		isStretch: func(reason string) bool {
			_, found := w.noRecordStretch(reason)
			return found
		},
	}
	if w.tally.Planned != nil && w.tally.Planned.Jobs > 0 { // a run without jobs cannot be stopped
		f.safeStop = w.tally.SafeStop
	}
	if w.tally.Vanished != nil {
		f.block = w.blockReason()
		f.vanished = w.tally.VanishedReason(f.block)
	}
	return f
}

// paused reports whether a pause forbids canaries. A stop of a paused run lets the run end.
func (w *worker) paused() bool { return w.control.Paused && (w.halt == nil || w.halt.Command == 0) }

// blockReason returns the reason of the block that ends the run. The run's halt may have another
// cause.
func (w *worker) blockReason() string {
	switch {
	case w.halt != nil && w.halt.Status == contract.Blocked:
		return w.halt.Reason
	case w.canary.blocked != "":
		return w.canary.blocked
	default:
		return w.tally.BlockReason()
	}
}

func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(reason string) bool { return reason == "" }), "; ")
}

// deadlineOf returns when a halted run stops waiting for what is in flight, by the monotonic clock.
func (w *worker) deadlineOf(halt contract.Halt) time.Time {
	end := halt.At.Add(w.FinalTimeout)
	if !halt.Deadline.IsZero() {
		end = halt.Deadline.Add(deadlineGrace)
	}
	return delay.Until(w.Now(), end, end.Sub(halt.At))
}

// findInFlight finds out whether anything of a halted run is in flight. After the deadline nothing
// counts. The order of the checks matters: an
// answer is stored before its fetcher deletes its presence, and its outcome is in the ledger before
// the answer is deleted.
func (w *worker) findInFlight(ctx context.Context) (inFlight, error) {
	if !w.Now().Before(w.deadline) {
		return inFlightNone, nil
	}
	run := w.manifest.RunID
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{run.FetcherKey("*")}}
	alive := false
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if w.fetcherRenewals.Expired(entry.Key(), entry.Revision()) {
			return nil
		}
		alive = true
		return bus.ErrStop
	})
	switch {
	case err != nil:
		return inFlightUnknown, fmt.Errorf("listing the fetchers of %s: %w", run, err)
	case alive:
		return inFlightSome, nil
	}
	answers, err := w.Bus.Subjects(ctx, contract.StreamAnswers, run.AnswerFilter())
	if err != nil || len(answers) > 0 {
		return inFlightSome, err
	}
	last, err := w.ledger.Last(ctx)
	if err != nil || w.tally.Sequence < last {
		return inFlightSome, err
	}
	return inFlightNone, nil
}

// setSettings sets the effective settings of the run in its summary, and the commands that changed
// them. The settings are those of the process that planned the run, except that settings of requests
// are those of the fetchers that sent them, and what was tuned is as it was set last. If fetchers
// differ, a setting is the list of their values.
func (w *worker) setSettings(ctx context.Context, s *files.Summary) error {
	control, err := runs.ReadControl(ctx, w.runs, w.manifest.RunID)
	if err != nil {
		return err
	}
	all, err := w.fetcherSettings(ctx)
	if err != nil {
		return err
	}
	if tuned := control.Settings(config.FormatDuration); len(tuned) > 0 {
		if all == nil {
			all = make(map[string]any)
		}
		maps.Copy(all, tuned)
	}
	s.Config, s.Changes = all, control.Changes
	return nil
}

// fetcherSettings returns the settings of the process that planned the run, with those of the
// fetchers.
func (w *worker) fetcherSettings(ctx context.Context) (map[string]any, error) {
	all := maps.Clone(w.manifest.Config)
	values := make(map[string][]any)
	keys := bus.Keys{Bucket: contract.BucketHeld, Filters: []string{w.manifest.RunID.FetcherKey("*")}}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		held, err := runs.Decode[contract.InFlightRecord](entry.Key(), entry.Value())
		if err != nil { // of a newer version, or damaged: ignored, as the fetchers do
			return nil
		}
		for key, value := range held.Settings {
			if !slices.ContainsFunc(values[key], func(v any) bool { return reflect.DeepEqual(v, value) }) {
				values[key] = append(values[key], value)
			}
		}
		return nil
	})
	for key, each := range values {
		if all == nil {
			all = make(map[string]any)
		}
		if all[key] = any(each); len(each) == 1 {
			all[key] = each[0]
		}
	}
	return all, err
}

// verifyAndEnd verifies the run, writes its files and stores its end.
func (w *worker) verifyAndEnd(ctx context.Context, status contract.Status, reason string) error {
	// The bound may have been found since this worker started.
	var err error
	if w.manifest, err = runs.Manifest(ctx, w.runs, w.manifest.RunID); err != nil {
		return err
	}
	collected, err := w.verify(ctx, w.tally.Sequence)
	if err != nil {
		return err
	}
	if err := w.deleteUnconfirmedKeys(ctx, collected); err != nil {
		return err
	}
	if state, err := w.state(ctx); err != nil || state.Status != contract.Running {
		return err // another reporter has ended the run: one report is enough
	}
	if status == contract.Completed && w.manifest.Bound != nil {
		reason = joinReasons(emptyRangeReason(w.manifest), reason)
	}
	s := w.summary(status, reason, collected)
	if err := w.setSettings(ctx, &s); err != nil {
		return err
	}
	report := s.Report()
	var next int
	report.Remaining, next = countRemaining(w.manifest, w.tally.Outcomes, collected)
	report.NextCommand = w.nextCommand(status, next)
	file, err := files.WriteSummary(w.Store.WithFence(w.lease.check), s, report, next, nil)
	if err != nil {
		return err
	}
	return w.closeRun(ctx, report, file)
}

// emptyRangeReason returns the reason for an empty range, which starts above the bound; it is empty
// for any other range.
func emptyRangeReason(m contract.Manifest) string {
	start := m.Range.Start
	if m.Bound.Number >= start || start == 1 {
		return ""
	}
	known := "numbers below it were not requested"
	if m.Bound.Number > 0 {
		known = fmt.Sprintf("the highest record known is number %d", m.Bound.Number)
	}
	return fmt.Sprintf("start %d lies above the upper bound: no number from there on was found to exist; %s",
		start, known)
}

// summary returns what the report of the run is made of. collected are the collected numbers of its
// series and year; nil if they could not be read.
func (w *worker) summary(
	status contract.Status, reason string, collected verify.Keys,
) files.Summary {
	s := files.Summary{
		Manifest: w.manifest, Tally: &w.tally, Status: status, Reason: reason,
		Finished: w.Now(), Elapsed: w.stopwatch.elapsed(), Version: w.Version, Details: &w.details, Planned: w.planned(),
		SkippedNumber: func(number int) bool {
			if collected == nil {
				return w.collectedElsewhere.Get(number) != ""
			}
			return collected.Skipped(number)
		},
	}
	for number := range w.manifest.Numbers() {
		if number > w.tally.Outcomes.Highest() {
			break
		}
		if w.tally.Outcomes.Get(number) == "" && w.collectedElsewhere.Get(number) != "" {
			s.Skipped++
		}
	}
	return s
}

// cleanupTimeout bounds the cleanup after a run.
const cleanupTimeout = 5 * time.Second

// closeRun makes the run's state final, clears its jobs when it cannot be resumed, and publishes and
// logs the end.
func (w *worker) closeRun(ctx context.Context, report contract.Report, file string) error {
	run := w.manifest.RunID
	final, err := w.writeFinalState(ctx, report, file)
	if err != nil || !final {
		return err
	}
	// The end is public now, and a process that waited for it may stop this service: the rest is
	// still done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if !report.Status.Resumable() && !w.resumableSearch(report) || w.tally.Vanished != nil {
		if err := w.clearJobs(ctx); err != nil {
			// The run has ended all the same; leftover jobs use space and do no harm.
			w.Logger.Warn("reporter.run.clear", "run_id", run, "error", err)
		}
	}
	w.publishEvent(ctx, "finished", w.newEvent(report.Status, &report))
	if report.TooManyHeaderOnly() {
		w.Logger.Warn("batch.run.flagged", "run_id", run, "flag", contract.FlagHeaderOnly,
			"records", report.Flags[contract.FlagHeaderOnly], "of", report.SuccessCount)
	}
	w.Logger.Info("batch.run.end", "run_id", run, "outcome", report.Status, "reason", report.Reason,
		"total", report.Total, "succeeded", report.Succeeded, "no_record", report.NoRecord, "failed", report.Failed,
		"beyond", report.Beyond, "duration_seconds", report.DurationSeconds)
	return nil
}

// resumableSearch reports whether the run can be resumed although it was safe-stopped: its search
// could not finish, and no number failed.
func (w *worker) resumableSearch(report contract.Report) bool {
	return w.manifest.Searching() && report.Status == contract.SafeStop && report.Failed == 0
}

// writeFinalState ends the run. It returns false when another component has ended it already.
func (w *worker) writeFinalState(ctx context.Context, report contract.Report, file string) (bool, error) {
	key := w.manifest.RunID.StateKey()
	return runs.Update(ctx, w.runs, key, func(state contract.State, err error) (contract.State, bool, error) {
		if err != nil {
			return state, false, fmt.Errorf("reading %s: %w", key, err)
		}
		if state.Status != contract.Running {
			return state, false, nil
		}
		state.Status, state.Reason, state.At = report.Status, report.Reason, w.Now().UTC()
		state.Report, state.File, state.ElapsedSeconds = &report, file, report.DurationSeconds
		// A new run requests the voided numbers: the jobs of this one, and perhaps its bound, rest
		// on false answers.
		state.Superseded = w.tally.Vanished != nil
		state.SearchUnfinished = w.resumableSearch(report)
		return state, true, nil
	})
}

// state reads the run's state.
func (w *worker) state(ctx context.Context) (contract.State, error) {
	return runs.Get[contract.State](ctx, w.runs, w.manifest.RunID.StateKey())
}

// clearJobs deletes the run's jobs and the consumer that its fetchers shared.
func (w *worker) clearJobs(ctx context.Context) error {
	run := w.manifest.RunID
	jobs, err := w.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.Purge(ctx, jetstream.WithPurgeSubject(run.JobFilter())); err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.DeleteConsumer(ctx, run.ConsumerName()); err != nil &&
		!errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	return nil
}

// fail ends the run with the status error. It also writes the summary, as far as the folder
// permits.
func (w *worker) fail(ctx context.Context, cause error) error {
	writable := !errors.Is(cause, store.ErrNotWritable)
	if writable {
		w.details = w.readDetails(ctx)
	}
	s := w.summary(contract.Errored, strings.TrimSpace(cause.Error()), nil)
	if err := w.setSettings(ctx, &s); err != nil {
		w.Logger.Warn("reporter.settings.unread", "run_id", w.manifest.RunID, "error", err)
	}
	report := s.Report()
	file := ""
	if writable {
		var next int
		var err error
		report.Remaining, next = countRemaining(w.manifest, w.tally.Outcomes, nil)
		if file, err = files.WriteSummary(w.Store, s, report, next, nil); err != nil {
			return errors.Join(err, w.closeRun(ctx, report, ""))
		}
	}
	return w.closeRun(ctx, report, file)
}

// readDetails returns the details of the run, as far as the ledger can be read. A run that ends by
// an error may not have verified it.
func (w *worker) readDetails(ctx context.Context) (details files.Details) {
	err := w.ledger.ReadTo(ctx, w.tally.Sequence, func(m ledger.Message) error {
		defer m.Release()
		details.Add(w.manifest, m)
		return nil
	})
	if err != nil {
		w.Logger.Warn("reporter.audit.incomplete", "run_id", w.manifest.RunID, "error", err)
	}
	return details
}

// nextCommand returns the command that continues a run that ended early; empty when there is
// nothing left. next is the lowest remaining number. After a stop for no-records it is a new batch
// that starts there: the same batch would count the same no-records again.
func (w *worker) nextCommand(status contract.Status, next int) string {
	from := 0
	switch {
	case status == contract.Completed || status == contract.Errored:
		return ""
	case status == contract.SafeStop && next > w.manifest.Range.End:
		return ""
	case status == contract.SafeStop && (w.manifest.SafeStopFails == 0 ||
		w.tally.FailStreak < w.manifest.SafeStopFails):
		from = next
	}
	if w.Command != nil {
		return w.Command(from)
	}
	return startCommand(w.manifest, from, w.tally.Vanished != nil)
}

// startCommand returns the command that starts a run's batch over NATS, at number from unless that
// is 0. A list has no number to start at: its no-records must not stop it again. A superseded run,
// or another start, needs another run id.
func startCommand(m contract.Manifest, from int, superseded bool) string {
	spec := make(map[string]any)
	// A manifest of an early version has no command: the spec then has only what the manifest has.
	_ = json.Unmarshal(m.Command, &spec)
	spec["prefix"], spec["year"] = m.Prefix, m.Year
	if from > 0 || superseded {
		delete(spec, "run_id")
	}
	switch {
	case !m.IDs.IsZero():
		spec[contract.FieldIDs] = m.IDs
		if from > 0 {
			delete(spec, "safe_stop_consecutive_no_record")
			spec["safe_stop_no_records"] = 0
		}
	case from > 0:
		number := func(key string, otherwise float64) float64 {
			for _, settings := range []map[string]any{spec, m.Config} {
				if n, given := settings[key].(float64); given {
					return n
				}
			}
			return otherwise
		}
		if most := number("max_cases", 0); most > 0 {
			spec["max_cases"] = most - float64(from) + number("start", 1)
		}
		spec["start"] = from
	}
	body, err := json.Marshal(spec)
	if err != nil { // cannot happen: the spec has only JSON values
		return ""
	}
	return "nats pub batch.start " + sanitize.Quote(string(body))
}

// countRemaining counts the numbers of the run that have no outcome, and returns the lowest one;
// End+1 when there is none. During a search the range may still become shorter.
func countRemaining(
	manifest contract.Manifest, outcomes fold.Outcomes, collected verify.Keys,
) (count, next int) {
	next = manifest.Range.End + 1
	for number := range manifest.Numbers() {
		if outcomes.Get(number) == "" && !collected.Skipped(number) {
			count, next = count+1, min(next, number)
		}
	}
	return count, next
}

// outcomeOf returns the outcome of a number as the safe stop counts it: this run's, or that of the
// run which collected the number before.
func (w *worker) outcomeOf(number int) contract.Outcome {
	if own := w.tally.Outcomes.Get(number); own != "" {
		return own
	}
	return w.collectedElsewhere.Get(number)
}

// safeStop halts the run when a limit of the manifest is reached. The first halt of a run counts,
// whichever component wrote it.
func (w *worker) safeStop(ctx context.Context) error {
	if err := w.countStreak(ctx); err != nil {
		return err
	}
	if w.tally.SafeStop == "" {
		return nil
	}
	return w.haltRun(ctx, contract.SafeStop, w.tally.SafeStop)
}

// stopAtLimit halts the run when its round has reached max_duration or max_requests. The fetchers also
// count their own requests, which are folded later.
func (w *worker) stopAtLimit(ctx context.Context) error {
	reason := w.manifest.LimitReached(w.stopwatch.elapsed()-seconds(w.before.Seconds), w.tally.Requests-w.before.Requests)
	if reason == "" || w.halt != nil {
		return nil
	}
	return w.haltRun(ctx, contract.Stopped, reason)
}

// haltRun halts the run, once.
func (w *worker) haltRun(ctx context.Context, status contract.Status, reason string) error {
	if w.haltWritten {
		return nil
	}
	err := runs.Halt(ctx, w.runs, w.manifest.RunID, contract.Halt{Status: status, Reason: reason, At: w.Now().UTC()})
	w.haltWritten = err == nil
	return err
}

// countStreak continues the streak of no-records in number order. It starts when the range is
// known: a search requests numbers above the bound, and those stop nothing.
func (w *worker) countStreak(ctx context.Context) error {
	if w.manifest.Searching() {
		var err error
		if w.manifest, err = runs.Manifest(ctx, w.runs, w.manifest.RunID); err != nil || w.manifest.Searching() {
			return err
		}
	}
	if stretch, found := w.streak.Walk(w.manifest, w.outcomeOf); found && w.tally.SafeStop == "" {
		w.tally.SafeStop = fold.NoRecordsReason(w.manifest, stretch)
	}
	return nil
}

// readOverlapKeys checks whether the number at which the streak waits was collected by an
// overlapping run: the generator then skipped it after this worker had read the keys.
func (w *worker) readOverlapKeys(ctx context.Context) error {
	for w.manifest.SafeStopNoRecords > 0 && w.streak.Next <= min(w.manifest.Range.End, w.tally.Outcomes.Highest()) {
		entry, err := w.collected.Get(ctx, w.manifest.Case(w.streak.Next).Key())
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		var value contract.Collected
		if err == nil {
			value, err = runs.Decode[contract.Collected](entry.Key(), entry.Value())
		}
		if err != nil {
			return fmt.Errorf("reading the key of %s: %w", w.manifest.Case(w.streak.Next), err)
		}
		before := w.streak.Next
		w.addCollectedElsewhere(before, value)
		if err := w.safeStop(ctx); err != nil {
			return err
		}
		if w.streak.Next == before {
			return nil
		}
	}
	return nil
}

// noRecordStretch returns the stretch of no-records that a reason names; false when it is another
// reason.
func (w *worker) noRecordStretch(reason string) (contract.Range, bool) {
	stretch, found := new(fold.Streak).Walk(w.manifest, w.outcomeOf)
	return stretch, found && fold.NoRecordsReason(w.manifest, stretch) == reason
}

// explainSafeStop returns the reason of a safe stop for the report. When any run has collected a
// record above the stretch of no-records, the reason names it and the option that continues after
// the stretch.
func (w *worker) explainSafeStop(ctx context.Context, reason string) (string, error) {
	stretch, found := w.noRecordStretch(reason)
	if !found {
		return reason, nil // another limit stopped it
	}
	lowest := 0
	err := w.eachKey(ctx, contract.BucketCollected, func(number int, value contract.Collected) {
		if value.Outcome == contract.Success && number > stretch.End && (lowest == 0 || number < lowest) {
			lowest = number
		}
	})
	if err != nil || lowest == 0 {
		return reason, err
	}
	option := fmt.Sprintf("--start %d", stretch.End+1)
	if !w.manifest.IDs.IsZero() {
		option = "--safe-stop-no-records 0"
	}
	return fmt.Sprintf("%s; a record is known above it: %s; go on with %s", reason, w.manifest.Case(lowest), option),
		nil
}
