package lease

import (
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

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
