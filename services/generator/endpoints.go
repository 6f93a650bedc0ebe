package generator

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// AddEndpoints makes the commands endpoints of a service: who sends one by a request is answered with a contract.CommandReply.
// The command itself is carried out as its stream keeps it, request or not, so that it outlives whoever answers. The stream
// acknowledges nothing (no_ack): its word would come before any answer.
func (s *Service) AddEndpoints(to micro.Service) error {
	for name, subject := range map[string]string{"start": contract.SubjectStart, "stop": contract.SubjectStop} {
		if err := to.AddEndpoint(name, micro.HandlerFunc(s.asked), micro.WithEndpointSubject(subject)); err != nil {
			return fmt.Errorf("adding the endpoint %s: %w", subject, err)
		}
	}
	return nil
}

// asked takes in one command as it passes by.
func (s *Service) asked(request micro.Request) {
	subject, refused := request.Subject(), unkept(request.Headers())
	if refused == nil && !answerable(request.Reply()) {
		if request.Reply() != "" {
			s.Log.Warn("batch.reply.refused", "subject", subject, "reply", fmt.Sprintf("%.80q", request.Reply()))
		}
		return
	}
	key := digest(subject, request.Data())
	mine, ok := s.replies.enter(key)
	if !ok {
		s.reply(request, contract.CommandReply{Error: "too many requests at once, or the generator ends: ask again"})
		return
	}
	go func() {
		defer s.replies.leave(key, mine)
		if refused != nil {
			s.refuseUnkept(request, refused)
			return
		}
		of, err := s.replies.await(key, mine)
		if err != nil {
			s.reply(request, contract.CommandReply{Error: err.Error()})
			return
		}
		s.reply(request, contract.CommandReply{RunID: of.RunID, Error: of.Rejected, Stream: contract.StreamBatch, Sequence: of.sequence})
	}()
}

// reply answers a request; who went away misses nothing.
func (s *Service) reply(request micro.Request, reply contract.CommandReply) {
	if !answerable(request.Reply()) {
		return
	}
	data, err := json.Marshal(reply)
	if err == nil {
		err = request.Respond(data)
	}
	if err != nil {
		s.Log.Warn("batch.reply.failed", "subject", request.Subject(), "error", err)
	}
}

// refuseUnkept tells of a command that the stream does not keep.
func (s *Service) refuseUnkept(request micro.Request, refused error) {
	s.Log.Warn("batch.rejected", "subject", request.Subject(), "error", refused)
	if err := s.reject(context.Background(), request.Subject(), 0, refused); err != nil { // the bus sets the limit
		s.Log.Warn("batch.reply.failed", "subject", request.Subject(), "error", err)
	}
	s.reply(request, contract.CommandReply{Error: refused.Error()})
}

// unkept refuses a command with a header by which its stream would throw it away without a word.
func unkept(headers micro.Headers) error {
	for _, name := range []string{"Nats-Rollup", "Nats-TTL", "Nats-Incr", "Nats-Schedule", "Nats-Batch-Id"} {
		if value := headers.Get(name); value != "" {
			return refuse(contract.Problem{Field: "header " + name, Value: show([]byte(value)), Allowed: "a command without it"})
		}
	}
	return nil
}

// forged refuses a command that nobody gave: the server marks what it read out of a stream, and whoever may read one can have
// it answer to batch.start.
func forged(header nats.Header) error {
	if stream := header.Get(jetstream.StreamHeader); stream != "" {
		return refuse(contract.Problem{Field: "header " + jetstream.StreamHeader, Value: show([]byte(stream)), Allowed: "a command without it"})
	}
	return nil
}

// answerable says whether an answer may go to a reply subject: never to one on which this program or the server listens,
// or whoever may ask could have the generator speak there in his place.
func answerable(reply string) bool {
	first, _, _ := strings.Cut(reply, ".")
	switch first {
	case "", "batch", "job", "answer", "outcome", "turn", "slot", "fct":
		return false
	default:
		return !strings.HasPrefix(reply, "$")
	}
}
