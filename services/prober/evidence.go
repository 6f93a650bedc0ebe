package prober

import (
	"cmp"
	"slices"
)

// fact is what is known of one number. day is the day of the year on which its record was filed, 0 when unknown.
type fact struct {
	number int
	exists bool
	day    int
}

// evidence is everything known, ascending, each number once.
type evidence []fact

func byNumber(f fact, n int) int { return cmp.Compare(f.number, n) }

// with adds a fact; what was known of the number before is replaced.
func (e evidence) with(f fact) evidence {
	at, known := slices.BinarySearchFunc(e, f.number, byNumber)
	if known {
		e[at] = f
		return e
	}
	return slices.Insert(e, at, f)
}

// knows says whether the number is known to exist or to be missing.
func (e evidence) knows(number int) bool {
	_, known := slices.BinarySearchFunc(e, number, byNumber)
	return known
}

// split parts the evidence behind the highest number that exists: at or below it, and the missing ones above it.
func (e evidence) split() (upTo, above evidence) {
	for i := len(e); i > 0; i-- {
		if e[i-1].exists {
			return e[:i], e[i:]
		}
	}
	return nil, e
}

// bound is the highest number known to exist; the zero fact when there is none.
func (e evidence) bound() fact {
	upTo, _ := e.split()
	if len(upTo) == 0 {
		return fact{}
	}
	return upTo[len(upTo)-1]
}

// from is the part that lies at number or above it.
func (e evidence) from(number int) evidence {
	at, _ := slices.BinarySearchFunc(e, number, byNumber)
	return e[at:]
}
