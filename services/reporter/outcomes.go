package reporter

import "fct-scraper/pkg/contract"

// outcomes holds the outcome of every number of a series and year in two bits, indexed by number. A
// full year has 25 KB, small enough to be rewritten with every checkpoint. It grows to the highest
// number set.
type outcomes []byte

// The two-bit codes are stored in checkpoints: their values must not change.
const (
	codeNone = iota
	codeSuccess
	codeNoRecord
	codeFailed
)

// get returns the outcome of a number; empty when it has none.
func (o outcomes) get(number int) contract.Outcome {
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

// set stores the outcome of a number from 1 to contract.MaxNumber.
func (o *outcomes) set(number int, outcome contract.Outcome) {
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

// outcomeCounts is how many numbers have each outcome.
type outcomeCounts struct{ success, noRecord, failed int }

func (c outcomeCounts) total() int { return c.success + c.noRecord + c.failed }

// countWithin counts the outcomes of the numbers of a range.
func (o outcomes) countWithin(numbers contract.Range) (c outcomeCounts) {
	for number := numbers.Start; number <= min(numbers.End, o.highest()); number++ {
		switch o.get(number) {
		case contract.Success:
			c.success++
		case contract.NoRecord:
			c.noRecord++
		case contract.Failed:
			c.failed++
		}
	}
	return c
}

// highest is an upper limit of the numbers with an outcome.
func (o outcomes) highest() int { return len(o)*4 - 1 }
