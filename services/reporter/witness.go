package reporter

import (
	"context"
	"errors"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// witnesses are files that are known to exist, the best first: the newest of this run, then those that other runs
// collected of this year, then of any other year of the series.
func (w *worker) witnesses(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	taken := map[int]bool{}
	for _, number := range slices.Concat(w.tally.Known, w.collectedBefore.numbers()) {
		if len(cases) < witnesses && !taken[number] && w.tally.Outcomes.get(number) != contract.NoRecord {
			taken[number] = true
			cases = append(cases, w.manifest.Case(number))
		}
	}
	if len(cases) > 0 {
		return cases, nil
	}
	return w.otherYears(ctx)
}

// otherYears are files of other years of the series; the search for them ends with the first that are found.
func (w *worker) otherYears(ctx context.Context) ([]contract.CaseID, error) {
	var cases []contract.CaseID
	err := w.Bus.Scan(ctx, bus.Keys{Bucket: contract.BucketCollected, Filters: []string{w.manifest.Prefix + ".>"}}, func(entry jetstream.KeyValueEntry) error {
		id, wrong := contract.ParseKey(entry.Key())
		value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
		if wrong == nil && err == nil && id.Year != w.manifest.Year && value.AppliesTo(w.manifest.Site) && value.Outcome == contract.Success {
			cases = append(cases, id)
		}
		if len(cases) >= witnesses {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return cases, err
}

// newest are the files of this year that were collected last, the newest first.
type newest []collectedAt

type collectedAt struct {
	number int
	at     time.Time
}

// add takes a file in if it is among the newest.
func (n *newest) add(number int, value contract.Collected) {
	if value.Outcome != contract.Success {
		return
	}
	at := 0
	for at < len(*n) && !value.At.After((*n)[at].at) {
		at++
	}
	if at == witnesses {
		return
	}
	list := append(append(append(newest{}, (*n)[:at]...), collectedAt{number, value.At}), (*n)[at:]...)
	*n = list[:min(len(list), witnesses)]
}

func (n newest) numbers() []int {
	numbers := make([]int, len(n))
	for i, c := range n {
		numbers[i] = c.number
	}
	return numbers
}
