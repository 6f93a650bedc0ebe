package natsd

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// serverLog listens to the log of the server, where alone it says two things: that it gives up starting, which ends in no error, and
// that a stream could not be written, which answers nothing from then on.
type serverLog struct {
	broken           chan struct{} // closed with the first failed write
	mu               sync.Mutex
	firstFatal       error
	firstFailedWrite error
}

func newServerLog() *serverLog { return &serverLog{broken: make(chan struct{})} }

// fatal is the first thing that the server called fatal; nil when there was none.
func (e *serverLog) fatal() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.firstFatal
}

// failedWrite is the first write that failed, its stream and cause in it; nil while there was none.
func (e *serverLog) failedWrite() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.firstFailedWrite
}

// Fatalf keeps the first fatal error.
func (e *serverLog) Fatalf(format string, values ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.firstFatal == nil {
		e.firstFatal = fmt.Errorf(format, values...)
	}
}

// Errorf keeps the first failed write. The words are those of server 2.15: "Filestore [NAME] Critical write error: cause", and
// "JetStream stream 'ACCOUNT > NAME' critical write error: cause".
func (e *serverLog) Errorf(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	if lower := strings.ToLower(text); !strings.Contains(lower, "write error") && !strings.Contains(lower, "will be disabled") {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.firstFailedWrite == nil {
		e.firstFailedWrite = errors.New("the server says: " + text)
		close(e.broken)
	}
}

// Noticef drops a notice, as the others below drop what is no error: the streams themselves are looked at.
func (e *serverLog) Noticef(string, ...any) {}

// Warnf drops a warning.
func (e *serverLog) Warnf(string, ...any) {}

// Debugf drops what is said for those who look for faults in the server.
func (e *serverLog) Debugf(string, ...any) {}

// Tracef drops what is said of each message.
func (e *serverLog) Tracef(string, ...any) {}
