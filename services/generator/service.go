// Package generator turns a batch into jobs: it executes the commands of operators, decides which
// numbers to request, and publishes a job for each.
package generator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sort"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Options configures a Service.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Defaults supplies the fields that a command omits.
	Defaults contract.Batch
	// BoundMaxAge is the age up to which a no-record above the highest record is reused without a
	// new request; 0 means that none is reused.
	BoundMaxAge time.Duration
	// Site is the name of the site profile that the fetchers of this installation use.
	Site string
	// Origin is the origin of that site. A start is rejected if the store holds records of another
	// site; an empty Origin disables the check.
	Origin string
	// Config is the effective configuration with its secrets masked. It is stored in manifests.
	Config map[string]any
	// Program is the version of this program. It is stored in manifests.
	Program string
	// Now is the clock for the expiry of commands; nil means time.Now.
	Now func() time.Time
}

// Service executes commands and publishes the jobs of runs.
type Service struct {
	Options
	kv      jetstream.KeyValue
	replies *replyMatcher
	// resultsSince is the revision of the bucket of runs when the service was created. Results of
	// commands up to it are not delivered to requests.
	resultsSince uint64
	// commandMu serializes commands.
	commandMu sync.Mutex
	active    *activeRuns
}

// New opens the bucket of runs and returns a Service.
func New(ctx context.Context, opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kv, err := opts.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("creating the generator: %w", err)
	}
	bucket, err := opts.Bus.JetStream().Stream(ctx, "KV_"+contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("creating the generator: %w", err)
	}
	active := &activeRuns{runs: make(map[contract.RunID]bool), added: make(chan struct{})}
	return &Service{Options: opts, kv: kv, replies: newReplyMatcher(), active: active,
		resultsSince: bucket.CachedInfo().State.LastSeq}, nil
}

// Run executes commands and publishes jobs until ctx ends. Cancellation is not an error.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer s.replies.close()
	group.Go(func() error { return s.watchResults(ctx) })
	group.Go(func() error { return runs.Follow(ctx, s.Bus, s.handleRun) })
	group.Go(func() error { return s.expireCommands(ctx) })
	group.Go(func() error { return s.keepSharedConsumers(ctx) })
	for _, consumer := range []string{streams.ConsumerControl, streams.ConsumerStarts} {
		group.Go(func() error { return s.consumeCommands(ctx, consumer) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the generator: %w", err)
	}
	return nil
}

// addTimeout limits the time that a start waits until its run is added. A run that is halted
// meanwhile is never added.
const addTimeout = 2 * time.Second

// activeRuns is the set of runs that this generator serves.
type activeRuns struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
	// added is closed and replaced when a run is added.
	added chan struct{}
}

// add adds a run until remove is called.
func (a *activeRuns) add(run contract.RunID) (remove func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[run] = true
	close(a.added)
	a.added = make(chan struct{})
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.runs, run)
	}
}

func (a *activeRuns) snapshot() map[contract.RunID]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.runs)
}

// await returns when a run has been added, or after addTimeout.
func (a *activeRuns) await(ctx context.Context, run contract.RunID) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	for {
		a.mu.Lock()
		active, added := a.runs[run], a.added
		a.mu.Unlock()
		if active {
			return
		}
		select {
		case <-added:
		case <-ctx.Done():
			return
		}
	}
}

// pendingStartDelay is the interval at which a stop of an unknown run is retried while earlier
// starts are pending.
const pendingStartDelay = 50 * time.Millisecond

// consumeCommands executes the commands of one consumer until ctx ends. Starts have a consumer of
// their own, so that a stop does not wait for the starts before it.
func (s *Service) consumeCommands(ctx context.Context, name string) error {
	consumer, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, name)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return bus.Consume(ctx, s.Bus, bus.ConsumeOptions[[]byte]{
		Consumer:      consumer,
		DeliverForged: true, // a forged command is rejected with a reply
		Decode:        func(data []byte) ([]byte, error) { return data, nil },
		Handle: func(ctx context.Context, d bus.Delivery[[]byte]) error {
			if (d.Subject == contract.SubjectStart) != (name == streams.ConsumerStarts) {
				return nil // belongs to the other consumer
			}
			return s.handleCommand(ctx, d)
		},
	})
}

// handleCommand executes one command once and stores its result under its sequence. Commands are
// serialized, because a start would otherwise undo a concurrent stop of the same run.
func (s *Service) handleCommand(ctx context.Context, d bus.Delivery[[]byte]) error {
	s.commandMu.Lock()
	defer s.commandMu.Unlock()
	if d.Subject == contract.SubjectStop { // the stop may end this process before the result is stored
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
	}
	result := contract.CommandResult{Digest: digest(d.Subject, d.Header, d.Body), At: d.StoredAt}
	key := contract.CommandKey(d.Sequence)
	if done, err := s.isHandled(ctx, key, result); err != nil || done {
		return err
	}
	err := checkHeaders(d.Header)
	switch {
	case err != nil:
	case d.Subject == contract.SubjectStart:
		result.RunID, err = s.startRun(ctx, d)
	case d.Subject == contract.SubjectStop:
		result.RunID, err = s.stopRun(ctx, d)
	default:
		result.RunID, err = s.steerRun(ctx, d)
	}
	if errors.Is(err, ErrCommand) {
		s.Log.Warn("batch.rejected", "subject", d.Subject, "sequence", d.Sequence, "error", err)
		result.Rejected = err.Error()
		err = s.publishRejection(ctx, d.Subject, d.Sequence, err)
	}
	if err != nil {
		return err
	}
	if err := runs.Put(ctx, s.kv, key, result); err != nil {
		return err
	}
	s.replies.deliverStored(result, d.Sequence)
	return nil
}

// isHandled reports whether the result of this command is stored. A result with the same sequence
// may belong to a stream that was deleted or lost its last messages, so the time is compared too.
func (s *Service) isHandled(ctx context.Context, key string, command contract.CommandResult) (bool, error) {
	result, err := readKey[contract.CommandResult](ctx, s.kv, key)
	switch {
	case err != nil || result.missing():
		return false, err
	case result.unreadable(): // written by another program; executing the command twice would be worse
		return true, nil
	default:
		return result.value.At.Equal(command.At), nil
	}
}

// publishRejection publishes why a command was rejected. sequence is 0 for a command that the
// stream did not store.
func (s *Service) publishRejection(ctx context.Context, subject string, sequence uint64, reason error) error {
	rejection := contract.Rejection{Subject: subject, Sequence: sequence, Reason: reason.Error(), At: time.Now().UTC()}
	if invalid, ok := errors.AsType[ValidationError](reason); ok {
		rejection.Problems = invalid.reported()
	}
	return s.Bus.PublishJSON(ctx, contract.SubjectRejected, rejection)
}

// findRun decodes a command about a run and reads the manifest of the run. It reads whether an earlier
// start is pending first: if none is, the run of every earlier start has a manifest by the time that
// it is read.
func (s *Service) findRun(
	ctx context.Context, d bus.Delivery[[]byte],
) (spec contract.ControlSpec, manifest stored[contract.Manifest], err error) {
	if spec, err = ReadControl(d.Subject, d.Body); err != nil {
		return spec, manifest, err
	}
	pending, err := s.startsPending(ctx, d.Sequence)
	if err != nil {
		return spec, manifest, err
	}
	if manifest, err = readKey[contract.Manifest](ctx, s.kv, spec.RunID.ManifestKey()); err != nil {
		return spec, manifest, err
	}
	err = decideKnown(spec.RunID, manifest, pending)
	if errors.Is(err, errStartPending) {
		err = bus.RetryIn(pendingStartDelay, err)
	}
	return spec, manifest, err
}

// stopRun executes a stop.
func (s *Service) stopRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	spec, _, err := s.findRun(ctx, d)
	if err != nil {
		return "", err
	}
	halt := contract.Halt{Status: contract.Stopped, Reason: "stopped by batch.stop", At: time.Now().UTC()}
	if err := runs.Halt(ctx, s.kv, spec.RunID, halt); err != nil {
		return "", err
	}
	return spec.RunID, s.recordStop(ctx, spec.RunID, d)
}

// steerRun executes a pause, a resume or a tune.
func (s *Service) steerRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	spec, manifest, err := s.findRun(ctx, d)
	if err != nil {
		return "", err
	}
	state, err := readKey[contract.State](ctx, s.kv, spec.RunID.StateKey())
	if err != nil {
		return "", err
	}
	halt, err := readKey[contract.Halt](ctx, s.kv, spec.RunID.HaltKey())
	if err != nil {
		return "", err
	}
	c := controlCommand{name: strings.TrimPrefix(d.Subject, "batch."), tuning: spec.Tuning, sequence: d.Sequence,
		at: d.StoredAt, config: manifest.value.Config}
	if err := decideSteer(c.name, spec.RunID, state, halt); err != nil {
		return "", err
	}
	return spec.RunID, s.changeControl(ctx, spec.RunID, c)
}

// changeControl executes a command on the control of a run.
func (s *Service) changeControl(ctx context.Context, run contract.RunID, c controlCommand) error {
	_, err := runs.Update(ctx, s.kv, run.ControlKey(),
		func(control contract.Control, err error) (contract.Control, bool, error) {
			switch {
			case errors.Is(err, jetstream.ErrKeyNotFound):
				control = contract.Control{}
			case errors.Is(err, runs.ErrUnreadable):
				control = runs.UnreadableControl(err, c.at)
			case err != nil:
				return control, false, err
			}
			return c.apply(control)
		})
	if err != nil && !errors.Is(err, ErrCommand) {
		err = fmt.Errorf("writing the control of run %s: %w", run, err)
	}
	return err
}

// startsPending reports whether a start before a sequence has not been executed yet.
func (s *Service) startsPending(ctx context.Context, before uint64) (bool, error) {
	starts, err := s.consumerInfo(ctx, streams.ConsumerStarts)
	return err == nil && starts.AckFloor.Stream < before, err
}

func (s *Service) consumerInfo(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	consumer, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, name)
	if err != nil {
		return nil, fmt.Errorf("reading consumer %s: %w", name, err)
	}
	return consumer.CachedInfo(), nil
}

// recordStop stores the sequence and time of the latest stop in the halt of a run, even if
// something else halted the run first.
func (s *Service) recordStop(ctx context.Context, run contract.RunID, d bus.Delivery[[]byte]) error {
	key := run.HaltKey()
	_, err := runs.Update(ctx, s.kv, key, func(halt contract.Halt, err error) (contract.Halt, bool, error) {
		// Either another generator has restarted the run, or it is halted although its halt is unreadable.
		if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, runs.ErrUnreadable) {
			return halt, false, nil
		}
		halt.Command, halt.CommandAt = d.Sequence, d.StoredAt
		return halt, err == nil, err
	})
	if err != nil {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	return nil
}

const (
	// commandRetention is the time that an executed or rejected command stays in its stream. A
	// pending command stays longer.
	commandRetention = 24 * time.Hour
	expireInterval   = time.Hour
)

// expireCommands removes old commands from their stream immediately and every hour until ctx ends.
// Their results stay in the bucket of runs.
func (s *Service) expireCommands(ctx context.Context) error {
	for {
		if removed, err := s.expire(ctx, s.Now().Add(-commandRetention)); err != nil && ctx.Err() == nil {
			s.Log.Warn("batch.commands.kept", "error", err)
		} else if removed > 0 {
			s.Log.Info("batch.commands.expired", "commands", removed)
		}
		if delay.Sleep(ctx, expireInterval) != nil {
			return nil
		}
	}
}

// expire removes the commands that were stored before a time, up to the first pending one.
func (s *Service) expire(ctx context.Context, before time.Time) (removed uint64, err error) {
	stream, err := s.Bus.JetStream().Stream(ctx, contract.StreamBatch)
	if err != nil {
		return 0, fmt.Errorf("removing old commands: %w", err)
	}
	done, err := s.handledUpTo(ctx)
	if err != nil {
		return 0, err
	}
	first := stream.CachedInfo().State.FirstSeq
	if done < first {
		return 0, nil
	}
	count := sort.Search(int(done-first)+1, func(i int) bool {
		msg, getErr := s.Bus.GetNext(ctx, contract.StreamBatch, "batch.*", first+uint64(i))
		if getErr != nil {
			if !errors.Is(getErr, jetstream.ErrMsgNotFound) {
				err = getErr
			}
			return true
		}
		return msg.Sequence > done || !msg.StoredAt.Before(before)
	})
	if err != nil || count == 0 {
		return 0, err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first+uint64(count))); err != nil {
		return 0, fmt.Errorf("removing old commands: %w", err)
	}
	return uint64(count), nil
}

// handledUpTo returns the sequence up to which all commands are executed. It reads the consumer of
// starts first, so that the second consumer has received all other commands up to that sequence.
func (s *Service) handledUpTo(ctx context.Context) (uint64, error) {
	starts, err := s.consumerInfo(ctx, streams.ConsumerStarts)
	if err != nil {
		return 0, err
	}
	others, err := s.consumerInfo(ctx, streams.ConsumerControl)
	if err != nil {
		return 0, err
	}
	if others.NumPending > 0 || others.NumAckPending > 0 {
		return min(starts.AckFloor.Stream, others.AckFloor.Stream), nil
	}
	return starts.AckFloor.Stream, nil
}
