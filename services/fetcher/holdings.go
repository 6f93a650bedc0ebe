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
	// crashLimit is how many processes may die while they hold a job before the job has failed.
	crashLimit = 5
	// suspicious is from how many crashes on a job is attempted alone: every process attempts one such job at a time. Jobs that
	// were in flight beside the one that kills its process are cleared so, before they reach crashLimit with it.
	suspicious = 2
	// keyPrefix makes a key of the bucket held a subject.
	keyPrefix = "$KV." + contract.BucketHeld + "."
)

// holdings is the durable record of the attempts that this process has in hand in one run, one message that is overwritten. The
// record is written before an attempt begins, once for all attempts that begin together. A process that dies leaves its record
// behind: each attempt in it that has no answer is a crash of its job. A process that hands a job back takes the attempt off its
// record, and one that is told to stop empties it, so that neither a stop nor a restart of the server counts, nor a slow heartbeat.
type holdings struct {
	bus              *bus.Bus
	bucket, fetchers jetstream.KeyValue
	key              string
	gather           *bus.GroupCommit[struct{}]

	mu sync.Mutex
	// own is this process's record, edits counts its changes, and stored is how many of them are stored.
	own           contract.InFlightRecord
	edits, stored uint64
	// closed is why nothing more may begin.
	closed error
	// others are the records of other processes, read at an instant over the connection of an epoch.
	others []contract.InFlightRecord
	read   time.Time
	epoch  uint64
}

func (s *Service) holdingsOf(run contract.RunID) *holdings {
	h := &holdings{
		bus: s.Bus, bucket: s.held, fetchers: s.fetchers, key: run.FetcherKey(s.ID),
		own: contract.InFlightRecord{
			Version: contract.MessageVersion, RunID: run, Fetcher: s.ID, Process: s.Process, Settings: s.Settings,
			Attempts: make(map[int]int), Crashes: make(map[int]int),
		},
	}
	h.gather = bus.NewGroupCommit(0, func(struct{}) int { return 0 }, h.write)
	return h
}

// begin records that an attempt of a number begins, after so many crashes of its job. It returns when the record is stored.
func (h *holdings) begin(ctx context.Context, number, attempt, crashes int) error {
	h.mu.Lock()
	if h.closed != nil {
		defer h.mu.Unlock()
		return h.closed
	}
	h.own.Attempts[number] = attempt
	h.edits++
	if crashes > 0 {
		h.own.Crashes[number] = crashes
	}
	h.mu.Unlock()
	return h.gather.Do(ctx, struct{}{})
}

// end takes an attempt off the record. That is stored with the next attempt that begins, or by flush: the ledger tells an attempt
// that was answered.
func (h *holdings) end(number int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, held := h.own.Attempts[number]; held {
		delete(h.own.Attempts, number)
		h.edits++
	}
}

// flush stores the record if it has changed.
func (h *holdings) flush(ctx context.Context) error {
	if _, _, changed := h.snapshot(); !changed {
		return nil
	}
	return h.gather.Do(ctx, struct{}{})
}

// close empties the record because this process was told to stop: what it has in hand now may be cut off at any time.
func (h *holdings) close(ctx context.Context, cause error) error {
	h.mu.Lock()
	if h.closed = cause; len(h.own.Attempts) > 0 {
		clear(h.own.Attempts)
		h.edits++
	}
	h.mu.Unlock()
	return h.flush(ctx)
}

// snapshot is the record as it is now and how many changes it has seen; changed says whether any of them is not stored.
func (h *holdings) snapshot() (record []byte, edits uint64, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.edits == h.stored {
		return nil, h.edits, false
	}
	record, err := json.Marshal(h.own)
	if err != nil {
		panic(fmt.Sprintf("encoding %+v: %v", h.own, err)) // numbers and names alone
	}
	return record, h.edits, true
}

// write stores the record as it is now, for everybody who waits for that.
func (h *holdings) write(ctx context.Context, _ []struct{}) error {
	record, edits, changed := h.snapshot()
	if !changed {
		return nil
	}
	if _, err := h.bus.Publish(ctx, &nats.Msg{Subject: keyPrefix + h.key, Data: record}); err != nil {
		return fmt.Errorf("recording what this process holds: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stored = edits
	return nil
}

// crashes says how many processes have died while they held the job of a number. One that another process still holds, as far as
// can be seen, is waiting. The records are read again as a ledger is; again says that retries alone do not explain the delivery.
func (h *holdings) crashes(ctx context.Context, l *ledger, number int, epoch uint64, again bool) (int, error) {
	others, most, err := h.known(ctx, l, number, epoch, again)
	if err != nil || len(others) == 0 {
		return most, err
	}
	answered := l.answered(number)
	for _, other := range others {
		count := other.Crashes[number]
		if other.Attempts[number] > answered {
			alive, err := h.alive(ctx, other)
			if err != nil {
				return 0, err
			}
			if alive {
				return 0, waiting(classifying)
			}
			count++
		}
		most = max(most, count)
	}
	return most, nil
}

// known are the records of the other processes, and the crashes of a job on this one's.
func (h *holdings) known(ctx context.Context, l *ledger, number int, epoch uint64, again bool) (others []contract.InFlightRecord, own int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.read.IsZero() || h.epoch != epoch || again && time.Since(h.read) > classifying {
		if err := h.look(ctx, l, epoch); err != nil {
			return nil, 0, fmt.Errorf("reading what other processes hold: %w", err)
		}
		h.read, h.epoch = time.Now(), epoch
	}
	return h.others, h.own.Crashes[number], nil
}

// look reads the records of the run; one that cannot be read, or is not of its key, counts for nothing. The one under this process's own key is of a process that had its name before, or its own
// from before it broke off: what stands there is carried over, for it is about to be overwritten.
func (h *holdings) look(ctx context.Context, l *ledger, epoch uint64) error {
	subjects, err := h.bus.Subjects(ctx, "KV_"+contract.BucketHeld, keyPrefix+h.own.RunID.FetcherKey("*"))
	if err != nil {
		return err
	}
	h.others = h.others[:0:0]
	for subject := range maps.Keys(subjects) {
		key := strings.TrimPrefix(subject, keyPrefix)
		if key == h.key && !h.read.IsZero() {
			continue
		}
		record, err := runs.Get[contract.InFlightRecord](ctx, h.bucket, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, runs.ErrUnreadable):
		case err != nil:
			return err
		case record.Version != contract.MessageVersion || record.RunID.FetcherKey(record.Fetcher) != key: // not of this program
		case key == h.key:
			if err := h.carry(ctx, l, record, epoch); err != nil {
				return err
			}
		default:
			h.others = append(h.others, record)
		}
	}
	return nil
}

// carry takes over the crashes of the jobs that are still to be done from the record of a process of this name.
func (h *holdings) carry(ctx context.Context, l *ledger, before contract.InFlightRecord, epoch uint64) error {
	numbers := maps.Clone(before.Crashes)
	if numbers == nil {
		numbers = make(map[int]int)
	}
	for number := range before.Attempts {
		numbers[number] = before.Crashes[number]
	}
	for number, count := range numbers {
		step, err := l.next(ctx, number, epoch, false)
		if err != nil {
			return err
		}
		if before.Process != h.own.Process && before.Attempts[number] > l.answered(number) {
			count++
		}
		if count > 0 && !step.Settled {
			h.own.Crashes[number] = max(count, h.own.Crashes[number])
		}
	}
	return nil
}

// alive says whether the process of a record still works on the run.
func (h *holdings) alive(ctx context.Context, record contract.InFlightRecord) (bool, error) {
	_, err := h.fetchers.Get(ctx, record.RunID.FetcherKey(record.Fetcher))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}
