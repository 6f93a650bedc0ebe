package bus

import "sync"

// eventForged is logged of a message that was published with the server's mark, and why.
const (
	eventForged  = "bus.message.forged"
	reasonForged = "it was read out of a stream and published again"
)

// maxLoggedMessages bounds how many messages are remembered that were told.
const maxLoggedMessages = 1024

// loggedMessages are the messages that no reader believes, of each of which the log has one line, however many read it.
type loggedMessages struct {
	mu    sync.Mutex
	known map[position]bool
}

type position struct {
	stream   string
	sequence uint64
}

// add says whether a message is told for the first time.
func (o *loggedMessages) add(stream string, sequence uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.known[position{stream, sequence}]
	if !known && len(o.known) >= maxLoggedMessages {
		o.known = nil
	}
	if o.known == nil {
		o.known = make(map[position]bool)
	}
	o.known[position{stream, sequence}] = true
	return !known
}
