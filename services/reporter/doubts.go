package reporter

import (
	"time"

	"fct-scraper/pkg/contract"
)

// doubts is what the second reader keeps of the unconfirmed no-records.
type doubts struct {
	// ended is when the answer of each such no-record had come, attempts which attempt it was; order is the ledger's.
	ended    map[int]time.Time
	attempts map[int]int
	order    []int
	// reading is the message that is read, sequences are those of the no-records.
	reading   uint64
	sequences map[int]uint64
	// old are those that are not among the newest: a proof confirms all of them or none. oldEnded is when the last of their
	// answers had come, oldSequence the last of their messages.
	old         map[int]bool
	oldEnded    time.Time
	oldSequence uint64
	// keyed is the last message of which the keys are to be there; late are the numbers that were confirmed after it.
	keyed uint64
	late  map[int]bool
	// gone says that the site was seen not to show what it has; void are the numbers whose no-records are taken back, amended
	// the further lines on those that had been counted.
	gone    bool
	void    map[int]bool
	amended map[tried]int
}

func newDoubts(keyed uint64) doubts {
	return doubts{keyed: keyed, late: map[int]bool{}, old: map[int]bool{}, ended: map[int]time.Time{}, attempts: map[int]int{}, sequences: map[int]uint64{}, void: map[int]bool{}, amended: map[tried]int{}}
}

// believe takes in an attempt that is new, and says whether it settles its number.
func (d *doubts) believe(entry contract.Entry) bool {
	number := entry.CaseID.Number
	switch entry.Outcome {
	case "":
		return false
	case contract.Failed: // says nothing about the site's files
	case contract.Success:
		if len(entry.Requests) > 0 { // else it is a copy, which vouches for nothing
			d.alive(entry.StartedAt, 0)
		}
	case contract.NoRecord:
		if d.gone {
			d.void[number] = true
			return false
		}
		d.ended[number], d.attempts[number], d.sequences[number] = entry.EndedAt(), entry.Attempt, d.reading
		d.order = append(d.order, number)
		d.trim()
	}
	return true
}

// alive drops what a proof of life confirms: what had been answered when it started, or was read before it was asked for.
func (d *doubts) alive(started time.Time, after uint64) {
	confirm := func(number int) {
		if d.reading > d.keyed {
			d.late[number] = true
		}
	}
	for number, ended := range d.ended {
		if !ended.After(started) || d.sequences[number] <= after {
			confirm(number)
			delete(d.ended, number)
		}
	}
	if !d.oldEnded.After(started) || d.oldSequence <= after {
		for number := range d.old {
			confirm(number)
		}
		clear(d.old)
		d.oldEnded, d.oldSequence = time.Time{}, 0
	}
}

// trim makes the oldest of a row that has become too long old.
func (d *doubts) trim() {
	for len(d.ended) > longest {
		number := d.order[0]
		d.order = d.order[1:]
		if ended, there := d.ended[number]; there {
			d.old[number], d.oldEnded, d.oldSequence = true, latest(d.oldEnded, ended), max(d.oldSequence, d.sequences[number])
			delete(d.ended, number)
		}
	}
}

// unconfirmed says that a number's no-record is not confirmed.
func (d *doubts) unconfirmed(number int) bool {
	_, newest := d.ended[number]
	return newest || d.old[number]
}

// hear counts a canary.
func (c *check) hear(m message) {
	for _, entry := range m.canary {
		c.requests += len(entry.Requests)
	}
	d := &c.doubts
	switch verdict, started := contract.CanaryVerdict(m.canary); {
	case verdict == contract.VerdictSuccess:
		d.alive(started, m.after)
	case verdict == contract.VerdictNoRecord && !d.gone:
		d.gone = true
		for number := range d.ended {
			delete(c.found, number)
			d.void[number] = true
			d.amended[tried{number, d.attempts[number], string(contract.VerdictBlocked)}] = 1
			if m.sequence > c.keyed {
				c.unkeyed[number] = true
			}
		}
		clear(d.ended)
	}
}
