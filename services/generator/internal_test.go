package generator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

func TestLastFinalNumber(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	record := func(at time.Time) contract.Collected { return contract.Collected{Outcome: contract.Success, At: at} }
	none := func(at time.Time) contract.Collected { return contract.Collected{Outcome: contract.NoRecord, At: at} }
	for name, c := range map[string]struct {
		collected map[int]contract.Collected
		want      int
	}{
		"nothing":               {nil, 0},
		"no record at all":      {map[int]contract.Collected{1: none(day), 2: none(day)}, 0},
		"gap below the highest": {map[int]contract.Collected{1: record(day), 2: none(day), 3: record(day.Add(time.Minute)), 4: none(day)}, 3},
		"no-record long before": {map[int]contract.Collected{1: record(day), 2: none(day), 3: record(day.Add(24 * time.Hour))}, 1},
		"lowest of several":     {map[int]contract.Collected{1: record(day), 2: none(day), 4: none(day), 5: record(day.Add(24 * time.Hour))}, 1},
		"seen above it earlier": {map[int]contract.Collected{2: none(day), 3: record(day.Add(48 * time.Hour)), 5: record(day)}, 5},
	} {
		if got := lastFinalNumber(c.collected); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestErrorChanged(t *testing.T) {
	t.Parallel()
	logged := make(map[string]string)
	away, rejected := errors.New("away"), errors.New("refused")
	var got []bool
	for _, err := range []error{away, away, rejected, rejected, nil, nil, rejected, away} {
		got = append(got, errorChanged(logged, "one", err))
	}
	if want := []bool{true, false, true, false, false, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !errorChanged(logged, "other", away) {
		t.Error("an error of one name hides that of another")
	}
}
