package fold

import "fct-scraper/pkg/contract"

// Outcomes holds the outcome of every number of a series and year in two bits, indexed by number. A
// full year has 25 KB, small enough to be rewritten with every checkpoint. It grows to the highest
// number set.
type Outcomes []byte

// The two-bit codes are stored in checkpoints: their values must not change.
const (
	codeNone = iota
	codeSuccess
	codeNoRecord
	codeFailed
)

// Get returns the outcome of a number; empty when it has none.
func (o Outcomes) Get(number int) contract.Outcome {
	at := number / 4
	if number < 0 || at >= len(o) {
		return ""
	}
	switch o[at] >> (number % 4 * 2) & 3 {
	case codeSuccess:
		return contract.Success
	case codeNoRecord:
		return contract.NoRecord
	case codeFailed:
		return contract.Failed
	default:
		return ""
	}
}

// Set stores the outcome of a number from 1 to contract.MaxNumber.
func (o *Outcomes) Set(number int, outcome contract.Outcome) {
	at := number / 4
	for at >= len(*o) {
		*o = append(*o, 0)
	}
	shift := number % 4 * 2
	(*o)[at] = (*o)[at]&^(3<<shift) | code(outcome)<<shift
}

func code(outcome contract.Outcome) byte {
	switch outcome {
	case contract.Success:
		return codeSuccess
	case contract.NoRecord:
		return codeNoRecord
	case contract.Failed:
		return codeFailed
	default:
		return codeNone
	}
}

// OutcomeCounts is how many numbers have each outcome.
type OutcomeCounts struct{ Success, NoRecord, Failed int }

// Total is how many numbers have an outcome.
func (c OutcomeCounts) Total() int { return c.Success + c.NoRecord + c.Failed }

// CountWithin counts the outcomes of the numbers of a range.
func (o Outcomes) CountWithin(numbers contract.Range) (c OutcomeCounts) {
	for number := numbers.Start; number <= min(numbers.End, o.Highest()); number++ {
		switch o.Get(number) {
		case contract.Success:
			c.Success++
		case contract.NoRecord:
			c.NoRecord++
		case contract.Failed:
			c.Failed++
		}
	}
	return c
}

// Highest is an upper limit of the numbers with an outcome.
func (o Outcomes) Highest() int { return len(o)*4 - 1 }
