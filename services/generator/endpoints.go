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
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// AddEndpoints registers the command subjects as endpoints of a micro service, which reply to
// requests with a contract.CommandReply. The stream stores the command independently of the
// endpoint, so a command survives the process that replies. The stream does not acknowledge
// commands (no_ack), because its acknowledgment would arrive before the reply.
func (s *Service) AddEndpoints(to micro.Service) error {
	for name, subject := range map[string]string{
		"start": contract.SubjectStart, "stop": contract.SubjectStop, "pause": contract.SubjectPause,
		"resume": contract.SubjectResume, "tune": contract.SubjectTune,
	} {
		if err := to.AddEndpoint(name, micro.HandlerFunc(s.handleRequest),
			micro.WithEndpointSubject(subject)); err != nil {
			return fmt.Errorf("adding the endpoint %s: %w", subject, err)
		}
	}
	return nil
}

// handleRequest starts the reply to one command. It does not retain the body, which may be as large
// as the server permits.
func (s *Service) handleRequest(received micro.Request) {
	to, headers := received.Reply(), nats.Header(received.Headers())
	request := endpointRequest{subject: received.Subject(), reply: to,
		key: digest(received.Subject(), headers, received.Data())}
	request.headerErr, request.sizeErr = checkHeaders(headers), checkSize(headers, received.Data())
	if request.headerErr == nil && request.sizeErr == nil && !safeReplySubject(to) {
		if to != "" {
			s.Log.Warn("batch.reply.refused", "subject", request.subject, "reply", fmt.Sprintf("%.80q", to))
		}
		return
	}
	results, ok := s.replies.register(request.key)
	if !ok {
		reply := contract.CommandReply{Error: "too many concurrent requests, or the generator is stopping: try again"}
		if result, found := s.replies.takeRecent(request.key, time.Now()); found { // it may have stopped this process
			reply = result.reply()
		}
		s.sendReply(request, reply)
		return
	}
	go func() {
		defer s.replies.unregister(request.key, results)
		s.awaitAndReply(request, results)
	}()
}

// endpointRequest is a command that an endpoint received. headerErr is the reason for rejection if
// the stream stores the command, sizeErr the reason why the stream does not store it.
type endpointRequest struct {
	subject, reply, key string
	headerErr, sizeErr  error
}

// awaitAndReply waits for the result of a command and replies to its request. A reserved header may
// have made the stream drop the command; in that case the endpoint rejects it itself.
func (s *Service) awaitAndReply(request endpointRequest, results chan commandResult) {
	if request.sizeErr != nil {
		s.rejectUnstored(request, request.sizeErr)
		return
	}
	limit := replyTimeout
	if request.headerErr != nil {
		limit = rejectedReplyTimeout
	}
	result, err := s.replies.await(request.key, results, limit)
	for waited := limit; request.headerErr != nil && errors.Is(err, errNotExecuted) &&
		waited < replyTimeout; waited += limit {
		wait := limit
		if !s.commandsPending() { // its result is here by now, or the stream dropped it
			wait, waited = 0, replyTimeout
		}
		result, err = s.replies.await(request.key, results, wait)
	}
	switch {
	case err == nil:
		s.sendReply(request, result.reply())
	case request.headerErr != nil:
		s.rejectUnstored(request, request.headerErr)
	default:
		s.sendReply(request, contract.CommandReply{Error: err.Error()})
	}
}

// commandsPending reports whether stored commands, among which a request's may be, have no result yet.
func (s *Service) commandsPending() bool {
	ctx, cancel := context.WithTimeout(context.Background(), replyTimeout)
	defer cancel()
	for _, name := range []string{streams.ConsumerControl, streams.ConsumerStarts} {
		info, err := s.consumerInfo(ctx, name)
		if err != nil || info.NumPending > 0 || info.NumAckPending > 0 {
			return true
		}
	}
	return false
}

// sendReply replies to a request, if it has a safe reply subject.
func (s *Service) sendReply(to endpointRequest, reply contract.CommandReply) {
	if !safeReplySubject(to.reply) {
		return
	}
	data, err := json.Marshal(reply)
	if err == nil {
		err = s.Bus.Conn().Publish(to.reply, data)
	}
	if err != nil {
		s.Log.Warn("batch.reply.failed", "subject", to.subject, "error", err)
	}
}

// rejectUnstored rejects a command that the stream did not store.
func (s *Service) rejectUnstored(request endpointRequest, reason error) {
	s.Log.Warn("batch.rejected", "subject", request.subject, "error", reason)
	// The bus sets the timeout.
	if err := s.publishRejection(context.Background(), request.subject, 0, reason); err != nil {
		s.Log.Warn("batch.reply.failed", "subject", request.subject, "error", err)
	}
	s.sendReply(request, contract.CommandReply{Error: reason.Error()})
}

// requestInfoHeader is the header in which the server names a requester of another account. The
// stream does not store it.
const requestInfoHeader = "Nats-Request-Info"

// serverHeaders returns the sorted names of the headers that are reserved for the server. The
// comparison ignores case as a precaution.
func serverHeaders(header nats.Header) []string {
	var names []string
	for name, values := range header {
		const prefix = "nats-"
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && name != requestInfoHeader &&
			len(values) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkHeaders rejects a command with reserved headers. Some make the stream drop a command
// silently (a failed expectation, a known message id, rollup, TTL, counter, schedule, parts of
// batches). Nats-Stream marks a message that the server read from a stream: anyone who may read a
// stream could have such a message delivered to batch.start.
func checkHeaders(header nats.Header) error {
	names := serverHeaders(header)
	if len(names) == 0 {
		return nil
	}
	return invalid(contract.Problem{
		Field: fmt.Sprintf("header %.200s", strings.Join(names, ", ")), Value: quote([]byte(header[names[0]][0])),
		Allowed: "a command without headers that begin with Nats-",
	})
}

// checkSize rejects a command that exceeds the maximum message size of the stream.
func checkSize(header nats.Header, body []byte) error {
	size := len(body)
	if len(header) > 0 {
		size += len("NATS/1.0\r\n\r\n")
	}
	for name, values := range header {
		for _, value := range values {
			if name != requestInfoHeader {
				size += len(name) + len(": ") + len(value) + len("\r\n")
			}
		}
	}
	if size <= maxBodyBytes {
		return nil
	}
	return invalid(contract.Problem{
		Field: "body", Value: quote(body[:min(len(body), 30)]), Allowed: jsonObject,
		Reason: fmt.Sprintf("it has %d bytes with its headers, more than %d", size, maxBodyBytes),
	})
}

// safeReplySubject reports whether a reply may be sent to a subject. Subjects on which this program
// or the server listens are not safe: a requester could use the generator to publish there.
func safeReplySubject(reply string) bool {
	first, _, _ := strings.Cut(reply, ".")
	switch first {
	case "", "batch", "job", "answer", "outcome", "turn", "slot", "fct":
		return false
	default:
		return !strings.HasPrefix(reply, "$")
	}
}

const (
	// maxWaitingRequests limits the requests that wait for a reply at once.
	maxWaitingRequests = 1024
	// replyTimeout limits the time that a request waits. nats req gives up after five seconds,
	// fct-scraper later.
	replyTimeout = 30 * time.Second
	// rejectedReplyTimeout limits the wait for the result of a command with an invalid header,
	// which the stream may not have stored.
	rejectedReplyTimeout = 2 * time.Second
	// matchWindow is the time that a result is held for a request that has not arrived yet. A
	// request waits as long for a result of its own before it takes a held one.
	matchWindow = time.Second
	// stopTimeout limits the execution of a stop while the service is stopping.
	stopTimeout = 5 * time.Second
)

// errNotExecuted reports that a command has no result in time.
var errNotExecuted = errors.New("not executed")

// commandResult is the result of one command.
type commandResult struct {
	contract.CommandResult
	sequence   uint64
	receivedAt time.Time
}

func (r commandResult) reply() contract.CommandReply {
	return contract.CommandReply{RunID: r.RunID, Error: r.Rejected, Stream: contract.StreamBatch, Sequence: r.sequence}
}

// replyMatcher matches requests with the results of commands. The stream does not store reply
// subjects, and a request does not know its sequence in the stream, so they are matched by content:
// a request gets the first result of an equal command that arrives after it. Whichever of several
// equal commands that is, it was executed after the request was sent.
type replyMatcher struct {
	mu      sync.Mutex
	waiting map[string][]chan commandResult // by digest, the oldest request first
	count   int
	recent  []commandResult
	// delivered holds the commands whose results were delivered recently, deliveredBefore those of
	// the period before. The result of a command that this process executes is delivered directly
	// and by the watch.
	delivered, deliveredBefore map[commandPosition]bool
	rotatedAt                  time.Time
	closed                     bool
	done                       chan struct{}
	requests                   sync.WaitGroup
}

// commandPosition identifies a command. The time distinguishes it from a command with the same
// sequence in a stream that was deleted.
type commandPosition struct {
	sequence uint64
	at       int64
}

func newReplyMatcher() *replyMatcher {
	return &replyMatcher{
		waiting: make(map[string][]chan commandResult), delivered: make(map[commandPosition]bool),
		done: make(chan struct{}),
	}
}

// digest returns a key of a command. Two commands have the same key exactly if subject, reserved
// headers and body are equal.
func digest(subject string, header nats.Header, body []byte) string {
	var text []byte
	for _, name := range serverHeaders(header) {
		text = fmt.Appendf(text, "%q %q\n", name, header[name])
	}
	text = append(append(text, subject+"\n"...), body...)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// register adds a request. It returns false if too many requests are waiting or the service is
// stopping.
func (r *replyMatcher) register(key string) (results chan commandResult, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.count >= maxWaitingRequests {
		return nil, false
	}
	results = make(chan commandResult, 1)
	r.waiting[key] = append(r.waiting[key], results)
	r.count++
	r.requests.Add(1)
	return results, true
}

func (r *replyMatcher) unregister(key string, results chan commandResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	r.requests.Done()
	rest := slices.DeleteFunc(r.waiting[key], func(c chan commandResult) bool { return c == results })
	if r.waiting[key] = rest; len(rest) == 0 {
		delete(r.waiting, key)
	}
}

// deliver passes a result to the oldest request that waits for it, or holds it for matchWindow. A
// result is delivered once.
func (r *replyMatcher) deliver(result commandResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	position := commandPosition{result.sequence, result.At.UnixNano()}
	if r.delivered[position] || r.deliveredBefore[position] {
		return
	}
	if result.receivedAt.Sub(r.rotatedAt) > replyTimeout {
		r.deliveredBefore, r.delivered, r.rotatedAt = r.delivered, make(map[commandPosition]bool), result.receivedAt
	}
	r.delivered[position] = true
	r.recent = slices.DeleteFunc(r.recent, func(old commandResult) bool {
		return result.receivedAt.Sub(old.receivedAt) > 2*matchWindow
	})
	waiting := r.waiting[result.Digest]
	if len(waiting) == 0 {
		r.recent = append(r.recent, result)
		return
	}
	waiting[0] <- result // never blocks: the channel has a buffer of one
	r.waiting[result.Digest] = waiting[1:]
}

// deliverStored delivers a result that is stored in the bucket of runs.
func (r *replyMatcher) deliverStored(result contract.CommandResult, sequence uint64) {
	r.deliver(commandResult{CommandResult: result, sequence: sequence, receivedAt: time.Now()})
}

// takeRecent removes and returns the newest held result that arrived shortly before its request.
func (r *replyMatcher) takeRecent(key string, requestedAt time.Time) (result commandResult, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, result := range slices.Backward(r.recent) {
		if result.Digest == key && requestedAt.Sub(result.receivedAt) < matchWindow {
			r.recent = slices.Delete(r.recent, i, i+1)
			return result, true
		}
	}
	return result, false
}

func (r *replyMatcher) await(key string, results chan commandResult, limit time.Duration) (commandResult, error) {
	requestedAt := time.Now()
	late, end := time.NewTimer(matchWindow), time.NewTimer(limit)
	defer late.Stop()
	defer end.Stop()
	for {
		select {
		case result := <-results:
			return result, nil
		case <-late.C:
			if result, found := r.takeRecent(key, requestedAt); found {
				return result, nil
			}
		case <-end.C:
			select {
			case result := <-results:
				return result, nil
			default:
			}
			return commandResult{}, fmt.Errorf("%w within %s; it is executed later if it was stored", errNotExecuted,
				limit)
		case <-r.done:
			// The command itself may have stopped this process, even before its request arrived.
			select {
			case result := <-results:
				return result, nil
			default:
			}
			if result, found := r.takeRecent(key, requestedAt); found {
				return result, nil
			}
			return commandResult{}, errors.New("the generator is stopping; another generator executes the command")
		}
	}
}

// close ends all waits and returns when all requests are unregistered.
func (r *replyMatcher) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.done)
	r.requests.Wait()
}

// watchResults delivers the results of commands, whichever generator executes them, until ctx ends.
// It starts at the revision at which the service was created, because a command may be executed
// before the watch is set up.
func (s *Service) watchResults(ctx context.Context) error {
	keys := bus.Keys{Bucket: contract.BucketRuns, Filters: []string{contract.CommandFilter}, After: s.resultsSince}
	err := s.Bus.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if entry == nil || entry.Operation() != jetstream.KeyValuePut {
			return nil
		}
		var result contract.CommandResult
		sequence, err := strconv.ParseUint(strings.TrimPrefix(entry.Key(), "command."), 10, 64)
		if err == nil && json.Unmarshal(entry.Value(), &result) == nil { // else written by another program
			s.replies.deliverStored(result, sequence)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching the results of commands: %w", err)
}
