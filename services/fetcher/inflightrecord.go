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
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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

// flush stores the record if it has changed.
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
func (r *inFlightRecord) crashes(ctx context.Context, h *runHistory, number int, epoch uint64, reread bool) (int, error) {
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
