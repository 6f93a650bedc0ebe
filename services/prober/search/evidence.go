package search

import (
	"cmp"
	"slices"
)

// fact is the knowledge about one number. day is the day of the year on which its record was filed,
// 0 if unknown.
type fact struct {
	number int
	exists bool
	day    int
}

// evidence is all facts, ascending, one for each number.
type evidence []fact

func byNumber(f fact, n int) int { return cmp.Compare(f.number, n) }

// with adds a fact, or replaces the fact of the same number.
func (e evidence) with(f fact) evidence {
	at, known := slices.BinarySearchFunc(e, f.number, byNumber)
	if known {
		e[at] = f
		return e
	}
	return slices.Insert(e, at, f)
}

// knows reports whether there is a fact about the number.
func (e evidence) knows(number int) bool {
	_, known := slices.BinarySearchFunc(e, number, byNumber)
	return known
}

// split splits the evidence after the highest existing number.
func (e evidence) split() (upTo, above evidence) {
	for i := len(e); i > 0; i-- {
		if e[i-1].exists {
			return e[:i], e[i:]
		}
	}
	return nil, e
}

// bound returns the highest number known to exist, or the zero fact.
func (e evidence) bound() fact {
	upTo, _ := e.split()
	if len(upTo) == 0 {
		return fact{}
	}
	return upTo[len(upTo)-1]
}

// from returns the facts about number and above.
func (e evidence) from(number int) evidence {
	at, _ := slices.BinarySearchFunc(e, number, byNumber)
	return e[at:]
}
