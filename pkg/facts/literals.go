package facts

import (
	"regexp/syntax"
	"slices"
)

// A regular expression costs far more than a search for a word. So one pass over a text finds which
// literals of all expressions it contains, and an expression is tried only if those that it needs
// are there. The pass is the algorithm of Aho and Corasick (1975).

// maxLiterals limits the alternatives of one clause: a clause of many words rules out little.
const maxLiterals = 64

// literalSet is a set of literals by their numbers.
type literalSet []uint64

func (s literalSet) add(n int) { s[n/64] |= 1 << (n % 64) }

// intersects reports whether the sets have a literal in common.
func (s literalSet) intersects(other literalSet) bool {
	for i, word := range s {
		if word&other[i] != 0 {
			return true
		}
	}
	return false
}

// literalIndex finds all literals in a text.
type literalIndex struct {
	numbers map[string]int
	// class maps a byte to its column; 0 are bytes that no literal has.
	class   [256]uint8
	columns int
	// next is the transition table: the state after a state and a class.
	next []uint32
	// found are the literals that end in a state, by number.
	found [][]uint16
}

// number returns the number of a literal.
func (x *literalIndex) number(literal string) int {
	if x.numbers == nil {
		x.numbers = make(map[string]int)
	}
	n, known := x.numbers[literal]
	if !known {
		n = len(x.numbers)
		x.numbers[literal] = n
	}
	return n
}

// build makes the transition table of all numbered literals.
func (x *literalIndex) build() {
	x.columns = 1
	for literal := range x.numbers {
		for i := range len(literal) {
			if x.class[literal[i]] == 0 {
				x.class[literal[i]] = uint8(x.columns)
				x.columns++
			}
		}
	}
	x.addState()
	for literal, n := range x.numbers {
		state := 0
		for i := range len(literal) {
			at := state*x.columns + int(x.class[literal[i]])
			if state = int(x.next[at]); state == 0 {
				state = x.addState()
				x.next[at] = uint32(state)
			}
		}
		x.found[state] = append(x.found[state], uint16(n))
	}
	x.link()
}

// addState appends an empty state.
func (x *literalIndex) addState() int {
	x.next = append(x.next, make([]uint32, x.columns)...)
	x.found = append(x.found, nil)
	return len(x.found) - 1
}

// link completes the trie to an automaton: where a state has no transition it takes that of the
// state of its longest suffix, breadth first.
func (x *literalIndex) link() {
	suffix := make([]int, len(x.found))
	var queue []int
	for c := range x.columns {
		if to := int(x.next[c]); to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		x.found[state] = slices.Concat(x.found[state], x.found[suffix[state]])
		for c := range x.columns {
			at, other := state*x.columns+c, x.next[suffix[state]*x.columns+c]
			if to := int(x.next[at]); to != 0 {
				suffix[to] = int(other)
				queue = append(queue, to)
			} else {
				x.next[at] = other
			}
		}
	}
}

// newSet returns an empty set of literals.
func (x *literalIndex) newSet() literalSet { return make(literalSet, len(x.numbers)/64+1) }

// find sets set to the literals that a text contains.
func (x *literalIndex) find(text []byte, set literalSet) {
	clear(set)
	state := 0
	for _, b := range text {
		state = int(x.next[state*x.columns+int(x.class[b])])
		for _, n := range x.found[state] {
			set.add(int(n))
		}
	}
}

// clauses returns what a text must contain to match: of each clause at least one literal.
func clauses(re *syntax.Regexp) [][]string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 && len(re.Rune) > 1 {
			return [][]string{{string(re.Rune)}}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return clauses(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return clauses(re.Sub[0])
		}
	case syntax.OpConcat:
		var all [][]string
		for _, sub := range re.Sub {
			all = append(all, clauses(sub)...)
		}
		return all
	case syntax.OpAlternate:
		// Of each alternative one clause: their union is a clause of the whole.
		var union []string
		for _, sub := range re.Sub {
			best := bestClause(clauses(sub))
			if best == nil {
				return nil
			}
			union = append(union, best...)
		}
		if len(union) <= maxLiterals {
			return [][]string{union}
		}
	default: // what may match any text, or nothing
	}
	return nil
}

// bestClause returns the clause that most texts lack: that of few and long literals.
func bestClause(all [][]string) (best []string) {
	most := -1 << 30
	for _, clause := range all {
		shortest := len(clause[0])
		for _, literal := range clause {
			shortest = min(shortest, len(literal))
		}
		if weight := 2 * (shortest - len(clause)); weight > most {
			best, most = clause, weight
		}
	}
	return best
}
