package integrity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// A reader that gets no message for so long looks once more, and then takes the rest for lost.
const silence = 5 * time.Second

var errEnough = errors.New("enough read")

// look reads a whole stream. points are sequences at which the hash of the chain is wanted. A message that is counted and
// cannot be read is ErrDamaged.
func (g *Guard) look(ctx context.Context, name string, what kind, points []uint64) (found, error) {
	now := found{at: map[uint64]string{0: text([sha256.Size]byte{})}, newest: map[string]message{}}
	stream, err := g.Bus.JetStream().Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	state := stream.CachedInfo().State
	now.there, now.First, now.Last, now.Count = true, state.FirstSeq, state.LastSeq, state.Msgs
	var count uint64
	var sum [sha256.Size]byte
	take := func(msg jetstream.Msg, meta *jetstream.MsgMetadata) {
		count++
		d := digest(msg, meta)
		switch what {
		case ledger:
			sum = link(sum, d)
			if slices.Contains(points, meta.Sequence.Stream) {
				now.at[meta.Sequence.Stream] = text(sum)
			}
		default:
			for i := range sum {
				sum[i] ^= d[i]
			}
		}
		if what == copied {
			now.newest[msg.Subject()] = messageOf(msg, meta)
		}
	}
	if name == contract.StreamAnswers { // a work queue has no readers beside its worker
		count, err = readable(ctx, stream, state)
	} else {
		err = g.read(ctx, name, 0, state, take)
	}
	now.Hash = text(sum)
	if what == ledger {
		g.chain, g.chained = sum, state.LastSeq
	}
	if err != nil && ctx.Err() != nil {
		return now, err
	}
	if err != nil || count < state.Msgs {
		now.Count = count
		return now, fmt.Errorf("%w: %s: expected %d messages up to %d, %d of them can be read", ErrDamaged, name, state.Msgs, state.LastSeq, count)
	}
	return now, nil
}

// readable counts the messages of a stream one by one.
func readable(ctx context.Context, stream jetstream.Stream, state jetstream.StreamState) (count uint64, err error) {
	for sequence := state.FirstSeq; sequence <= state.LastSeq && count < state.Msgs; sequence++ {
		msg, err := stream.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(">"))
		if err != nil {
			return count, err
		}
		count, sequence = count+1, msg.Sequence
	}
	return count, nil
}

// read hands the messages of a stream from a sequence on, up to where its state says that it ends, to take.
func (g *Guard) read(ctx context.Context, name string, after uint64, state jetstream.StreamState, take func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	if state.Msgs == 0 || state.LastSeq <= after {
		return nil
	}
	var err error
	for range 2 {
		limited, cancel := context.WithCancel(ctx)
		waiting := time.AfterFunc(silence, cancel)
		err = g.Bus.Follow(limited, name, ">", after, func(msg jetstream.Msg) error {
			waiting.Reset(silence)
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			if meta.Sequence.Stream > state.LastSeq {
				return errEnough
			}
			take(msg, meta)
			after = meta.Sequence.Stream
			if after == state.LastSeq || meta.NumPending == 0 {
				return errEnough
			}
			return nil
		})
		waiting.Stop()
		cancel()
		if errors.Is(err, errEnough) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// link is the chain with one more message.
func link(chain, digest [sha256.Size]byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(chain[:], digest[:]))
}

func messageOf(msg jetstream.Msg, meta *jetstream.MsgMetadata) message {
	return message{sequence: meta.Sequence.Stream, deleted: msg.Headers().Get("KV-Operation") != "", value: msg.Data()}
}

// kept says whether a key of a copied bucket is copied: not a run's checkpoint, which is large and is folded from the ledger.
func kept(subject string) bool {
	return !strings.HasPrefix(subject, "$KV."+contract.BucketRuns+".") || !strings.HasSuffix(subject, ".checkpoint")
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// digest is that of one message, its place and time included.
func digest(msg jetstream.Msg, meta *jetstream.MsgMetadata) [sha256.Size]byte {
	h := sha256.New()
	number := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	text := func(s string) { number(uint64(len(s))); _, _ = h.Write([]byte(s)) }
	number(meta.Sequence.Stream)
	number(uint64(meta.Timestamp.UnixNano()))
	text(msg.Subject())
	for _, name := range sorted(msg.Headers()) {
		text(name)
		for _, value := range msg.Headers()[name] {
			text(value)
		}
	}
	number(uint64(len(msg.Data())))
	_, _ = h.Write(msg.Data())
	return [sha256.Size]byte(h.Sum(nil))
}
