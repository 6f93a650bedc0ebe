// Package runs follows the runs that are being worked on, and reads and writes their keys in the
// bucket runs.
package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrEnded is the cause of the cancelled work on a run that ended without a halt.
var ErrEnded = errors.New("run has ended")

// Work is a service's work for one round of a run. Its context ends, with Halted or ErrEnded as the
// cause, when nothing new may begin for the run.
type Work func(ctx context.Context, manifest contract.Manifest) error

// Follow calls work for every run that is running, now and later, once for each round. It returns
// nil when ctx has ended and all work has returned, or the first error of any work.
func Follow(ctx context.Context, b *bus.Bus, work Work) error {
	return (&follower{work: work}).follow(ctx, b)
}

// FollowSteered is Follow for work that obeys the control of its run: a pause ends it, with Paused as
// the cause, and a resume starts it again in the same round. steer, which must not block, gets the
// controls of all running runs that are not halted whenever one of them changes, and at the start.
func FollowSteered(
	ctx context.Context, b *bus.Bus, steer func(map[contract.RunID]contract.Control), work Work,
) error {
	return (&follower{work: work, steer: steer}).follow(ctx, b)
}

func (f *follower) follow(ctx context.Context, b *bus.Bus) error {
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.kv, f.fail, f.runs = kv, cancel, make(map[contract.RunID]*runState)
	defer f.wait()
	filters := []string{"*.state", "*.halt"}
	if f.steer != nil {
		filters = append(filters, "*.control")
	}
	err = b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: filters},
		func(entry jetstream.KeyValueEntry) error {
			return f.apply(ctx, entry)
		})
	if ctx.Err() != nil {
		return workError(ctx)
	}
	err = fmt.Errorf("watching the runs: %w", err)
	cancel(err)
	return err
}

// workFailure is the cause of a follower's end that its caller did not ask for.
type workFailure struct{ error }

func (f workFailure) Unwrap() error { return f.error }

type follower struct {
	kv   jetstream.KeyValue
	work Work
	// steer gets the controls of the running runs; nil if the work does not obey them.
	steer func(map[contract.RunID]contract.Control)
	fail  context.CancelCauseFunc
	runs  map[contract.RunID]*runState
	// ready: the initial entries of the bucket were read. A run's halt may come after its state.
	ready bool
}

// runState is what is known of one run. runningRevision is the revision of a running state, 0 if it
// is not running; startedRevision is the one for which work was started and not paused since.
type runState struct {
	runningRevision uint64
	startedRevision uint64
	halt            *contract.Halt
	control         contract.Control
	cancel          context.CancelCauseFunc
	done            chan struct{}
}

// workError is the error of work that failed; the end of the caller's context is none. The kind of
// the error does not distinguish the two: a publish fails with context.DeadlineExceeded while a
// cluster has no leader. Taking that for the caller's end once stopped a fetcher for good without
// an error.
func workError(ctx context.Context) error {
	if failed, is := errors.AsType[workFailure](context.Cause(ctx)); is {
		return failed.error
	}
	return nil
}

func (f *follower) apply(ctx context.Context, entry jetstream.KeyValueEntry) error {
	if entry == nil { // the end of the initial entries
		f.ready = true
		f.passControls()
		for run, l := range f.runs {
			f.update(ctx, run, l)
		}
		return nil
	}
	name, kind, _ := strings.Cut(entry.Key(), ".")
	run, err := contract.ParseRunID(name)
	if err != nil {
		return nil // not written by this program
	}
	l := f.runs[run]
	if l == nil {
		l = &runState{}
		f.runs[run] = l
	}
	l.apply(kind, entry)
	f.passControls()
	f.update(ctx, run, l)
	return nil
}

// passControls passes the controls of the running runs on.
func (f *follower) passControls() {
	if f.steer == nil || !f.ready {
		return
	}
	controls := make(map[contract.RunID]contract.Control)
	for run, l := range f.runs {
		if l.runningRevision > 0 && l.halt == nil {
			controls[run] = l.control
		}
	}
	f.steer(controls)
}

// apply records one entry of the bucket. A run with an unreadable state is not worked on; the
// reporter ends it.
func (l *runState) apply(kind string, entry jetstream.KeyValueEntry) {
	exists := entry.Operation() == jetstream.KeyValuePut
	switch kind {
	case "control":
		l.control = DecodeControl(entry)
		return
	case "halt":
		l.halt = nil
		if exists {
			halt := DecodeHalt(entry)
			l.halt = &halt
		}
		return
	}
	l.runningRevision = 0
	if !exists {
		return
	}
	state, err := Decode[contract.State](entry.Key(), entry.Value())
	if err == nil && state.Status == contract.Running {
		l.runningRevision = entry.Revision()
	}
}

// update starts or cancels the work on a run as its state requires.
func (f *follower) update(ctx context.Context, run contract.RunID, l *runState) {
	switch {
	case !f.ready:
	case l.runningRevision == 0 && l.cancel != nil:
		l.cancel(ErrEnded)
	case l.halt != nil && l.cancel != nil:
		l.cancel(Halted{*l.halt})
	case l.control.Paused:
		if l.cancel != nil {
			l.cancel(Paused{l.control})
		}
		l.startedRevision = 0
	case l.runningRevision > l.startedRevision && l.halt == nil:
		l.startedRevision = l.runningRevision
		f.start(ctx, run, l)
	}
}

// start begins the work on a round once the work on the previous round has returned.
func (f *follower) start(ctx context.Context, run contract.RunID, l *runState) {
	before, done := l.done, make(chan struct{})
	ctx, cancel := context.WithCancelCause(ctx)
	l.cancel, l.done = cancel, done
	go func() {
		defer close(done)
		defer cancel(nil)
		if before != nil {
			<-before
		}
		manifest, err := Manifest(ctx, f.kv, run)
		if err == nil && ctx.Err() == nil {
			err = f.work(ctx, manifest)
		}
		if errors.Is(err, ErrUnreadable) && ctx.Err() == nil {
			// Every service obeys the halt, and the reporter ends the run. Others are left alone.
			err = Halt(ctx, f.kv, run,
				contract.Halt{Status: contract.Errored, Reason: err.Error(), At: time.Now().UTC()})
		}
		if err != nil && ctx.Err() == nil {
			f.fail(workFailure{fmt.Errorf("working on run %s: %w", run, err)})
		}
	}()
}

func (f *follower) wait() {
	for _, l := range f.runs {
		if l.done != nil {
			<-l.done
		}
	}
}

// ErrUnreadable reports a key whose value this program cannot read: damaged, foreign, or written by
// a newer version. It concerns only the run that needs the key.
var ErrUnreadable = errors.New("key cannot be read")

// Decode reads the JSON value of a key. Its error wraps ErrUnreadable and names the key. A value
// without a version is read as the current version.
func Decode[T any](key string, data []byte) (T, error) {
	var value T
	var version struct {
		V *int `json:"v"`
	}
	err := json.Unmarshal(data, &version)
	if err == nil && version.V != nil {
		err = contract.CheckVersion(*version.V)
	}
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err != nil {
		return value, fmt.Errorf("%w: %s: %w", ErrUnreadable, key, err)
	}
	return value, nil
}

// Manifest reads the manifest of a run. The error wraps jetstream.ErrKeyNotFound if the run does
// not exist.
func Manifest(ctx context.Context, kv jetstream.KeyValue, run contract.RunID) (contract.Manifest, error) {
	return Get[contract.Manifest](ctx, kv, run.ManifestKey())
}

// IDs returns the ids of all runs, in no order.
func IDs(ctx context.Context, b *bus.Bus) ([]contract.RunID, error) {
	return idsWithKey(ctx, b, ".manifest")
}

// Manifests returns the readable manifests of all runs, in no order.
func Manifests(ctx context.Context, b *bus.Bus) (manifests []contract.Manifest, err error) {
	err = b.Scan(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*.manifest"}},
		func(entry jetstream.KeyValueEntry) error {
			manifest, err := Decode[contract.Manifest](entry.Key(), entry.Value())
			if err == nil {
				manifests = append(manifests, manifest)
			}
			return nil
		})
	return manifests, err
}

// idsWithKey returns the runs that have a key with this suffix in the bucket.
func idsWithKey(ctx context.Context, b *bus.Bus, suffix string) (found []contract.RunID, err error) {
	err = b.Scan(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*" + suffix}},
		func(entry jetstream.KeyValueEntry) error {
			found = append(found, contract.RunID(strings.TrimSuffix(entry.Key(),
				suffix))) // Watch skips keys of another form
			return nil
		})
	return found, err
}

// Get reads the JSON value of a key. The error wraps jetstream.ErrKeyNotFound or ErrUnreadable.
func Get[T any](ctx context.Context, kv jetstream.KeyValue, key string) (T, error) {
	value, _, err := Read[T](ctx, kv, key)
	if err != nil && !errors.Is(err, ErrUnreadable) {
		err = fmt.Errorf("reading %s: %w", key, err)
	}
	return value, err
}

// Read reads the JSON value of a key and its revision, which is also that of an unreadable value.
// The error is that of the bucket, or wraps ErrUnreadable.
func Read[T any](ctx context.Context, kv jetstream.KeyValue, key string) (value T, revision uint64, err error) {
	entry, err := kv.Get(ctx, key)
	if err != nil {
		return value, 0, err
	}
	value, err = Decode[T](key, entry.Value())
	return value, entry.Revision(), err
}

// Put writes the JSON value of a key, whatever it holds.
func Put(ctx context.Context, kv jetstream.KeyValue, key string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		_, err = kv.Put(ctx, key, data)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

// PutAt writes the JSON value of a key that is at a revision, 0 for a key that does not exist, and
// returns the new revision. IsConflict reports whether the error means another revision.
func PutAt(ctx context.Context, kv jetstream.KeyValue, key string, value any, revision uint64) (uint64, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	return putAt(ctx, kv, key, data, revision)
}

func putAt(ctx context.Context, kv jetstream.KeyValue, key string, data []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		return kv.Create(ctx, key, data)
	}
	return kv.Update(ctx, key, data, revision)
}

// IsConflict reports whether a key was not created, replaced or deleted because another writer was
// first. It covers what jetstream.ErrKeyExists and jetstream.ErrKeyRevisionMismatch do not cover
// each: the server has a code of its own for two writes at once to a replicated bucket.
func IsConflict(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Update replaces the JSON value of a key by compare-and-set. change gets the value, or the error of
// Read, and returns the new value, or false to leave the key as it is. It is called again when
// another writer was first. Update reports whether it has written.
func Update[T any](
	ctx context.Context, kv jetstream.KeyValue, key string, change func(T, error) (T, bool, error),
) (written bool, err error) {
	return UpdateBytes(ctx, kv, key, func(data []byte, err error) ([]byte, bool, error) {
		var value T
		if err == nil {
			value, err = Decode[T](key, data)
		}
		value, write, err := change(value, err)
		if err != nil || !write {
			return nil, false, err
		}
		data, err = json.Marshal(value)
		return data, err == nil, err
	})
}

// UpdateBytes is Update for a value that is not JSON.
func UpdateBytes(
	ctx context.Context, kv jetstream.KeyValue, key string, change func([]byte, error) ([]byte, bool, error),
) (written bool, err error) {
	for {
		var data []byte
		var revision uint64
		entry, err := kv.Get(ctx, key)
		if err == nil {
			data, revision = entry.Value(), entry.Revision()
		}
		data, write, err := change(data, err)
		if err != nil || !write {
			return false, err
		}
		if _, err = putAt(ctx, kv, key, data, revision); !IsConflict(err) {
			return err == nil, err
		}
	}
}

// Await returns the first JSON value of a key in the bucket runs that is good, the current one
// included. It waits until ctx ends, and then returns the cause.
func Await[T any](ctx context.Context, b *bus.Bus, key string, good func(T) bool) (T, error) {
	var found T
	err := b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{key}},
		func(entry jetstream.KeyValueEntry) error {
			if entry == nil || entry.Operation() != jetstream.KeyValuePut {
				return nil
			}
			value, err := Decode[T](key, entry.Value())
			if err != nil {
				return err
			}
			if good(value) {
				found = value
				return bus.ErrStop
			}
			return nil
		})
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return found, context.Cause(ctx)
	default:
		return found, fmt.Errorf("waiting for %s: %w", key, err)
	}
}

// PublishedNumbers returns the numbers of a run that have a job in the stream, which keeps the jobs
// until the run ends.
func PublishedNumbers(ctx context.Context, b *bus.Bus, run contract.RunID) (map[int]bool, error) {
	subjects, err := b.Subjects(ctx, contract.StreamJobs, run.JobFilter())
	if err != nil {
		return nil, fmt.Errorf("reading which jobs are published: %w", err)
	}
	numbers := make(map[int]bool, len(subjects))
	for subject := range subjects {
		number, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
		if err == nil { // else not written by this program
			numbers[number] = true
		}
	}
	return numbers, nil
}

// EachFetcher calls each with the key and the presence of every fetcher that works on a run.
// Unreadable presences are skipped.
func EachFetcher(ctx context.Context, b *bus.Bus, run contract.RunID,
	each func(key string, p contract.Presence)) error {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{run.FetcherKey("*")}}
	err := b.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if presence, err := Decode[contract.Presence](entry.Key(), entry.Value()); err == nil {
			each(entry.Key(), presence)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the fetchers of %s: %w", run, err)
	}
	return nil
}

// EachOutcome passes every key of an outcome bucket (collected, failed) of this site, series and year
// to each, by number. It reads them as ReadOutcomes does.
func EachOutcome(ctx context.Context, b *bus.Bus, bucket, site, series, year string,
	each func(number int, value contract.Collected)) error {
	outcomes, err := ReadOutcomes(ctx, b, bucket, site, series, year)
	if err != nil {
		return err
	}
	for number, value := range outcomes.All() {
		each(number, value)
	}
	return nil
}

// ReadOutcomes returns the keys of an outcome bucket (collected, failed) of this site, series and year.
// Keys of other sites are skipped: a case of the simulator proves nothing about a court. An unreadable
// value is an error that wraps ErrUnreadable, because skipping it would silently fetch the case again.
//
// A year may have 99,999 keys, and several services of a process need them. The bus caches what was read
// last: the next call reads only what was added since, or all keys if any of them was replaced.
func ReadOutcomes(ctx context.Context, b *bus.Bus, bucket, site, series, year string) (*Outcomes, error) {
	cache := b.Memo(outcomeCacheKey{}, func() any { return &outcomeCache{years: make(map[outcomeYear]*cachedYear)} })
	return cache.(*outcomeCache).year(outcomeYear{bucket, site, series, year}).read(ctx, b)
}

// outcomeCacheKey is the key of the outcomeCache of a bus.
type outcomeCacheKey struct{}

// maxCachedYears bounds the memory of an outcomeCache: a full year has 2.4 MB.
const maxCachedYears = 8

// outcomeCache holds what was read last of some years.
type outcomeCache struct {
	mu    sync.Mutex
	years map[outcomeYear]*cachedYear
}

// outcomeYear selects keys of an outcome bucket.
type outcomeYear struct{ bucket, site, series, year string }

func (c *outcomeCache) year(selected outcomeYear) *cachedYear {
	c.mu.Lock()
	defer c.mu.Unlock()
	year := c.years[selected]
	if year == nil {
		if len(c.years) >= maxCachedYears {
			clear(c.years)
		}
		year = &cachedYear{outcomeYear: selected, reading: make(chan struct{}, 1)}
		c.years[selected] = year
	}
	return year
}

// cachedYear is what was read last of a year.
type cachedYear struct {
	outcomeYear
	// reading is a mutex that a context can interrupt: it has a value while a call reads.
	reading chan struct{}
	// outcomes is what the bucket held at that version; nil if that is unknown. It does not change.
	outcomes *Outcomes
	version  bucketVersion
}

// bucketVersion is what a bucket held at one time. If two versions differ at most in last, the later
// one has all messages of the earlier one.
type bucketVersion struct {
	// epoch is that of the connection: a server that was restarted may have lost its last messages.
	epoch   uint64
	created time.Time
	// removed counts the messages that were removed or replaced.
	removed uint64
	last    uint64
}

// read returns the keys as they are now.
func (y *cachedYear) read(ctx context.Context, b *bus.Bus) (*Outcomes, error) {
	select {
	case y.reading <- struct{}{}:
		defer func() { <-y.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := bucketVersion{epoch: b.Epoch()}
	stream, err := b.JetStream().Stream(ctx, "KV_"+y.bucket)
	if err == nil {
		info := stream.CachedInfo()
		now.created, now.removed, now.last = info.Created, info.State.LastSeq-info.State.Msgs, info.State.LastSeq
	}
	known, after := y.outcomes, y.version
	after.last = now.last
	if err != nil || known == nil || now != after || now.last < y.version.last {
		known, y.version.last = &Outcomes{}, 0
	} else if now.last == y.version.last {
		return known, nil
	}
	y.outcomes = nil
	found := known.clone()
	if scanErr := y.scan(ctx, b, found); scanErr != nil {
		return nil, scanErr
	}
	if err == nil { // without the version, the next call cannot tell what was added
		y.outcomes, y.version = found, now
	}
	return found, nil
}

// scan adds the keys after the version.
func (y *cachedYear) scan(ctx context.Context, b *bus.Bus, found *Outcomes) error {
	keys := bus.Keys{Bucket: y.bucket, Filters: []string{y.series + "." + y.year + ".*"}, After: y.version.last}
	return b.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		id, err := contract.ParseKey(entry.Key())
		if err != nil {
			return nil
		}
		value, err := Decode[contract.Collected](entry.Key(), entry.Value())
		if err != nil {
			return fmt.Errorf("reading bucket %s: %w", y.bucket, err)
		}
		if value.AppliesTo(y.site) {
			found.Set(id.Number, value)
		}
		return nil
	})
}

// Outcomes holds values of an outcome bucket by number, in 24 bytes each. The zero Outcomes and a nil
// one are empty.
type Outcomes struct {
	values []packedOutcome // by number
	// shapes are the different values without time and size; index has the position of each.
	shapes []contract.Collected
	index  map[contract.Collected]uint32
}

// packedOutcome is one value. shape is the position of its shape, counted from 1; 0 for no value.
type packedOutcome struct {
	seconds int64
	size    int64
	nanos   uint32
	shape   uint32
}

// Set sets the value of a number, which is not negative.
func (o *Outcomes) Set(number int, value contract.Collected) {
	packed := packedOutcome{seconds: value.At.Unix(), nanos: uint32(value.At.Nanosecond()), size: int64(value.Size)}
	value.At, value.Size = time.Time{}, 0
	shape, found := o.index[value]
	if !found {
		if o.index == nil {
			o.index = make(map[contract.Collected]uint32)
		}
		o.shapes = append(o.shapes, value)
		shape = uint32(len(o.shapes))
		o.index[value] = shape
	}
	packed.shape = shape
	if missing := number + 1 - len(o.values); missing > 0 {
		o.values = append(o.values, make([]packedOutcome, missing)...)
	}
	o.values[number] = packed
}

// Get returns the value of a number, and whether it has one. Its time is in UTC.
func (o *Outcomes) Get(number int) (value contract.Collected, found bool) {
	if o == nil || number < 0 || number >= len(o.values) || o.values[number].shape == 0 {
		return value, false
	}
	packed := o.values[number]
	value = o.shapes[packed.shape-1]
	value.At, value.Size = time.Unix(packed.seconds, int64(packed.nanos)).UTC(), int(packed.size)
	return value, true
}

// All yields the numbers that have a value, ascending.
func (o *Outcomes) All() iter.Seq2[int, contract.Collected] {
	return func(yield func(int, contract.Collected) bool) {
		for number := range o.Highest() + 1 {
			if value, found := o.Get(number); found && !yield(number, value) {
				return
			}
		}
	}
}

// Highest is the highest number that may have a value; -1 if there is none.
func (o *Outcomes) Highest() int {
	if o == nil {
		return -1
	}
	return len(o.values) - 1
}

func (o *Outcomes) clone() *Outcomes {
	return &Outcomes{slices.Clone(o.values), slices.Clone(o.shapes), maps.Clone(o.index)}
}

// Halted is the cause of the cancelled work on a run that was halted.
type Halted struct{ contract.Halt }

// Error returns the status and the reason of the halt.
func (h Halted) Error() string { return fmt.Sprintf("run halted (%s): %s", h.Status, h.Reason) }

// Halt stores the order to stop working on a run. If the run is halted already it changes nothing
// and returns nil.
func Halt(ctx context.Context, kv jetstream.KeyValue, run contract.RunID, halt contract.Halt) error {
	if _, err := PutAt(ctx, kv, run.HaltKey(), halt, 0); err != nil && !IsConflict(err) {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	return nil
}

// Paused is the cause of the cancelled work on a run that an operator has paused.
type Paused struct{ contract.Control }

// Error returns the reason of the pause.
func (p Paused) Error() string { return "run paused: " + p.Reason }

// ReadControl reads the control of a run; the zero Control if it has none. An unreadable one pauses
// the run, because it may have paused it; a resume or a start replaces it.
func ReadControl(ctx context.Context, kv jetstream.KeyValue, run contract.RunID) (contract.Control, error) {
	entry, err := kv.Get(ctx, run.ControlKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return contract.Control{}, nil
	}
	if err != nil {
		return contract.Control{}, fmt.Errorf("reading %s: %w", run.ControlKey(), err)
	}
	return DecodeControl(entry), nil
}

// DecodeControl reads the control of a run from its entry, as ReadControl does.
func DecodeControl(entry jetstream.KeyValueEntry) contract.Control {
	if entry.Operation() != jetstream.KeyValuePut {
		return contract.Control{}
	}
	control, err := Decode[contract.Control](entry.Key(), entry.Value())
	if err != nil {
		return UnreadableControl(err, entry.Created())
	}
	return control
}

// UnreadableControl is what stands for a control that cannot be read.
func UnreadableControl(reason error, at time.Time) contract.Control {
	return contract.Control{Paused: true, Reason: reason.Error(), At: at.UTC()}
}

// DecodeHalt reads a halt. An unreadable one still halts the run: going on could send requests to a
// site that must not get any. The run ends as stopped, and the next start removes the halt.
func DecodeHalt(entry jetstream.KeyValueEntry) contract.Halt {
	halt, err := Decode[contract.Halt](entry.Key(), entry.Value())
	if err == nil && halt.Status == "" {
		err = fmt.Errorf("%w: %s: no status", ErrUnreadable, entry.Key())
	}
	if err != nil {
		return contract.Halt{Status: contract.Stopped, Reason: err.Error(), At: entry.Created().UTC()}
	}
	return halt
}
