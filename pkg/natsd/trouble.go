package natsd

import (
	"errors"
	"fmt"
	"sync"
)

// trouble keeps what the server calls fatal. The server then only gives up starting, without an error, and whoever waits
// for it would wait for startLimit.
type trouble struct {
	mu    sync.Mutex
	fatal error
}

// Fatalf keeps the first fatal error.
func (t *trouble) Fatalf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fatal == nil {
		t.fatal = errors.New(fmt.Sprintf(format, args...))
	}
}

// err is the first fatal error; nil when there was none.
func (t *trouble) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fatal
}

// Noticef drops a notice, as the others below drop what is no fatal error: the streams themselves are looked at.
func (t *trouble) Noticef(string, ...any) {}

// Warnf drops a warning.
func (t *trouble) Warnf(string, ...any) {}

// Errorf drops an error.
func (t *trouble) Errorf(string, ...any) {}

// Debugf drops what is said for those who look for faults in the server.
func (t *trouble) Debugf(string, ...any) {}

// Tracef drops what is said of each message.
func (t *trouble) Tracef(string, ...any) {}
