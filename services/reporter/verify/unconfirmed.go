package verify

import (
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// unconfirmedSet holds the unconfirmed no-records that the verifier has read.
type unconfirmedSet struct {
	// endedAt is when the answer of each one was received; attempts is its attempt number; order is
	// the ledger's.
	endedAt  map[int]time.Time
	attempts map[int]int
	order    []int
	// sequence is the message being read; sequences are those of the no-records.
	sequence  uint64
	sequences map[int]uint64
	// overflow holds those beyond the newest contract.MaxUnconfirmed: a proof confirms all of them or
	// none.
	// overflowEnded is when the last of their answers was received, overflowSequence the last of
	// their messages.
	overflow         map[int]bool
	overflowEnded    time.Time
	overflowSequence uint64
	// keysUpTo is the last message whose keys must exist; confirmedLate are the numbers confirmed
	// after it.
	keysUpTo      uint64
	confirmedLate map[int]bool
	// vanished is set when a canary has vanished; voided are the numbers whose no-records are void;
	// amendments are the additional lines of those that had been counted.
	vanished   bool
	voided     map[int]bool
	amendments map[attemptsLine]int
}

func newUnconfirmedSet(keysUpTo uint64) unconfirmedSet {
	return unconfirmedSet{keysUpTo: keysUpTo, confirmedLate: map[int]bool{}, overflow: map[int]bool{},
		endedAt: map[int]time.Time{}, attempts: map[int]int{}, sequences: map[int]uint64{}, voided: map[int]bool{},
		amendments: map[attemptsLine]int{}}
}

// addEntry adds a new attempt and reports whether it gives its number the outcome.
func (u *unconfirmedSet) addEntry(entry contract.Entry) bool {
	number := entry.CaseID.Number
	switch entry.Outcome {
	case "":
		return false
	case contract.Failed: // proves nothing about the site's records
	case contract.Success:
		if len(entry.Requests) > 0 { // else it is a copy, which confirms nothing
			u.confirm(entry.StartedAt, 0)
		}
	case contract.NoRecord:
		if u.vanished {
			u.voided[number] = true
			return false
		}
		u.endedAt[number], u.attempts[number], u.sequences[number] = entry.EndedAt(), entry.Attempt, u.sequence
		u.order = append(u.order, number)
		u.trim()
	}
	return true
}

// confirm removes the no-records that a record confirms: those answered before its request started,
// and those up to the message after, which the requester had already read.
func (u *unconfirmedSet) confirm(started time.Time, after uint64) {
	confirm := func(number int) {
		if u.sequence > u.keysUpTo {
			u.confirmedLate[number] = true
		}
	}
	for number, ended := range u.endedAt {
		if !ended.After(started) || u.sequences[number] <= after {
			confirm(number)
			delete(u.endedAt, number)
		}
	}
	if !u.overflowEnded.After(started) || u.overflowSequence <= after {
		for number := range u.overflow {
			confirm(number)
		}
		clear(u.overflow)
		u.overflowEnded, u.overflowSequence = time.Time{}, 0
	}
}

// trim moves the oldest no-records to the overflow while there are more than
// contract.MaxUnconfirmed.
func (u *unconfirmedSet) trim() {
	for len(u.endedAt) > contract.MaxUnconfirmed {
		number := u.order[0]
		u.order = u.order[1:]
		if ended, found := u.endedAt[number]; found {
			u.overflow[number], u.overflowSequence = true, max(u.overflowSequence, u.sequences[number])
			if ended.After(u.overflowEnded) {
				u.overflowEnded = ended
			}
			delete(u.endedAt, number)
		}
	}
}

// has reports whether a number's no-record is unconfirmed.
func (u *unconfirmedSet) has(number int) bool {
	_, newest := u.endedAt[number]
	return newest || u.overflow[number]
}

// addCanary counts a canary.
func (v *Verifier) addCanary(m ledger.Message) {
	for _, entry := range m.Canary {
		v.requests += len(entry.Requests)
	}
	u := &v.unconfirmed
	switch verdict, started := contract.CanaryVerdict(m.Canary); {
	case verdict == contract.VerdictSuccess:
		u.confirm(started, m.After)
	case verdict == contract.VerdictNoRecord && !u.vanished:
		u.vanished = true
		for number := range u.endedAt {
			delete(v.outcomes, number)
			u.voided[number] = true
			u.amendments[attemptsLine{number, u.attempts[number], string(contract.VerdictBlocked)}] = 1
			if m.Sequence > v.keysUpTo {
				v.withoutKey[number] = true
			}
		}
		clear(u.endedAt)
	}
}
