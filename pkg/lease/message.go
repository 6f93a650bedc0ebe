package lease

import (
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// Message keeps a delivered message by +WPI heartbeats until it is released or expires.
type Message struct {
	msg           jetstream.Msg
	clock         *Clock
	stopHeartbeat func()
}

// HoldMessage leases a message that was requested from the server at requestedAt. term is the
// ack-wait of its consumer.
func HoldMessage(msg jetstream.Msg, requestedAt time.Time, term Term) *Message {
	m := &Message{msg: msg, clock: NewClock(term, requestedAt)}
	m.stopHeartbeat = delay.Every(term.Heartbeat(), m.Renew)
	return m
}

// Msg returns the message. It may be settled after Release has returned true.
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

// Release stops the heartbeats and reports whether the lease was valid until then. If it was not,
// the message must not be settled here: another process may own it.
func (m *Message) Release() bool {
	m.stopHeartbeat()
	return m.Valid()
}
