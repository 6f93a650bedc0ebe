package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// History is what the streams hold of the numbers of one chunk. What has happened to a job is read
// here and never from delivery counts: a crash or a restart raises or resets those. It is not safe
// for concurrent use.
type History struct {
	numbers map[int]numberState
}

// numberState is what is known about one number.
type numberState struct {
	outcome          contract.Outcome // the first one counts; empty while there is none
	sequence         uint64           // of the message that holds it
	storedAt         time.Time        // of that message
	answeredAttempt  int              // the highest attempt with an answer in the stream of answers
	answerSequence   uint64           // the sequence of the newest such answer
	transientAttempt int              // the highest attempt that the classifier found transient
	blockedAttempt   int              // the highest attempt whose answer was a block
	retryAt          time.Time
}

// NewHistory returns the empty history of a chunk.
func NewHistory() *History { return &History{numbers: make(map[int]numberState)} }

// Add adds the states that a message of answers or of the ledger holds; sequence is that of the
// message. Messages may come repeatedly and in any order.
func (h *History) Add(sequence uint64, states []ledger.AttemptState) {
	for _, s := range states {
		p := h.numbers[s.Number]
		switch {
		case s.Outcome != "":
			if p.outcome == "" || sequence < p.sequence {
				p.outcome, p.sequence, p.storedAt = s.Outcome, sequence, s.StoredAt
			}
		case s.Verdict == "":
			p.answeredAttempt, p.answerSequence = max(p.answeredAttempt, s.Attempt), max(p.answerSequence, sequence)
		case s.Verdict == contract.VerdictBlocked:
			p.blockedAttempt = max(p.blockedAttempt, s.Attempt)
		case s.Verdict == contract.VerdictTransient && s.Attempt > p.transientAttempt:
			p.transientAttempt, p.retryAt = s.Attempt, s.RetryAt
		}
		h.numbers[s.Number] = p
	}
}

// Pending returns the sequence of the newest answer of a number that is not known to be classified;
// 0 if there is none.
func (h *History) Pending(number int) uint64 {
	p := h.numbers[number]
	// The answer of a blocked attempt does not count.
	if p.outcome != "" || p.answeredAttempt <= p.transientAttempt || p.answeredAttempt == p.blockedAttempt {
		return 0
	}
	return p.answerSequence
}

// Answered returns the highest attempt of a number that has an answer, classified or not; 0 if
// none.
func (h *History) Answered(number int) int {
	p := h.numbers[number]
	return max(p.answeredAttempt, p.transientAttempt, p.blockedAttempt)
}

// Forget removes the pending answer of a number, which has left the stream.
func (h *History) Forget(number int) {
	p := h.numbers[number]
	p.answeredAttempt, p.answerSequence = 0, 0
	h.numbers[number] = p
}

// Step is what to do with a job now.
type Step struct {
	// Attempt is the attempt to make now, from 1; 0 if none is due.
	Attempt int
	// Outcome is what the number has in the ledger's message Sequence, stored at StoredAt; empty while
	// it is pending.
	Outcome  contract.Outcome
	Sequence uint64
	StoredAt time.Time
	// Wait is the time until the job must be checked again.
	Wait time.Duration
}

// recheckDelay is how long an answer may take to be classified before its job is checked again.
const recheckDelay = time.Second

// Next returns what to do with the job of a number at the time now. A blocked attempt does not
// count: the number stays pending and keeps its attempts.
func (h *History) Next(number int, now time.Time) Step {
	p := h.numbers[number]
	switch {
	case p.outcome != "":
		return Step{Outcome: p.outcome, Sequence: p.sequence, StoredAt: p.storedAt}
	case h.Pending(number) > 0:
		return Step{Wait: recheckDelay}
	case p.retryAt.After(now):
		return Step{Wait: p.retryAt.Sub(now)}
	default:
		return Step{Attempt: p.transientAttempt + 1}
	}
}

// runHistory is what the streams of answers and outcomes hold of one run. A chunk is read when a
// number of it is first needed.
type runHistory struct {
	bus *bus.Bus
	run contract.RunID
	// maxWait is the longest wait before a retry.
	maxWait time.Duration
	mu      sync.Mutex
	chunks  map[int]*chunkHistory
}

// historyOf returns the history of a run, with no chunk read yet.
func (s *Service) historyOf(run contract.RunID) *runHistory {
	return &runHistory{bus: s.Bus, run: run, maxWait: s.Backoff.Max, chunks: make(map[int]*chunkHistory)}
}

// chunkHistory is the history of one chunk, and the position up to which it was read.
type chunkHistory struct {
	mu      sync.Mutex
	read    bool
	epoch   uint64
	history *History
	// nextAnswer and nextOutcome are the sequences from which to continue reading.
	nextAnswer, nextOutcome uint64
}

// nextStep returns what to do with the job of a number. It reads the streams again if they may have
// changed without this process knowing: at the first use of the chunk, after a reconnect, and with
// reread, for a job that was delivered before.
func (h *runHistory) nextStep(ctx context.Context, number int, epoch uint64, reread bool) (Step, error) {
	c := h.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.read || reread || c.epoch != epoch {
		err := h.checkPending(ctx, c, number)
		if err == nil {
			err = h.readNew(ctx, c, contract.Chunk(number))
		}
		if err != nil {
			return Step{}, fmt.Errorf("reading the history of chunk %d: %w", contract.Chunk(number), err)
		}
		c.read, c.epoch = true, epoch
	}
	return c.history.Next(number, time.Now()), nil
}

// lastAnswered returns the highest attempt of a number that has an answer, as of the last nextStep.
func (h *runHistory) lastAnswered(number int) int {
	c := h.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.Answered(number)
}

func (h *runHistory) chunk(index int) *chunkHistory {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chunks[index] == nil {
		h.chunks[index] = &chunkHistory{history: NewHistory(), nextAnswer: 1, nextOutcome: 1}
	}
	return h.chunks[index]
}

// checkPending checks whether the pending answer of a number is still in the stream. One that has
// left it is either in the ledger, which is read after this, or was dropped: a refused copy or an
// unreadable message. The number must not wait for it then.
func (h *runHistory) checkPending(ctx context.Context, c *chunkHistory, number int) error {
	pending := c.history.Pending(number)
	if pending == 0 {
		return nil
	}
	_, err := h.bus.Get(ctx, contract.StreamAnswers, pending)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		c.history.Forget(number)
		c.nextAnswer = 1 // an older answer may exist
		return nil
	}
	return err
}

// readNew reads new messages, answers first: an answer leaves the answers only after its entry is
// in the ledger, so it is seen in at least one of the two.
func (h *runHistory) readNew(ctx context.Context, c *chunkHistory, index int) error {
	next, err := h.readSubject(ctx, contract.StreamAnswers, h.run.AnswerSubject(index), c.nextAnswer, c.history)
	if err != nil {
		return err
	}
	c.nextAnswer = next
	c.nextOutcome, err = h.readSubject(ctx, contract.StreamOutcomes, h.run.OutcomeSubject(index), c.nextOutcome,
		c.history)
	return err
}

// readSubject adds the messages of a subject from a sequence on and returns the sequence to
// continue from.
func (h *runHistory) readSubject(
	ctx context.Context, stream, subject string, from uint64, history *History,
) (uint64, error) {
	return ledger.EachMessage(ctx, h.bus, stream, subject, from, func(msg bus.Message) error {
		states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
		if err != nil {
			return fmt.Errorf("message %d of %s: %w", msg.Sequence, subject, err)
		}
		for i := range states {
			states[i].RetryAt, states[i].StoredAt = h.retryDue(states[i].RetryAt, msg.StoredAt), msg.StoredAt
		}
		history.Add(msg.Sequence, states)
		return nil
	})
}

// retryDue returns the time of a retry on the monotonic clock, so that a step of the wall clock
// does not move it. The wait is at most the one that was stored: setting the wall clock back
// afterwards, also while no process ran, does not prolong it.
func (h *runHistory) retryDue(retryAt, stored time.Time) time.Time {
	if retryAt.IsZero() {
		return retryAt
	}
	wait := retryAt.Sub(stored)
	if h.maxWait > 0 {
		wait = min(wait, h.maxWait)
	}
	return delay.Until(time.Now(), retryAt, wait)
}

const (
	// crashLimit is how many processes may die with a job in flight before the job has failed.
	crashLimit = 5
	// isolationThreshold is the number of crashes from which a job is attempted in isolation: each
	// process attempts one such job at a time. So jobs that were in flight next to the one that
	// kills the process are cleared before they reach crashLimit with it.
	isolationThreshold = 2
	// heldSubjectPrefix makes a key of the bucket held a subject.
	heldSubjectPrefix = "$KV." + contract.BucketHeld + "."
)

// inFlightRecord is the stored record of the attempts that this process has in flight in one run:
// one message that is overwritten. It is written before an attempt starts, once for all attempts
// that start together.
//
// A process that dies leaves its record behind: each attempt in it without an answer is a crash of
// its job. A process that returns a job removes its attempt, and one that is stopped empties the
// record. So neither a stop, nor a restart of the server, nor a slow heartbeat counts as a crash.
type inFlightRecord struct {
	bus              *bus.Bus
	bucket, fetchers jetstream.KeyValue
	key              string
	writes           *bus.GroupCommit[struct{}]

	mu sync.Mutex
	// own is this process's record, changes counts its changes, and storedChanges is how many of
	// them are stored.
	own                    contract.InFlightRecord
	changes, storedChanges uint64
	// unstored is how many attempts were added since the record was last encoded.
	unstored int
	// closedCause is why no further attempt may start; nil while attempts may.
	closedCause error
	// others are the records of the other processes, read at othersReadAt over the connection of
	// othersEpoch.
	others       []contract.InFlightRecord
	othersReadAt time.Time
	othersEpoch  uint64
}

// newInFlightRecord returns the empty record of this process in a run.
func (s *Service) newInFlightRecord(run contract.RunID) *inFlightRecord {
	r := &inFlightRecord{
		bus: s.Bus, bucket: s.held, fetchers: s.fetchers, key: run.FetcherKey(s.ID),
		own: contract.InFlightRecord{
			Version: contract.MessageVersion, RunID: run, Fetcher: s.ID, Process: s.Process, Settings: s.Settings,
			Attempts: make(map[int]int), Crashes: make(map[int]int),
		},
	}
	r.writes = bus.NewGroupCommit(0, func(struct{}) int { return 0 }, r.write)
	r.writes.Expect(func() int { return s.expected(s.limiter.Concurrency() - r.stored()) })
	return r
}

// add records that an attempt of a number starts; crashes is the count of crashes of its job. It
// returns when the record is stored.
func (r *inFlightRecord) add(ctx context.Context, number, attempt, crashes int) error {
	r.mu.Lock()
	if r.closedCause != nil {
		defer r.mu.Unlock()
		return r.closedCause
	}
	r.own.Attempts[number] = attempt
	r.changes++
	if crashes > 0 {
		r.own.Crashes[number] = crashes
	}
	r.unstored++
	r.mu.Unlock()
	return r.writes.Do(ctx, struct{}{})
}

// remove removes the attempt of a number. The change is stored with the next attempt that starts,
// or by flush: if the attempt was answered, the ledger shows that.
func (r *inFlightRecord) remove(number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, held := r.own.Attempts[number]; held {
		delete(r.own.Attempts, number)
		r.changes++
	}
}

// stored returns how many attempts in flight are in the stored record.
func (r *inFlightRecord) stored() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.own.Attempts) - r.unstored
}

func (r *inFlightRecord) flush(ctx context.Context) error {
	if _, _, changed := r.snapshot(); !changed {
		return nil
	}
	return r.writes.Do(ctx, struct{}{})
}

// close empties the record because this process is stopping: its attempts may be canceled at any
// time.
func (r *inFlightRecord) close(ctx context.Context, cause error) error {
	r.mu.Lock()
	if r.closedCause = cause; len(r.own.Attempts) > 0 {
		clear(r.own.Attempts)
		r.changes++
	}
	r.mu.Unlock()
	return r.flush(ctx)
}

// snapshot returns the encoded record and its count of changes; changed says whether any of them is
// not stored.
func (r *inFlightRecord) snapshot() (record []byte, edits uint64, changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes == r.storedChanges {
		return nil, r.changes, false
	}
	record, err := json.Marshal(r.own)
	if err != nil {
		panic(fmt.Sprintf("encoding %+v: %v", r.own, err)) // it has only numbers and strings
	}
	r.unstored = 0
	return record, r.changes, true
}

// write stores the current record for all callers that wait for that.
func (r *inFlightRecord) write(ctx context.Context, _ []struct{}) error {
	record, edits, changed := r.snapshot()
	if !changed {
		return nil
	}
	if _, err := r.bus.Publish(ctx, &nats.Msg{Subject: heldSubjectPrefix + r.key, Data: record}); err != nil {
		return fmt.Errorf("storing the in-flight record: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.storedChanges = edits
	return nil
}

// crashes returns how many processes have died with the job of a number in flight. The error is
// that of bus.RetryIn while another live process has it in flight. The records are read again after
// a reconnect and, at most once in recheckDelay, with reread, which the caller sets if there were
// more deliveries than attempts.
func (r *inFlightRecord) crashes(ctx context.Context, h *runHistory, number int, epoch uint64, reread bool) (int,
	error) {
	others, highest, err := r.othersAndOwn(ctx, h, number, epoch, reread)
	if err != nil || len(others) == 0 {
		return highest, err
	}
	answered := h.lastAnswered(number)
	for _, other := range others {
		count := other.Crashes[number]
		if other.Attempts[number] > answered {
			alive, err := r.alive(ctx, other)
			if err != nil {
				return 0, err
			}
			if alive {
				return 0, bus.RetryIn(recheckDelay, errNotDue)
			}
			count++
		}
		highest = max(highest, count)
	}
	return highest, nil
}

// othersAndOwn returns the records of the other processes, and the crashes of a job in this one's.
func (r *inFlightRecord) othersAndOwn(
	ctx context.Context, h *runHistory, number int, epoch uint64, reread bool,
) (others []contract.InFlightRecord, own int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.othersReadAt.IsZero() || r.othersEpoch != epoch || reread && time.Since(r.othersReadAt) > recheckDelay {
		if err := r.readOthers(ctx, h, epoch); err != nil {
			return nil, 0, fmt.Errorf("reading the in-flight records of other processes: %w", err)
		}
		r.othersReadAt, r.othersEpoch = time.Now(), epoch
	}
	return r.others, r.own.Crashes[number], nil
}

// readOthers reads the records of the run. It ignores a record that is unreadable or does not
// belong to its key. A record under this process's own key is of an earlier process of the same
// name, or its own from before an interruption: its crashes are carried over, since it is about to
// be overwritten.
func (r *inFlightRecord) readOthers(ctx context.Context, h *runHistory, epoch uint64) error {
	subjects, err := r.bus.Subjects(ctx, "KV_"+contract.BucketHeld, heldSubjectPrefix+r.own.RunID.FetcherKey("*"))
	if err != nil {
		return err
	}
	r.others = r.others[:0:0]
	for subject := range maps.Keys(subjects) {
		key := strings.TrimPrefix(subject, heldSubjectPrefix)
		if key == r.key && !r.othersReadAt.IsZero() {
			continue
		}
		record, err := runs.Get[contract.InFlightRecord](ctx, r.bucket, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, runs.ErrUnreadable):
		case err != nil:
			return err
		case record.Version != contract.MessageVersion || record.RunID.FetcherKey(record.Fetcher) != key: // foreign
		case key == r.key:
			if err := r.inheritCrashes(ctx, h, record, epoch); err != nil {
				return err
			}
		default:
			r.others = append(r.others, record)
		}
	}
	return nil
}

// inheritCrashes takes over the crashes of pending jobs from the previous record under this key.
func (r *inFlightRecord) inheritCrashes(
	ctx context.Context, h *runHistory, previous contract.InFlightRecord, epoch uint64,
) error {
	numbers := maps.Clone(previous.Crashes)
	if numbers == nil {
		numbers = make(map[int]int)
	}
	for number := range previous.Attempts {
		numbers[number] = previous.Crashes[number]
	}
	for number, count := range numbers {
		step, err := h.nextStep(ctx, number, epoch, false)
		if err != nil {
			return err
		}
		if previous.Process != r.own.Process && previous.Attempts[number] > h.lastAnswered(number) {
			count++
		}
		if count > 0 && step.Outcome == "" {
			r.own.Crashes[number] = max(count, r.own.Crashes[number])
		}
	}
	return nil
}

// alive reports whether the process of a record still works on the run.
func (r *inFlightRecord) alive(ctx context.Context, record contract.InFlightRecord) (bool, error) {
	_, err := r.fetchers.Get(ctx, record.RunID.FetcherKey(record.Fetcher))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}
