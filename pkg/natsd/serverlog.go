package natsd

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// serverLog receives the server's log. Two things are reported nowhere else: that the server gave
// up starting, and that a stream could not be written and does not reply from then on.
type serverLog struct {
	broken           chan struct{} // closed with the first failed write
	mu               sync.Mutex
	firstFatal       error
	firstFailedWrite error
}

// fatal is the first fatal error that the server logged; nil if there is none.
func (e *serverLog) fatal() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.firstFatal
}

// failedWrite is the first failed write, with its stream and cause; nil if there is none.
func (e *serverLog) failedWrite() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.firstFailedWrite
}

// Fatalf stores the first fatal error.
func (e *serverLog) Fatalf(format string, values ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.firstFatal == nil {
		e.firstFatal = fmt.Errorf(format, values...)
	}
}

// Errorf stores the first failed write. The texts are those of server 2.15: "Filestore [NAME]
// Critical write error: cause", and "JetStream stream 'ACCOUNT > NAME' critical write error:
// cause".
func (e *serverLog) Errorf(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	if lower := strings.ToLower(text); !strings.Contains(lower, "write error") && !strings.Contains(lower, "will be disabled") {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.firstFailedWrite == nil {
		e.firstFailedWrite = errors.New("the server reports: " + text)
		close(e.broken)
	}
}

// Noticef drops a notice.
func (e *serverLog) Noticef(string, ...any) {}

// Warnf drops a warning.
func (e *serverLog) Warnf(string, ...any) {}

// Debugf drops a debug message.
func (e *serverLog) Debugf(string, ...any) {}

// Tracef drops a trace message.
func (e *serverLog) Tracef(string, ...any) {}
