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

// Beginnings of expressions are followed up to this length; shorter than the least they are too common
// to be of use.
const leastBeginning, enoughBeginning = 2, 8

// literalSet is a set of literals by their numbers.
type literalSet []uint64

func (s literalSet) add(n int) { s[n/64] |= 1 << (n % 64) }

func (s literalSet) has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }

// begun is a place in a text at which an expression may begin: there is a literal.
type begun struct{ literal, at int }

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
	// length is the length of a literal with which an expression begins, by number; 0 for others.
	length []int
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
	x.length = append(x.length, make([]int, len(x.numbers)-len(x.length))...)
	x.link()
}

// begins notes that an expression begins with a literal, and returns the number of the literal.
func (x *literalIndex) begins(literal string) int {
	n := x.number(literal)
	if n >= len(x.length) {
		x.length = append(x.length, make([]int, n+1-len(x.length))...)
	}
	x.length[n] = len(literal)
	return n
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

// find sets set to the literals that a text contains, and appends each place of a literal with which an
// expression begins to places, in the order of their ends.
func (x *literalIndex) find(text []byte, set literalSet, places []begun) []begun {
	clear(set)
	state := 0
	for i, b := range text {
		state = int(x.next[state*x.columns+int(x.class[b])])
		for _, n := range x.found[state] {
			set.add(int(n))
			if length := x.length[n]; length > 0 {
				places = append(places, begun{int(n), i + 1 - length})
			}
		}
	}
	return places
}

// beginnings returns literals of which every match of an expression has one at its start, nil if there
// are none of use.
func beginnings(re *syntax.Regexp) []string {
	all, _ := startsOf(re)
	for _, literal := range all {
		if len(literal) < leastBeginning {
			return nil
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// startsOf returns texts of which every match has one at its start, and whether these are all matches.
// It is nil for an expression that looks at the start of the text.
func startsOf(re *syntax.Regexp) (starts []string, whole bool) {
	switch re.Op {
	case syntax.OpBeginText, syntax.OpBeginLine:
		return nil, false
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEndText, syntax.OpEndLine:
		return []string{""}, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return []string{string(re.Rune)}, true
		}
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune) && len(starts) < 8; i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1] && len(starts) < 8; r++ {
				starts = append(starts, string(r))
			}
		}
		if len(starts) < 8 {
			return starts, true
		}
	case syntax.OpCapture:
		return startsOf(re.Sub[0])
	case syntax.OpPlus:
		starts, _ = startsOf(re.Sub[0])
		return starts, false
	case syntax.OpQuest:
		starts, whole = startsOf(re.Sub[0])
		if starts == nil {
			return nil, false
		}
		return append([]string{""}, starts...), whole
	case syntax.OpAlternate:
		whole = true
		for _, sub := range re.Sub {
			more, all := startsOf(sub)
			if more == nil {
				return nil, false
			}
			starts, whole = append(starts, more...), whole && all
		}
		return starts, whole
	case syntax.OpConcat:
		return startsOfConcat(re.Sub)
	case syntax.OpStar: // of what looks at the start of the text nothing is known
		if starts, _ = startsOf(re.Sub[0]); starts == nil {
			return nil, false
		}
	default: // what may match any text
	}
	return []string{""}, false
}

func startsOfConcat(parts []*syntax.Regexp) (starts []string, whole bool) {
	starts, whole = []string{""}, true
	for _, part := range parts {
		more, all := startsOf(part)
		if more == nil {
			return nil, false
		}
		shortest := len(starts[0])
		for _, start := range starts {
			shortest = min(shortest, len(start))
		}
		if !whole || shortest >= enoughBeginning || len(starts)*len(more) > maxLiterals {
			whole = false
			continue // only to see whether a part looks at the start of the text
		}
		var longer []string
		for _, start := range starts {
			for _, end := range more {
				longer = append(longer, start+end)
			}
		}
		starts, whole = longer, all
	}
	return starts, whole
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
