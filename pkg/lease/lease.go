// Package lease keeps time for rights that expire unless their holder renews them: a delivered
// message, which its consumer keeps for the ack-wait, and a key, which its bucket keeps for the
// maximum age.
package lease

import (
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// Term is how long the server keeps a right after its last renewal: the ack_wait of a consumer, or
// the max_age of a bucket.
type Term time.Duration

// Heartbeat is the interval of the renewals: one may be lost, and the next one comes in time.
func (t Term) Heartbeat() time.Duration { return time.Duration(t) / 3 }

// Validity is how long the right may be used after its last renewal. It is shorter than the term:
// a process that was frozen does not notice the end of the term, and from then on another process
// may own the right.
func (t Term) Validity() time.Duration { return time.Duration(t) * 4 / 5 }

// Clock tells by the monotonic clock whether a right may still be used. It is safe for concurrent
// use.
type Clock struct {
	validity time.Duration

	mu sync.Mutex
	// renewedAt is when the right was requested, or its last successful renewal was sent. The term
	// at the server cannot have started earlier.
	renewedAt time.Time
	expired   bool
}

// NewClock returns the clock of a right that was requested at requestedAt.
func NewClock(term Term, requestedAt time.Time) *Clock {
	return &Clock{validity: term.Validity(), renewedAt: requestedAt}
}

// Renewed extends a valid right by a renewal that was sent at sentAt.
func (c *Clock) Renewed(sentAt time.Time) {
	if !c.Valid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewedAt = sentAt
}

// Valid reports whether the right may be used. An expired right stays expired.
func (c *Clock) Valid() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = c.expired || time.Since(c.renewedAt) > c.validity
	return !c.expired
}

// Renewals tells by the monotonic clock whether other holders renew their keys of a bucket. The
// server expires keys by the wall clock, and keeps them longer after that was set back.
type Renewals struct {
	term Term
	keys map[string]renewal
}

// renewal is the last revision seen of a key, and when it was first seen.
type renewal struct {
	revision uint64
	seen     time.Time
}

// NewRenewals returns a Renewals that has seen no key. term is the maximum age of the bucket.
func NewRenewals(term Term) *Renewals { return &Renewals{term: term, keys: make(map[string]renewal)} }

// Expired reports whether a key that has this revision now was not renewed for the term.
func (r *Renewals) Expired(key string, revision uint64) bool {
	last := r.keys[key]
	if last.revision != revision {
		last = renewal{revision, time.Now()}
		r.keys[key] = last
	}
	return time.Since(last.seen) > time.Duration(r.term)
}

// Message keeps a delivered message by +WPI heartbeats until it is settled or expires.
type Message struct {
	bus           *bus.Bus
	msg           jetstream.Msg
	clock         *Clock
	stopHeartbeat func()
}

// HoldMessage leases a message that was requested from the server at requestedAt. term is the
// ack-wait of its consumer.
func HoldMessage(b *bus.Bus, msg jetstream.Msg, requestedAt time.Time, term Term) *Message {
	m := &Message{bus: b, msg: msg, clock: NewClock(term, requestedAt)}
	m.stopHeartbeat = delay.Every(term.Heartbeat(), m.Renew)
	return m
}

// Msg returns the message. Only Settle may settle it.
func (m *Message) Msg() jetstream.Msg { return m.msg }

// Renew sends one heartbeat if the lease is valid. The next heartbeat replaces a lost one.
func (m *Message) Renew() {
	now := time.Now()
	if m.Valid() && m.msg.InProgress() == nil {
		m.clock.Renewed(now)
	}
}

// Valid reports whether this process still owns the message. An expired lease stays expired.
func (m *Message) Valid() bool { return m.clock.Valid() }

// Settle stops the heartbeats and settles the message. If the lease has expired, the message is
// left: another process may own it, and the server would take the settlement for that of the owner.
// A settlement that gets lost is no error: the message is redelivered after its ack-wait.
func (m *Message) Settle(s bus.Settlement) {
	m.stopHeartbeat()
	if m.Valid() {
		_ = m.bus.Settle(m.msg.Reply(), s)
	}
}
