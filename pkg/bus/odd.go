package bus

import "sync"

// eventForged is logged of a message that was published with the server's mark, and why.
const (
	eventForged = "bus.message.forged"
	readAgain   = "it was read out of a stream and published again"
)

// oddMost bounds how many messages are remembered that were told.
const oddMost = 1024

// odd are the messages that no reader believes, of each of which the log has one line, however many read it.
type odd struct {
	mu   sync.Mutex
	told map[place]bool
}

type place struct {
	stream   string
	sequence uint64
}

// first says whether a message is told for the first time.
func (o *odd) first(stream string, sequence uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.told[place{stream, sequence}]
	if !known && len(o.told) >= oddMost {
		o.told = nil
	}
	if o.told == nil {
		o.told = make(map[place]bool)
	}
	o.told[place{stream, sequence}] = true
	return !known
}
