package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/numbermap"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	// changesInterval is how often changed numbers are sent to the clients, inFlightInterval how often
	// the attempts in flight of a running run are read, statusInterval how often the status of a run is
	// read while there is news, and idleInterval while there is none.
	changesInterval, inFlightInterval = 100 * time.Millisecond, 400 * time.Millisecond
	statusInterval, idleInterval      = time.Second, 5 * time.Second
	// lingerTime is how long a run without clients is followed, so that a page that reconnects does
	// not make its ledger be read again.
	lingerTime = 30 * time.Second
	// finishTimeout is how long the end of a process may be delayed by its page.
	finishTimeout = time.Second
	// maxQueued is how many messages a client may be behind before it is dropped. It gets a snapshot
	// when it reconnects.
	maxQueued = 64
)

// Run is a run as the API shows it. Foreign texts are escaped by sanitize.Line.
type Run struct {
	runtime.RunStatus
	// Errors are the failed numbers by cause, the most frequent one first.
	Errors []contract.ErrorSample `json:"errors"`
}

// message is one event for a client. An empty id leaves the client's last id as it is.
type message struct {
	id, event string
	data      []byte
}

// client receives the events of a run. dropped is closed when it gets no more: it was too slow, or
// the run is not followed any longer.
type client struct {
	messages chan message
	dropped  chan struct{}
}

// liveRun is a run that clients look at. It follows the run's ledger, attempts in flight and events.
type liveRun struct {
	live runtime.Live
	bus  *bus.Bus
	id   contract.RunID
	// epoch distinguishes the ids of this value's events from those of other ones of the same run.
	epoch string
	// cancel ends all work. ready is closed when the stored ledger has been read, or on failure.
	cancel context.CancelFunc
	ready  chan struct{}

	mu sync.Mutex
	// err is why the run cannot be followed.
	err      error
	users    int
	expiry   *time.Timer
	manifest contract.Manifest
	tally    fold.Tally
	// states are the states by the ledger, by number; Skipped what the run does not request.
	states []numbermap.State
	// inFlight are the numbers in flight.
	inFlight map[int]bool
	running  bool
	// shown is the map that the clients have, version counts its changes. changed are the numbers
	// that may have changed since.
	shown   *numbermap.Map
	version int
	changed map[int]bool
	// status is the status that the clients have; statusDue if there is news.
	status    []byte
	run       Run
	statusDue bool
	clients   map[*client]bool
}

// follow follows the run until ctx ends or a source fails, and then drops all clients.
func (r *liveRun) follow(ctx context.Context) {
	err := r.load(ctx)
	if err == nil {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return r.followLedger(ctx) })
		group.Go(func() error { return r.followEvents(ctx) })
		group.Go(func() error { return r.publish(ctx) })
		err = group.Wait()
	}
	if ctx.Err() == nil && err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // else the process ends
		r.live.Log().Warn("page.run.failed", "run_id", r.id, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = cmpError(err, runtime.ErrUnavailable)
	}
	r.closeReady()
	for c := range r.clients {
		r.drop(c)
	}
}

func cmpError(err, fallback error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return fallback
	}
	return err
}

// closeReady closes ready once. The caller holds mu.
func (r *liveRun) closeReady() {
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// load reads what the run requests and its status.
func (r *liveRun) load(ctx context.Context) error {
	m, err := r.live.Manifest(ctx, r.id)
	if err != nil {
		return err
	}
	skipped := make(map[int]bool)
	err = runs.EachOutcome(ctx, r.bus, contract.BucketCollected, m.Site, m.Prefix, m.Year,
		func(number int, value contract.Collected) {
			if value.RunID != r.id && m.Skips(number, value) {
				skipped[number] = true
			}
		})
	if err != nil {
		return fmt.Errorf("reading which numbers are collected: %w", err)
	}
	r.mu.Lock()
	r.manifest = m
	for number := range r.states {
		if skipped[number] || !m.IDs.IsZero() && !m.IDs.Contains(number) {
			r.states[number] = numbermap.Skipped
		}
	}
	r.mu.Unlock()
	return r.readStatus(ctx)
}

// followLedger folds the ledger: first what is stored, which makes the run ready, then what comes.
func (r *liveRun) followLedger(ctx context.Context) error {
	reader := ledger.Reader{Bus: r.bus, Manifest: r.manifest}
	last, err := reader.Last(ctx)
	if err == nil {
		err = reader.ReadRange(ctx, 0, last, r.fold)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.redraw()
	r.closeReady()
	r.mu.Unlock()
	return reader.Follow(ctx, last, r.fold)
}

func (r *liveRun) fold(m ledger.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, counted := range r.tally.AddMessage(m, r.manifest.SafeStopFails) {
		if state, is := stateOf(counted); is {
			r.states[counted.CaseID.Number] = state
			r.changed[counted.CaseID.Number] = true
		}
	}
	r.statusDue = true
	return nil
}

// stateOf returns the state that a counted entry gives its number; false if it gives none.
func stateOf(c fold.Counted) (numbermap.State, bool) {
	switch {
	case c.EndsJob() && c.Outcome == contract.NoRecord:
		return numbermap.Unconfirmed, true
	case c.EndsJob():
		return numbermap.OfOutcome(c.Outcome), true
	case c.WritesKey(): // the confirmation of a no-record
		return numbermap.NoRecord, true
	case !c.WritesLine(): // the raw answer of a canary
		return numbermap.Unseen, false
	case c.Verdict == contract.VerdictBlocked:
		return numbermap.Blocked, true
	default: // an attempt that is retried
		return numbermap.Unseen, true
	}
}

// stateNow returns the state of a number, attempts in flight included. The caller holds mu.
func (r *liveRun) stateNow(number int) numbermap.State {
	state := r.states[number]
	switch state {
	case numbermap.Unseen, numbermap.Blocked, numbermap.Skipped:
		if r.inFlight[number] {
			return numbermap.InFlight
		}
	default: // it has an outcome
	}
	return state
}

// redraw makes shown anew, for all numbers of the range. The caller holds mu.
func (r *liveRun) redraw() {
	r.shown = numbermap.New(r.manifest.Range)
	for number := r.manifest.Range.Start; number <= r.manifest.Range.End; number++ {
		r.shown.Set(number, r.stateNow(number))
	}
	clear(r.changed)
	r.version++
	r.broadcast(r.snapshot())
}

// readInFlight reads which attempts the fetchers have in flight. The bucket sends no notices of its
// writes, so it is read again and again.
func (r *liveRun) readInFlight(ctx context.Context) error {
	now := make(map[int]bool)
	keys := bus.Keys{Bucket: contract.BucketHeld, Filters: []string{r.id.FetcherKey("*")}}
	err := r.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		held, err := runs.Decode[contract.InFlightRecord](entry.Key(), entry.Value())
		if err != nil { // of a newer version, or damaged: its numbers are not shown
			return nil
		}
		for number := range held.Attempts {
			now[number] = contract.CheckNumber(number) == nil
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the attempts in flight: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setInFlight(now)
	return nil
}

// setInFlight sets which numbers are in flight. The caller holds mu.
func (r *liveRun) setInFlight(now map[int]bool) {
	for _, numbers := range []map[int]bool{r.inFlight, now} {
		for number, valid := range numbers {
			if valid {
				r.changed[number] = true
			}
		}
	}
	r.inFlight = now
}

// followEvents passes the events that are published from now on to the clients. The last one ends the
// run in the page too: a batch may end before the status is read again.
func (r *liveRun) followEvents(ctx context.Context) error {
	filter := r.id.EventSubject("*")
	last, err := r.bus.LastSequence(ctx, contract.StreamEvents, filter)
	if err != nil {
		return err
	}
	return r.bus.Tail(ctx, contract.StreamEvents, filter, last, func(msg bus.Message) error {
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) != nil {
			return nil // not written by this program
		}
		name := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
		r.mu.Lock()
		defer r.mu.Unlock()
		r.statusDue = true
		r.sendChanges()
		r.broadcast(message{event: name, data: safeJSON(msg.Data)})
		if event.Report != nil {
			return r.setRun(endedBy(r.run, *event.Report))
		}
		return nil
	})
}

// endedBy returns a run with the end that its report tells.
func endedBy(run Run, report contract.Report) Run {
	run.Status, run.Reason = report.Status, sanitize.Line(report.Reason)
	run.Done, run.Planned = report.Total, runtime.Planned(report)
	run.Succeeded, run.NoRecord, run.Failed = report.Succeeded, report.NoRecord, report.Failed
	run.Progress, run.Wait = contract.Progress{}, nil
	run.Errors = safeSamples(report.Errors)
	return run
}

// setRun sets the status, and sends it if it differs from the one that the clients have. The caller
// holds mu.
func (r *liveRun) setRun(run Run) error {
	data, err := json.Marshal(run)
	if err != nil {
		return fmt.Errorf("encoding the status of run %s: %w", r.id, err)
	}
	r.run = run
	if running := run.Status == contract.Running; running != r.running {
		r.running = running
		if !running {
			r.setInFlight(nil)
		}
	}
	if data = safeJSON(data); !slices.Equal(data, r.status) {
		r.status = data
		r.broadcast(message{event: "status", data: data})
	}
	return nil
}

// publish sends changed numbers and a changed status to the clients until ctx ends.
func (r *liveRun) publish(ctx context.Context) error {
	tick := time.NewTicker(changesInterval)
	defer tick.Stop()
	read, inFlightRead := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		r.mu.Lock()
		watched := r.running && len(r.clients) > 0
		r.mu.Unlock()
		if watched && time.Since(inFlightRead) >= inFlightInterval {
			inFlightRead = time.Now()
			if err := r.readInFlight(ctx); err != nil {
				return err
			}
		}
		r.mu.Lock()
		r.sendChanges()
		due := r.statusDue
		r.mu.Unlock()
		if age := time.Since(read); due && age >= statusInterval || age >= idleInterval {
			read = time.Now()
			if err := r.readStatus(ctx); err != nil {
				return err
			}
		}
	}
}

// changes is the data of the event map-changed: pairs of a number and the letter of its new state.
type changes struct {
	Changed [][2]any `json:"changed"`
}

// sendChanges sends the numbers whose state differs from the one shown. The caller holds mu.
func (r *liveRun) sendChanges() {
	if r.shown == nil || len(r.changed) == 0 {
		return
	}
	var all changes
	for number := range r.changed {
		state := r.stateNow(number)
		if r.manifest.Range.Contains(number) && state != r.shown.Get(number) {
			r.shown.Set(number, state)
			all.Changed = append(all.Changed, [2]any{number, state.Letter()})
		}
	}
	clear(r.changed)
	if len(all.Changed) == 0 {
		return
	}
	r.version++
	data, _ := json.Marshal(all) // numbers and letters
	r.broadcast(message{id: r.eventID(), event: "map-changed", data: data})
}

// eventID identifies the map that a client has. The caller holds mu.
func (r *liveRun) eventID() string { return r.epoch + "-" + strconv.Itoa(r.version) }

// snapshot is the event with the complete map. The caller holds mu.
func (r *liveRun) snapshot() message {
	data, _ := json.Marshal(r.shown) // numbers and letters
	return message{id: r.eventID(), event: "map", data: data}
}

// readStatus reads the status and the manifest, whose range changes when the bound is found.
func (r *liveRun) readStatus(ctx context.Context) error {
	r.mu.Lock()
	r.statusDue = false
	r.mu.Unlock()
	run, err := readRun(ctx, r.live, r.id)
	if err != nil {
		return err
	}
	m, err := r.live.Manifest(ctx, r.id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if run.Errors == nil {
		run.Errors = safeSamples(r.tally.ErrorSamples())
	}
	if m.Range != r.manifest.Range {
		r.manifest = m
		if r.shown != nil {
			r.redraw()
		}
	}
	return r.setRun(run)
}

// broadcast queues a message for every client, and drops those whose queue is full. The caller holds
// mu.
func (r *liveRun) broadcast(m message) {
	for c := range r.clients {
		select {
		case c.messages <- m:
		default:
			r.drop(c)
		}
	}
}

// drop ends a client. The caller holds mu.
func (r *liveRun) drop(c *client) {
	if r.clients[c] {
		delete(r.clients, c)
		close(c.dropped)
	}
}

// subscribe returns a client that receives the map, unless it has that of lastID, then the status,
// then every change.
func (r *liveRun) subscribe(lastID string) *client {
	c := &client{messages: make(chan message, maxQueued), dropped: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[c] = true
	if r.err != nil {
		r.drop(c)
		return c
	}
	if lastID != r.eventID() {
		c.messages <- r.snapshot()
	}
	c.messages <- message{event: "status", data: r.status}
	return c
}

func (r *liveRun) unsubscribe(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c)
}

// current returns the run and its map, as JSON, as they are now.
func (r *liveRun) current() (run Run, shown []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return Run{}, nil, r.err
	}
	r.sendChanges()
	shown, err = json.Marshal(r.shown)
	return r.run, shown, err
}

// liveRuns are the runs that clients look at.
type liveRuns struct {
	live runtime.Live
	mu   sync.Mutex
	// closed: no run is followed any more.
	closed bool
	runs   map[contract.RunID]*liveRun
	done   sync.WaitGroup
}

// acquire returns a run that has read its ledger, and a function that releases it. The error is
// runtime.ErrNoRun, runtime.ErrUnavailable or that of the broker.
func (l *liveRuns) acquire(ctx context.Context, id contract.RunID) (*liveRun, func(), error) {
	run, err := l.start(id)
	if err != nil {
		return nil, nil, err
	}
	release := func() { l.release(run) }
	select {
	case <-run.ready:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	run.mu.Lock()
	err = run.err
	run.mu.Unlock()
	if err != nil {
		release()
		return nil, nil, err
	}
	return run, release, nil
}

func (l *liveRuns) start(id contract.RunID) (*liveRun, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, runtime.ErrUnavailable
	}
	b, err := l.live.Bus()
	if err != nil {
		return nil, err
	}
	run := l.runs[id]
	if run != nil && run.bus != b { // of a broker before a restart
		run.cancel()
		run = nil
	}
	if run == nil {
		ctx, cancel := context.WithCancel(context.Background())
		run = &liveRun{
			live: l.live, bus: b, id: id, cancel: cancel, ready: make(chan struct{}),
			epoch:   strconv.FormatInt(time.Now().UnixNano(), 36),
			states:  make([]numbermap.State, contract.MaxNumber+1),
			changed: make(map[int]bool), clients: make(map[*client]bool),
		}
		l.runs[id] = run
		l.done.Go(func() {
			run.follow(ctx)
			l.forget(run)
		})
	}
	run.users++
	if run.expiry != nil {
		run.expiry.Stop()
	}
	return run, nil
}

// forget removes a run that is not followed any longer.
func (l *liveRuns) forget(run *liveRun) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[run.id] == run {
		delete(l.runs, run.id)
	}
	run.cancel()
	if run.expiry != nil {
		run.expiry.Stop()
	}
}

// release gives back what acquire returned. The last one ends the following, after a while.
func (l *liveRuns) release(run *liveRun) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if run.users--; run.users > 0 {
		return
	}
	run.expiry = time.AfterFunc(lingerTime, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if run.users == 0 {
			run.cancel()
		}
	})
}

// finish sends the last status to the clients: a batch ends its process soon after its run.
func (l *liveRuns) finish() {
	l.mu.Lock()
	l.closed = true
	all := slices.Collect(maps.Values(l.runs))
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	for _, run := range all {
		run.mu.Lock()
		watched := run.shown != nil && run.err == nil && len(run.clients) > 0
		if watched {
			run.sendChanges()
		}
		run.mu.Unlock()
		if watched {
			_ = run.readStatus(ctx) // the broker may be closed already
		}
	}
}

// close ends everything and waits for it.
func (l *liveRuns) close() {
	l.mu.Lock()
	for _, run := range l.runs {
		run.cancel()
	}
	l.mu.Unlock()
	l.done.Wait()
}
