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
	// maxAsking bounds how many requests wait for an answer at once.
	maxAsking = 1024
	// replyLimit is how long a request waits; nats req itself gives up after five seconds, fct-scraper later.
	replyLimit = 30 * time.Second
	// refusedLimit is how long a command that is to be refused waits for that if the stream keeps it.
	refusedLimit = 2 * time.Second
	// early is for how long a result is kept whose request has not come yet, and how long a request waits for its own result
	// before it takes one of those.
	early = time.Second
	// stopLimit is how long a stop goes on when the service that carries it out has been told to end.
	stopLimit = 5 * time.Second
)

// result is what became of one command.
type result struct {
	contract.CommandResult
	sequence uint64
	at       time.Time
}

// replies bring requests and the results of commands together. The stream keeps no reply subject, and a request does not know
// its place in the stream, so they meet by their content: a request gets the first result of an equal command that comes after
// it. Whichever of two equal commands that is, it was carried out after the request was made.
type replies struct {
	mu     sync.Mutex
	asking map[string][]chan result // by digest, the oldest request first
	count  int
	recent []result
	// known are the commands whose results were told of late, older those before them: the result of one that this process
	// carries out comes from there and from the watch.
	known, older map[place]bool
	turned       time.Time
	closed       bool
	done         chan struct{}
	open         sync.WaitGroup
}

// place is a command's in the stream. One of the same sequence may be of a stream that was removed.
type place struct {
	sequence uint64
	at       int64
}

func newReplies() *replies {
	return &replies{asking: make(map[string][]chan result), known: make(map[place]bool), done: make(chan struct{})}
}

// digest is the same for two commands exactly when they say the same to the generator and to the stream.
func digest(subject string, header nats.Header, body []byte) string {
	var said []byte
	for _, name := range own(header) {
		said = fmt.Appendf(said, "%q %q\n", name, header[name])
	}
	said = append(append(said, subject+"\n"...), body...)
	sum := sha256.Sum256(said)
	return hex.EncodeToString(sum[:16])
}

// enter makes a request wait for its result; not ok when there are too many, or when the service ends.
func (r *replies) enter(key string) (mine chan result, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.count >= maxAsking {
		return nil, false
	}
	mine = make(chan result, 1)
	r.asking[key] = append(r.asking[key], mine)
	r.count++
	r.open.Add(1)
	return mine, true
}

// leave takes a request away.
func (r *replies) leave(key string, mine chan result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	r.open.Done()
	left := slices.DeleteFunc(r.asking[key], func(c chan result) bool { return c == mine })
	if r.asking[key] = left; len(left) == 0 {
		delete(r.asking, key)
	}
}

// tell gives a result to the oldest request that waits for it, or keeps it for a while. A result that was told is told no more.
func (r *replies) tell(of result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := place{of.sequence, of.At.UnixNano()}
	if r.known[at] || r.older[at] {
		return
	}
	if of.at.Sub(r.turned) > replyLimit {
		r.older, r.known, r.turned = r.known, make(map[place]bool), of.at
	}
	r.known[at] = true
	r.recent = slices.DeleteFunc(r.recent, func(old result) bool { return of.at.Sub(old.at) > 2*early })
	waiting := r.asking[of.Digest]
	if len(waiting) == 0 {
		r.recent = append(r.recent, of)
		return
	}
	waiting[0] <- of // has room for the one
	r.asking[of.Digest] = waiting[1:]
}

// kept tells what became of a command and is kept.
func (r *replies) kept(of contract.CommandResult, sequence uint64) {
	r.tell(result{CommandResult: of, sequence: sequence, at: time.Now()})
}

// missed is the newest result that had come shortly before its request; it is given once.
func (r *replies) missed(key string, asked time.Time) (of result, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, of := range slices.Backward(r.recent) {
		if of.Digest == key && asked.Sub(of.at) < early {
			r.recent = slices.Delete(r.recent, i, i+1)
			return of, true
		}
	}
	return of, false
}

// await waits for the result of a request.
func (r *replies) await(key string, mine chan result, limit time.Duration) (result, error) {
	asked := time.Now()
	late, end := time.NewTimer(early), time.NewTimer(limit)
	defer late.Stop()
	defer end.Stop()
	for {
		select {
		case of := <-mine:
			return of, nil
		case <-late.C:
			if of, found := r.missed(key, asked); found {
				return of, nil
			}
		case <-end.C:
			return result{}, fmt.Errorf("not carried out within %s; it will be when it was stored", limit)
		case <-r.done:
			select {
			case of := <-mine: // the command itself may be what ended this process
				return of, nil
			default:
			}
			return result{}, errors.New("the generator ends; the command is carried out by the next")
		}
	}
}

// close ends all waiting.
func (r *replies) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.done)
	r.open.Wait()
}

// watchResults follows what becomes of commands, whichever generator carries them out, until ctx ends. It leaves out no result since
// the service was made, as a command may be carried out before the watch stands.
func (s *Service) watchResults(ctx context.Context) error {
	keys := bus.Keys{Bucket: contract.BucketRuns, Filters: []string{contract.CommandFilter}, After: s.told}
	err := s.Bus.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if entry == nil || entry.Operation() != jetstream.KeyValuePut {
			return nil
		}
		var of contract.CommandResult
		sequence, err := strconv.ParseUint(strings.TrimPrefix(entry.Key(), "command."), 10, 64)
		if err == nil && json.Unmarshal(entry.Value(), &of) == nil { // else not written by this program
			s.replies.kept(of, sequence)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching the results of commands: %w", err)
}
