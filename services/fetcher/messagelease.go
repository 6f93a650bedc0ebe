package fetcher

import (
	"errors"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// errLeaseExpired reports that the server may have delivered a message to another process: this
// process did not run for longer than the ack-wait of the message.
var errLeaseExpired = errors.New("the lease of the message has expired")

// A lease expires without a heartbeat a little before the ack-wait of its message ends. A process
// that was frozen does not notice the ack-wait: another process may own what it finds waiting then.
const (
	sharedExpiry = 5 * time.Second  // turn and slots; their ack-wait is 6 s
	jobExpiry    = 12 * time.Second // jobs; their ack-wait is 15 s
)

// messageLease keeps a delivered message by +WPI heartbeats until it is released or expires.
type messageLease struct {
	msg           jetstream.Msg
	expiry        time.Duration
	stopHeartbeat func()

	mu sync.Mutex
	// lastRenewed is when the message was requested, or renewed last. The ack-wait of the server
	// cannot have started earlier.
	lastRenewed time.Time
	expired     bool
}

// acquireLease leases a message that was requested from the server at requestedAt.
func acquireLease(msg jetstream.Msg, requestedAt time.Time, interval, expiry time.Duration) *messageLease {
	l := &messageLease{msg: msg, expiry: expiry, lastRenewed: requestedAt}
	l.stopHeartbeat = delay.Every(interval, l.renew)
	return l
}

// acquireSharedLease leases a turn or a slot; ok is false if it expired on its way here. It sends
// the first heartbeat at once: until then, a server that becomes the leader of a cluster, or
// restarts, takes the delivery time of the message for the time of its creation and delivers it to
// another process within a second.
func acquireSharedLease(msg jetstream.Msg, requestedAt time.Time) (lease *messageLease, ok bool) {
	lease = acquireLease(msg, requestedAt, sharedHeartbeat, sharedExpiry)
	if !lease.valid() {
		lease.release()
		return nil, false
	}
	lease.renew()
	return lease, true
}

// renew sends one heartbeat if the lease is valid.
func (l *messageLease) renew() {
	now := time.Now()
	if l.valid() && l.msg.InProgress() == nil { // the next heartbeat replaces a lost one
		l.mu.Lock()
		l.lastRenewed = now
		l.mu.Unlock()
	}
}

// valid reports whether this process still owns the message. An expired lease stays expired.
func (l *messageLease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = l.expired || time.Since(l.lastRenewed) > l.expiry
	return !l.expired
}

// release stops the heartbeats and reports whether the lease was valid until then. If it was not,
// the message must not be settled here: another process may own it.
func (l *messageLease) release() bool {
	l.stopHeartbeat()
	return l.valid()
}
