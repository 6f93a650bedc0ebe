package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrLeaveUnsettled makes Consume leave a message unsettled: another component settles it, or it is
// redelivered after its ack-wait.
var ErrLeaveUnsettled = errors.New("message left unsettled")

type retryError struct {
	delay time.Duration
	cause error
}

func (l retryError) Error() string { return fmt.Sprintf("retry in %s: %v", l.delay, l.cause) }
func (l retryError) Unwrap() error { return l.cause }

// RetryIn requests the redelivery of a message after delay because of cause.
func RetryIn(delay time.Duration, cause error) error { return retryError{delay, cause} }

type discardError struct{ cause error }

func (n discardError) Error() string { return fmt.Sprintf("discarded: %v", n.cause) }
func (n discardError) Unwrap() error { return n.cause }

// Discard requests that a message is never redelivered, because of cause.
func Discard(cause error) error { return discardError{cause} }

// Ack acknowledges a delivery by its reply subject, also one that another process received.
func (b *Bus) Ack(subject string) error {
	return b.settle(subject, []byte("+ACK"))
}

// NakWithDelay requests the redelivery of a delivery after delay, by its reply subject.
func (b *Bus) NakWithDelay(subject string, delay time.Duration) error {
	return b.settle(subject, fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds()))
}

func (b *Bus) settle(subject string, ack []byte) error {
	if err := b.nc.PublishMsg(&nats.Msg{Subject: subject, Data: ack}); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}
	return nil
}
