package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrLeaveUnsettled leaves a message as it is: somebody else settles it, or it comes back when its ack-wait is over.
var ErrLeaveUnsettled = errors.New("left to somebody else")

type retryError struct {
	delay time.Duration
	cause error
}

func (l retryError) Error() string { return fmt.Sprintf("again in %s: %v", l.delay, l.cause) }
func (l retryError) Unwrap() error { return l.cause }

// RetryIn asks for the message to come back after delay because of cause.
func RetryIn(delay time.Duration, cause error) error { return retryError{delay, cause} }

type discardError struct{ cause error }

func (n discardError) Error() string { return fmt.Sprintf("never again: %v", n.cause) }
func (n discardError) Unwrap() error { return n.cause }

// Discard asks for the message not to come back because of cause.
func Discard(cause error) error { return discardError{cause} }

// Ack settles a delivery that somebody else received, by its acknowledgement subject.
func (b *Bus) Ack(settle string) error {
	return b.settle(settle, []byte("+ACK"))
}

// NakWithDelay hands a delivery that somebody else received back, to come again after delay.
func (b *Bus) NakWithDelay(settle string, delay time.Duration) error {
	return b.settle(settle, fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds()))
}

func (b *Bus) settle(subject string, word []byte) error {
	if err := b.nc.PublishMsg(&nats.Msg{Subject: subject, Data: word}); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}
	return nil
}
