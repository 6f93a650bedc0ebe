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

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// readTimeout is how long a reader waits for a message before it reads once more and then counts
// the rest as lost.
const readTimeout = 5 * time.Second

var errReadEnough = errors.New("enough read")

// scan reads a complete stream. points are the sequences at which the hash of the chain is wanted.
// A message that the stream counts and that cannot be read is ErrDamaged.
func (g *Guard) scan(ctx context.Context, name string, what kind, points []uint64) (contents, error) {
	now := contents{chainAt: map[uint64]string{0: hexHash([sha256.Size]byte{})}, newest: map[string]message{}}
	stream, err := g.Bus.JetStream().Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	state := stream.CachedInfo().State
	now.exists, now.First, now.Last, now.Count = true, state.FirstSeq, state.LastSeq, state.Msgs
	var count uint64
	var sum [sha256.Size]byte
	take := func(msg bus.Message) {
		count++
		d := digest(msg)
		switch what {
		case ledger:
			sum = extendHash(sum, d)
			if slices.Contains(points, msg.Sequence) {
				now.chainAt[msg.Sequence] = hexHash(sum)
			}
		default:
			for i := range sum {
				sum[i] ^= d[i]
			}
		}
		if what == copied {
			now.newest[msg.Subject] = newMessage(msg)
		}
	}
	err = g.readStream(ctx, stream, 0, take)
	now.Hash = hexHash(sum)
	if what == ledger {
		g.chain, g.chainEnd = sum, state.LastSeq
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

// readStream passes the messages of a stream after a sequence to take, up to the last sequence of
// the stream's state.
func (g *Guard) readStream(ctx context.Context, stream jetstream.Stream, after uint64, take func(bus.Message)) error {
	info := stream.CachedInfo()
	state, name := info.State, info.Config.Name
	if state.Msgs == 0 || state.LastSeq <= after {
		return nil
	}
	var count uint64
	each := func(msg bus.Message) error {
		if msg.Sequence > state.LastSeq {
			return errReadEnough
		}
		take(msg)
		after = msg.Sequence
		if count++; count == state.Msgs || after == state.LastSeq {
			return errReadEnough
		}
		return nil
	}
	if !info.Config.AllowDirect { // a work queue, or a store of an earlier version
		for err := error(nil); err == nil; {
			msg, lost := g.Bus.GetNext(ctx, name, ">", after+1)
			if err = lost; err == nil {
				err = each(msg)
			}
			if errors.Is(err, errReadEnough) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	var err error
	for range 2 {
		limited, cancel := context.WithCancel(ctx)
		waiting := time.AfterFunc(readTimeout, cancel)
		err = g.Bus.Tail(limited, name, ">", after, func(msg bus.Message) error {
			waiting.Reset(readTimeout)
			return each(msg)
		})
		waiting.Stop()
		cancel()
		if errors.Is(err, errReadEnough) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// anchor is the digest of the message at a sequence; empty if there is none. Answers are not read:
// they may be large and stay only for a moment.
func (g *Guard) anchor(ctx context.Context, name string, sequence uint64) (string, error) {
	if name == contract.StreamAnswers || sequence == 0 {
		return "", nil
	}
	msg, err := g.Bus.Get(ctx, name, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return hexHash(digest(msg)), nil
}

// extendHash is the hash chain with one more message.
func extendHash(chain, digest [sha256.Size]byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(chain[:], digest[:]))
}

func newMessage(msg bus.Message) message {
	return message{sequence: msg.Sequence, deleted: msg.Header.Get("KV-Operation") != "", value: msg.Data}
}

// isCopied reports whether a key of a copied bucket is copied. Checkpoints of runs are not: they
// are large and can be folded from the ledger.
func isCopied(subject string) bool {
	return !strings.HasPrefix(subject, "$KV."+contract.BucketRuns+".") || !strings.HasSuffix(subject, ".checkpoint")
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// digest is the hash of one message, including its sequence and time.
func digest(msg bus.Message) [sha256.Size]byte {
	h := sha256.New()
	number := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	text := func(s string) { number(uint64(len(s))); _, _ = h.Write([]byte(s)) }
	number(msg.Sequence)
	number(uint64(msg.StoredAt.UnixNano()))
	text(msg.Subject)
	for _, name := range sortedKeys(msg.Header) {
		if strings.HasPrefix(name, "Nats-") { // added by the server, depending on the API used
			continue
		}
		text(name)
		for _, value := range msg.Header[name] {
			text(value)
		}
	}
	number(uint64(len(msg.Data)))
	_, _ = h.Write(msg.Data)
	return [sha256.Size]byte(h.Sum(nil))
}
