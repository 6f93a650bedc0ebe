package generator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxWaitingRequests bounds how many requests wait for an answer at once.
	maxWaitingRequests = 1024
	// replyTimeout is how long a request waits; nats req itself gives up after five seconds, fct-scraper later.
	replyTimeout = 30 * time.Second
	// rejectedReplyTimeout is how long a command that is to be refused waits for that if the stream keeps it.
	rejectedReplyTimeout = 2 * time.Second
	// matchWindow is for how long a result is kept whose request has not come yet, and how long a request waits for its own result
	// before it takes one of those.
	matchWindow = time.Second
	// stopTimeout is how long a stop goes on when the service that carries it out has been told to end.
	stopTimeout = 5 * time.Second
)

// commandResult is what became of one command.
type commandResult struct {
	contract.CommandResult
	sequence   uint64
	receivedAt time.Time
}

// replyMatcher bring requests and the results of commands together. The stream keeps no reply subject, and a request does not know
// its place in the stream, so they meet by their content: a request gets the first result of an equal command that comes after
// it. Whichever of two equal commands that is, it was carried out after the request was made.
type replyMatcher struct {
	mu      sync.Mutex
	waiting map[string][]chan commandResult // by digest, the oldest request first
	count   int
	recent  []commandResult
	// delivered are the commands whose results were told of late, older those before them: the result of one that this process
	// carries out comes from there and from the watch.
	delivered, deliveredBefore map[commandPosition]bool
	rotatedAt                  time.Time
	closed                     bool
	done                       chan struct{}
	requests                   sync.WaitGroup
}

// commandPosition is a command's in the stream. One of the same sequence may be of a stream that was removed.
type commandPosition struct {
	sequence uint64
	at       int64
}

func newReplyMatcher() *replyMatcher {
	return &replyMatcher{waiting: make(map[string][]chan commandResult), delivered: make(map[commandPosition]bool), done: make(chan struct{})}
}

// digest is the same for two commands exactly when they say the same to the generator and to the stream.
func digest(subject string, header nats.Header, body []byte) string {
	var said []byte
	for _, name := range serverHeaders(header) {
		said = fmt.Appendf(said, "%q %q\n", name, header[name])
	}
	said = append(append(said, subject+"\n"...), body...)
	sum := sha256.Sum256(said)
	return hex.EncodeToString(sum[:16])
}

// register makes a request wait for its result; not ok when there are too many, or when the service ends.
func (r *replyMatcher) register(key string) (mine chan commandResult, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.count >= maxWaitingRequests {
		return nil, false
	}
	mine = make(chan commandResult, 1)
	r.waiting[key] = append(r.waiting[key], mine)
	r.count++
	r.requests.Add(1)
	return mine, true
}

// unregister takes a request away.
func (r *replyMatcher) unregister(key string, mine chan commandResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	r.requests.Done()
	left := slices.DeleteFunc(r.waiting[key], func(c chan commandResult) bool { return c == mine })
	if r.waiting[key] = left; len(left) == 0 {
		delete(r.waiting, key)
	}
}

// deliver gives a result to the oldest request that waits for it, or keeps it for a while. A result that was told is told no more.
func (r *replyMatcher) deliver(of commandResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := commandPosition{of.sequence, of.At.UnixNano()}
	if r.delivered[at] || r.deliveredBefore[at] {
		return
	}
	if of.receivedAt.Sub(r.rotatedAt) > replyTimeout {
		r.deliveredBefore, r.delivered, r.rotatedAt = r.delivered, make(map[commandPosition]bool), of.receivedAt
	}
	r.delivered[at] = true
	r.recent = slices.DeleteFunc(r.recent, func(old commandResult) bool { return of.receivedAt.Sub(old.receivedAt) > 2*matchWindow })
	waiting := r.waiting[of.Digest]
	if len(waiting) == 0 {
		r.recent = append(r.recent, of)
		return
	}
	waiting[0] <- of // has room for the one
	r.waiting[of.Digest] = waiting[1:]
}

// stored tells what became of a command and is kept.
func (r *replyMatcher) stored(of contract.CommandResult, sequence uint64) {
	r.deliver(commandResult{CommandResult: of, sequence: sequence, receivedAt: time.Now()})
}

// takeRecent is the newest result that had come shortly before its request; it is given once.
func (r *replyMatcher) takeRecent(key string, asked time.Time) (of commandResult, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, of := range slices.Backward(r.recent) {
		if of.Digest == key && asked.Sub(of.receivedAt) < matchWindow {
			r.recent = slices.Delete(r.recent, i, i+1)
			return of, true
		}
	}
	return of, false
}

// await waits for the result of a request.
func (r *replyMatcher) await(key string, mine chan commandResult, limit time.Duration) (commandResult, error) {
	asked := time.Now()
	late, end := time.NewTimer(matchWindow), time.NewTimer(limit)
	defer late.Stop()
	defer end.Stop()
	for {
		select {
		case of := <-mine:
			return of, nil
		case <-late.C:
			if of, found := r.takeRecent(key, asked); found {
				return of, nil
			}
		case <-end.C:
			return commandResult{}, fmt.Errorf("not carried out within %s; it will be when it was stored", limit)
		case <-r.done:
			select {
			case of := <-mine: // the command itself may be what ended this process
				return of, nil
			default:
			}
			return commandResult{}, errors.New("the generator ends; the command is carried out by the next")
		}
	}
}

// close ends all waiting.
func (r *replyMatcher) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.done)
	r.requests.Wait()
}

// watchResults follows what becomes of commands, whichever generator carries them out, until ctx ends. It leaves out no result since
// the service was made, as a command may be carried out before the watch stands.
func (s *Service) watchResults(ctx context.Context) error {
	keys := bus.Keys{Bucket: contract.BucketRuns, Filters: []string{contract.CommandFilter}, After: s.resultsSince}
	err := s.Bus.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if entry == nil || entry.Operation() != jetstream.KeyValuePut {
			return nil
		}
		var of contract.CommandResult
		sequence, err := strconv.ParseUint(strings.TrimPrefix(entry.Key(), "command."), 10, 64)
		if err == nil && json.Unmarshal(entry.Value(), &of) == nil { // else not written by this program
			s.replies.stored(of, sequence)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching the results of commands: %w", err)
}
