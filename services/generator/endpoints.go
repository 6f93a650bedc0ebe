package generator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// AddEndpoints makes the commands endpoints of a service: who sends one by a request is answered with a contract.CommandReply.
// The command itself is carried out as its stream keeps it, request or not, so that it outlives whoever answers. The stream
// acknowledges nothing (no_ack): its word would come before any answer.
func (s *Service) AddEndpoints(to micro.Service) error {
	for name, subject := range map[string]string{"start": contract.SubjectStart, "stop": contract.SubjectStop} {
		if err := to.AddEndpoint(name, micro.HandlerFunc(s.handleRequest), micro.WithEndpointSubject(subject)); err != nil {
			return fmt.Errorf("adding the endpoint %s: %w", subject, err)
		}
	}
	return nil
}

// handleRequest takes in one command as it passes by. It keeps nothing of the body, which may be as large as the server lets it be.
func (s *Service) handleRequest(request micro.Request) {
	to, headers := request.Reply(), nats.Header(request.Headers())
	c := endpointRequest{subject: request.Subject(), reply: to, key: digest(request.Subject(), headers, request.Data())}
	c.headerErr, c.sizeErr = checkHeaders(headers), checkSize(headers, request.Data())
	if c.headerErr == nil && c.sizeErr == nil && !safeReplySubject(to) {
		if to != "" {
			s.Log.Warn("batch.reply.refused", "subject", c.subject, "reply", fmt.Sprintf("%.80q", to))
		}
		return
	}
	mine, ok := s.replies.register(c.key)
	if !ok {
		s.sendReply(c, contract.CommandReply{Error: "too many requests at once, or the generator ends: ask again"})
		return
	}
	go func() {
		defer s.replies.unregister(c.key, mine)
		s.awaitAndReply(c, mine)
	}()
}

// endpointRequest is a command as an endpoint heard it. refused is why it is refused if the stream keeps it, unkept why the stream does not.
type endpointRequest struct {
	subject, reply, key string
	headerErr, sizeErr  error
}

// awaitAndReply waits for what becomes of a command and answers its request. A header may have made the stream drop the command; it is
// then refused here, and not by whoever carries out what the stream has.
func (s *Service) awaitAndReply(c endpointRequest, mine chan commandResult) {
	if c.sizeErr != nil {
		s.rejectUnstored(c, c.sizeErr)
		return
	}
	limit := replyTimeout
	if c.headerErr != nil {
		limit = rejectedReplyTimeout
	}
	of, err := s.replies.await(c.key, mine, limit)
	switch {
	case err == nil:
		s.sendReply(c, contract.CommandReply{RunID: of.RunID, Error: of.Rejected, Stream: contract.StreamBatch, Sequence: of.sequence})
	case c.headerErr != nil:
		s.rejectUnstored(c, c.headerErr)
	default:
		s.sendReply(c, contract.CommandReply{Error: err.Error()})
	}
}

// sendReply answers a request; who went away misses nothing.
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

// rejectUnstored tells of a command that the stream does not keep.
func (s *Service) rejectUnstored(c endpointRequest, refused error) {
	s.Log.Warn("batch.rejected", "subject", c.subject, "error", refused)
	if err := s.publishRejection(context.Background(), c.subject, 0, refused); err != nil { // the bus sets the limit
		s.Log.Warn("batch.reply.failed", "subject", c.subject, "error", err)
	}
	s.sendReply(c, contract.CommandReply{Error: refused.Error()})
}

// requestInfoHeader is the header by which the server tells who asks from another account. The stream does not keep it.
const requestInfoHeader = "Nats-Request-Info"

// serverHeaders are the headers that mean something to the server, sorted. Their names are compared without regard to case, to be
// on the safe side.
func serverHeaders(header nats.Header) []string {
	var names []string
	for name, values := range header {
		const prefix = "nats-"
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && name != requestInfoHeader && len(values) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkHeader refuses a command with a header that is for the server. By some of them the stream drops a command without a word (an
// expectation that does not hold, an id that it has seen, rollup, TTL, counter, schedule, parts of batches), and by Nats-Stream
// the server marks what it read out of a stream, which whoever may read one can have it send to batch.start.
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

// checkSize refuses a command that is larger than the stream takes.
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
		Field: "body", Value: quote(body[:min(len(body), 30)]), Reason: fmt.Sprintf("it has %d bytes with its headers, more than %d", size, maxBodyBytes), Allowed: jsonObject,
	})
}

// safeReplySubject says whether an answer may go to a reply subject: never to one on which this program or the server listens,
// or whoever may ask could have the generator speak there in his place.
func safeReplySubject(reply string) bool {
	first, _, _ := strings.Cut(reply, ".")
	switch first {
	case "", "batch", "job", "answer", "outcome", "turn", "slot", "fct":
		return false
	default:
		return !strings.HasPrefix(reply, "$")
	}
}
