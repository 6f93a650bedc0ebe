// Package explain collects everything that is stored about one number: the runs that had a job for
// it, their attempts, its files and keys, and the blocks that it met.
package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// Explain returns the history of a number. It changes nothing. exists reports whether a file exists
// in the output folder, by its name relative to that folder. A ledger that cannot be decoded is
// ledger.ErrMismatch.
func Explain(ctx context.Context, b *bus.Bus, id contract.CaseID, exists func(name string) bool) (History, error) {
	e := explainer{bus: b, exists: exists, history: History{
		CaseID: id, Runs: []RunHistory{}, LeftOutBy: []contract.RunID{}, Blocks: []SiteBlock{},
	}}
	for _, step := range []func(context.Context) error{e.open, e.readKeys, e.readRuns, e.readBlocks} {
		if err := step(ctx); err != nil {
			return History{}, fmt.Errorf("explaining %s: %w", id, err)
		}
	}
	e.findRecord()
	return e.history, nil
}

// explainer collects a number's history.
type explainer struct {
	bus     *bus.Bus
	exists  func(name string) bool
	history History

	runs, collected, failed jetstream.KeyValue
}

func (e *explainer) open(ctx context.Context) (err error) {
	for name, bucket := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &e.runs, contract.BucketCollected: &e.collected, contract.BucketFailed: &e.failed,
	} {
		if *bucket, err = e.bus.KV(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (e *explainer) readKeys(ctx context.Context) error {
	var err error
	if e.history.Collected, err = valueOf[contract.Collected](ctx, e.collected, e.history.CaseID.Key()); err != nil {
		return err
	}
	e.history.Failed, err = valueOf[contract.Collected](ctx, e.failed, e.history.CaseID.Key())
	return err
}

// valueOf returns the value of a key; nil when there is none.
func valueOf[T any](ctx context.Context, kv jetstream.KeyValue, key string) (*T, error) {
	value, err := runs.Get[T](ctx, kv, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

// readRuns reads what each run of the number's series and year did for the number.
func (e *explainer) readRuns(ctx context.Context) error {
	manifests, err := e.manifests(ctx)
	if err != nil {
		return err
	}
	for _, manifest := range manifests {
		if err := e.readRun(ctx, manifest); err != nil {
			return fmt.Errorf("reading run %s: %w", manifest.RunID, err)
		}
	}
	e.history.Asked = len(e.history.Runs) > 0
	return nil
}

// manifests returns the runs of the number's series and year, the oldest first.
func (e *explainer) manifests(ctx context.Context) ([]contract.Manifest, error) {
	found, err := runs.Manifests(ctx, e.bus)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(m contract.Manifest) bool {
		return m.Case(e.history.CaseID.Number) != e.history.CaseID
	})
	slices.SortFunc(found, func(a, b contract.Manifest) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.RunID, b.RunID))
	})
	return found, nil
}

// readBlocks reads the blocks of sites that this number caused, or because of which it is pending.
func (e *explainer) readBlocks(ctx context.Context) error {
	waiting := make(map[string]bool)
	for _, run := range e.history.Runs {
		waiting[run.Site] = waiting[run.Site] || run.Outcome == ""
	}
	keys := bus.Keys{Bucket: contract.BucketSites, Filters: []string{contract.BlockKey("*")}}
	err := e.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		block, err := runs.Decode[contract.SiteBlock](entry.Key(), entry.Value())
		if err != nil {
			return nil
		}
		site, _, _ := strings.Cut(entry.Key(), ".")
		if block.CaseID == e.history.CaseID || waiting[site] {
			e.history.Blocks = append(e.history.Blocks, SiteBlock{Site: site, SiteBlock: block})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the blocks of sites: %w", err)
	}
	slices.SortFunc(e.history.Blocks, func(a, b SiteBlock) int { return a.At.Compare(b.At) })
	return nil
}

// findRecord sets where the record is stored, if a run ever collected one.
func (e *explainer) findRecord() {
	brought := e.history.Collected != nil && e.history.Collected.Outcome == contract.Success
	for _, run := range e.history.Runs {
		brought = brought || run.Outcome == contract.Success
	}
	if brought {
		file := e.storedFile(files.CaseName(e.history.CaseID))
		e.history.Record = &file
	}
}

func (e *explainer) storedFile(name string) StoredFile {
	return StoredFile{Path: name, There: e.exists(name)}
}

// readRun reads what one run did for the number, and adds it to the history unless that was
// nothing.
func (e *explainer) readRun(ctx context.Context, m contract.Manifest) error {
	run := RunHistory{
		RunID: m.RunID, Site: m.Site, Range: m.Range, Listed: m.IDs.Size(), MaxAttempts: m.MaxRetries + 1,
		Attempts: []AttemptHistory{},
		Stops:    []Stop{},
	}
	if err := e.readAttempts(ctx, m, &run); err != nil {
		return err
	}
	planned, err := e.readJob(ctx, m.RunID, &run)
	if err != nil {
		return err
	}
	if !planned && len(run.Attempts) == 0 {
		if had, err := e.hadJob(ctx, m); err != nil || !had {
			return err
		}
	}
	if err := e.readStates(ctx, &run); err != nil {
		return err
	}
	e.history.Runs = append(e.history.Runs, run)
	return nil
}

// readAttempts reads the number's entries in the ledger, then its answers that are not in the
// ledger yet.
func (e *explainer) readAttempts(ctx context.Context, m contract.Manifest, run *RunHistory) error {
	number, fold := e.history.CaseID.Number, fold.Tally{}
	reader, block := ledger.Reader{Bus: e.bus, Manifest: m}, contract.Chunk(number)
	err := e.eachMessage(ctx, contract.StreamOutcomes, m.RunID.OutcomeSubject(block), func(msg bus.Message) error {
		decoded, err := reader.Decode(msg)
		if err != nil {
			return err
		}
		for _, entry := range decoded.Entries {
			if entry.CaseID.Number == number {
				_, counts := fold.AddEntry(entry, 0)
				run.Attempts = append(run.Attempts, e.newAttempt(m, entry, counts))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	run.Outcome = fold.Outcomes.Get(number)
	return e.eachMessage(ctx, contract.StreamAnswers, m.RunID.AnswerSubject(block), func(msg bus.Message) error {
		pack, err := ledger.Decode[contract.AnswerPack](msg.Data)
		if err != nil {
			return fmt.Errorf("message %d on %s: %w", msg.Sequence, msg.Subject, err)
		}
		for _, answer := range pack.Answers {
			if answer.CaseID == e.history.CaseID && !inLedger(run.Attempts, answer) {
				run.Attempts = append(run.Attempts, e.newAttempt(m, unclassified(answer), true))
			}
		}
		return nil
	})
}

// eachMessage calls take for each message on a chunk's subject that may hold the number, in stream
// order. The header lists the numbers of a message, so that other messages are not decoded.
func (e *explainer) eachMessage(ctx context.Context, stream, subject string, take func(bus.Message) error) error {
	about := func(s ledger.AttemptState) bool { return s.Number == e.history.CaseID.Number }
	_, err := ledger.EachMessage(ctx, e.bus, stream, subject, 1, func(msg bus.Message) error {
		states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
		if err == nil && len(states) > 0 && !slices.ContainsFunc(states, about) {
			return nil
		}
		return take(msg)
	})
	return err
}

// unclassified returns an entry for an answer that is not classified yet.
func unclassified(a contract.Answer) contract.Entry {
	entry := contract.Entry{CaseID: a.CaseID, Attempt: a.Attempt, PlannedAt: a.PlannedAt, Requests: a.Exchanges}
	if len(a.Exchanges) > 0 {
		entry.StartedAt = a.Exchanges[0].StartedAt
	}
	return entry
}

// inLedger reports whether the ledger has an entry for the answer: an answer stays in its stream
// until the classifier has acknowledged it.
func inLedger(attempts []AttemptHistory, a contract.Answer) bool {
	this := unclassified(a)
	return slices.ContainsFunc(attempts, func(l AttemptHistory) bool {
		return l.Attempt == this.Attempt && l.StartedAt.Equal(this.StartedAt)
	})
}

func (e *explainer) newAttempt(m contract.Manifest, entry contract.Entry, counts bool) AttemptHistory {
	a := AttemptHistory{Entry: entry, Counts: counts, RawFiles: []StoredFile{}}
	if !entry.RetryAt.IsZero() {
		a.WaitSeconds = max(0, entry.RetryAt.Sub(a.EndedAt()).Seconds())
	}
	for _, file := range files.RawFiles(m.RunID, entry, m.PersistRawHTML) {
		a.RawFiles = append(a.RawFiles, e.storedFile(file.Name))
	}
	return a
}

// readJob reports whether the run's job for the number exists, and sets when it was stored.
func (e *explainer) readJob(ctx context.Context, id contract.RunID, run *RunHistory) (there bool, err error) {
	jobs, err := streams.OpenStream(ctx, e.bus.JetStream(), contract.StreamJobs)
	if err != nil {
		return false, fmt.Errorf("reading the job: %w", err)
	}
	job, err := jobs.GetLastMsgForSubject(ctx, id.JobSubject(e.history.CaseID.Number))
	if err == nil {
		run.PlannedAt = job.Time.UTC()
		return true, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, fmt.Errorf("reading the job: %w", err)
	}
	for _, attempt := range run.Attempts {
		if run.PlannedAt.IsZero() {
			run.PlannedAt = attempt.PlannedAt
		}
	}
	return false, nil
}

// hadJob reports whether a run without messages of the number had a job for it: the run ended
// before the job's turn, and its jobs were deleted. A run that skipped the number because it was
// collected is added to the history.
func (e *explainer) hadJob(ctx context.Context, m contract.Manifest) (bool, error) {
	if !m.Selects(e.history.CaseID.Number) || m.Searching() {
		return false, nil
	}
	planned, err := e.bus.GetLast(ctx, contract.StreamOutcomes, m.RunID.PlannedSubject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil // it is unknown how far the planning came
	}
	if err != nil {
		return false, fmt.Errorf("reading whether all jobs were stored: %w", err)
	}
	if e.collectedBefore(planned.StoredAt) {
		e.history.LeftOutBy = append(e.history.LeftOutBy, m.RunID)
		return false, nil
	}
	return true, nil
}

// collectedBefore reports whether the number was collected before a time. Runs are read in
// chronological order.
func (e *explainer) collectedBefore(at time.Time) bool {
	if e.history.Collected != nil && e.history.Collected.At.Before(at) {
		return true
	}
	return slices.ContainsFunc(e.history.Runs, func(run RunHistory) bool {
		outcomeAt, hasOutcome := run.outcomeAt()
		return hasOutcome && run.Outcome != contract.Failed && outcomeAt.Before(at)
	})
}

// readStates reads the run's state, and which of its ends came while the number was pending.
func (e *explainer) readStates(ctx context.Context, run *RunHistory) error {
	history, err := e.runs.History(ctx, run.RunID.StateKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the states of the run: %w", err)
	}
	outcomeAt, hasOutcome := run.outcomeAt()
	for _, entry := range history {
		if entry.Operation() != jetstream.KeyValuePut {
			continue
		}
		state, err := runs.Decode[contract.State](entry.Key(), entry.Value())
		if err != nil {
			continue // this state is unknown; those before and after it are not
		}
		run.Status, run.Reason = state.Status, state.Reason
		if state.Status != contract.Running && state.At.After(run.PlannedAt) &&
			(!hasOutcome || state.At.Before(outcomeAt)) {
			stop := Stop{Status: state.Status, Reason: state.Reason, At: state.At.UTC()}
			if !slices.Contains(run.Stops, stop) { // a rewritten state is not a new one
				run.Stops = append(run.Stops, stop)
			}
		}
	}
	return nil
}

// History is everything that is stored about one number, over all runs.
type History struct {
	CaseID contract.CaseID `json:"case_id"`
	// Asked is true if a job for the number was ever planned.
	Asked bool `json:"asked"`
	// Collected is the key that makes runs skip the number, Failed the one that makes the next run
	// fetch it first; nil when there is no such key.
	Collected *contract.Collected `json:"collected"`
	Failed    *contract.Collected `json:"failed"`
	// Record is the file of its record; nil when no run has collected one.
	Record *StoredFile `json:"record"`
	// Runs are the runs that had a job for it, the oldest first.
	Runs []RunHistory `json:"runs"`
	// LeftOutBy are the runs that skipped the number, although it is in their range, because it was
	// collected.
	LeftOutBy []contract.RunID `json:"left_out_by"`
	// Blocks are the current or last blocks of sites that the number met or caused.
	Blocks []SiteBlock `json:"blocks"`
}

// StoredFile is a file of the output folder.
type StoredFile struct {
	// Path is relative to the output folder, with slashes.
	Path string `json:"path"`
	// There is true if the file exists now.
	There bool `json:"there"`
}

// SiteBlock is a block and its site.
type SiteBlock struct {
	Site string `json:"site"`
	contract.SiteBlock
}

// RunHistory is what one run did for the number.
type RunHistory struct {
	RunID contract.RunID `json:"run_id"`
	Site  string         `json:"site"`
	Range contract.Range `json:"range"`
	// Listed is how many numbers of Range the run has; 0 for one without a list, which has all.
	Listed int `json:"listed,omitempty"`
	// Status and Reason are the run's current state.
	Status contract.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
	// MaxAttempts is how many attempts a job of the run has.
	MaxAttempts int `json:"max_attempts"`
	// PlannedAt is when the job was stored; zero when that is no longer known.
	PlannedAt time.Time `json:"planned_at,omitzero"`
	// Attempts are in the order of the ledger.
	Attempts []AttemptHistory `json:"attempts"`
	// Outcome is the number's outcome in this run; empty while it is pending.
	Outcome contract.Outcome `json:"outcome,omitempty"`
	// Stops are the ends of the run's rounds while the number was pending. The server keeps the
	// last five states of a run, so that earlier stops may be missing.
	Stops []Stop `json:"stops"`
}

// Stop is the end of a round of a run.
type Stop struct {
	Status contract.Status `json:"status"`
	Reason string          `json:"reason,omitempty"`
	At     time.Time       `json:"at"`
}

// AttemptHistory is one attempt. Its verdict is empty while the answer waits for the classifier.
type AttemptHistory struct {
	contract.Entry
	// Counts is false for an entry that repeats an earlier one, or came after the outcome.
	Counts bool `json:"counts"`
	// WaitSeconds is the wait before the next attempt, from the end of the last request until
	// RetryAt.
	WaitSeconds float64 `json:"wait_seconds,omitempty"`
	// RawFiles are the stored raw answers.
	RawFiles []StoredFile `json:"raw_files"`
}

// outcomeAt is when the number got its outcome in this run; false while it is pending.
func (r RunHistory) outcomeAt() (time.Time, bool) {
	for _, attempt := range r.Attempts {
		if attempt.Counts && attempt.Outcome != "" {
			return attempt.EndedAt(), true
		}
	}
	return time.Time{}, false
}
