package bus

import (
	"errors"
	"fmt"
	"time"
)

// Settlement says what becomes of a delivered message. It is the body of the message's
// acknowledgement.
type Settlement string

const (
	// Leave settles nothing: another component settles the message, or it is redelivered after its
	// ack-wait.
	Leave Settlement = ""
	// Ack says that the message is done.
	Ack Settlement = "+ACK"
	// Term ends the deliveries of a message that can never be handled.
	Term Settlement = "+TERM"
	// Nak has the message redelivered at once. A server that restarts forgets it, and redelivers the
	// message after its ack-wait. NakAfter(0) is kept over a restart, and takes 10 ms.
	Nak Settlement = "-NAK"
)

// NakAfter has a message redelivered after delay. The server keeps the delay over a restart.
func NakAfter(delay time.Duration) Settlement {
	return Settlement(fmt.Sprintf(`-NAK {"delay": %d}`, max(1, delay.Nanoseconds()))) // without a delay it is a Nak
}

// Settle settles the delivery that has this reply subject, also one that another process received.
// If the settlement gets lost, the message is redelivered after its ack-wait, which every consumer
// must tolerate. The server does not check who settles: only the owner of the delivery may. An empty
// reply stands for no delivery.
func (b *Bus) Settle(reply string, s Settlement) error {
	if s == Leave || reply == "" {
		return nil
	}
	if err := b.nc.Publish(reply, []byte(s)); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}
	return nil
}

// ErrLeaveUnsettled is the error of a handler whose message is to be left.
var ErrLeaveUnsettled = errors.New("message left unsettled")

// settlementError is the error of a handler that says how its message is settled.
type settlementError struct {
	settlement Settlement
	cause      error
}

func (e settlementError) Error() string { return e.cause.Error() }
func (e settlementError) Unwrap() error { return e.cause }

// RetryIn requests the redelivery of a message after delay because of cause.
func RetryIn(delay time.Duration, cause error) error {
	return settlementError{NakAfter(delay), fmt.Errorf("retry in %s: %w", delay, cause)}
}

// Discard requests that a message is never redelivered, because of cause.
func Discard(cause error) error { return settlementError{Term, fmt.Errorf("discarded: %w", cause)} }

// SettlementOf returns the settlement that the error of a handler stands for: Ack for nil, that of
// RetryIn or Discard, or Leave for ErrLeaveUnsettled. ok is false for any other error.
func SettlementOf(err error) (s Settlement, ok bool) {
	if err == nil {
		return Ack, true
	}
	requested, ok := errors.AsType[settlementError](err)
	return requested.settlement, ok || errors.Is(err, ErrLeaveUnsettled)
}
