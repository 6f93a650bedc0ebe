package generator

import (
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"pgregory.net/rapid"
)

func TestJobOrder_FailedFirst(t *testing.T) {
	t.Parallel()
	r, noon := contract.Range{Start: 3, End: 9}, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	collected := map[int]contract.Collected{
		4: {Outcome: contract.Success}, 5: {Outcome: contract.NoRecord, At: noon}, 8: {Outcome: contract.Success},
	}
	failed := map[int]contract.Collected{9: {}, 7: {}, 2: {}, 10: {}, 8: {}}
	for name, c := range map[string]struct {
		m    contract.Manifest
		want []int
	}{
		"plain":   {want: []int{7, 9, 3, 6}},
		"recheck": {m: contract.Manifest{RunSettings: contract.RunSettings{Recheck: true}}, want: []int{7, 9, 3, 5, 6}},
		"force": {m: contract.Manifest{RunSettings: contract.RunSettings{Force: true}},
			want: []int{7, 8, 9, 3, 4, 5, 6}},
		"new": {m: contract.Manifest{RunSettings: contract.RunSettings{New: true}, RecheckAbove: 4},
			want: []int{7, 9, 3, 5, 6}},
		"not new": {m: contract.Manifest{RunSettings: contract.RunSettings{New: true}, RecheckAbove: 5},
			want: []int{7, 9, 3, 6}},
		"old": {m: contract.Manifest{RecheckBefore: noon.Add(time.Second), RecheckAbove: 4},
			want: []int{7, 9, 3, 5, 6}},
		"below": {m: contract.Manifest{RecheckBefore: noon.Add(time.Second), RecheckAbove: 5},
			want: []int{7, 9, 3, 6}},
		"young": {m: contract.Manifest{RecheckBefore: noon, RecheckAbove: 4}, want: []int{7, 9, 3, 6}},
		"list":  {m: contract.Manifest{IDs: listOf(t, "IMM-3-25", "IMM-5-25..IMM-8-25")}, want: []int{7, 3, 6}},
		"list, force": {m: contract.Manifest{IDs: listOf(t, "IMM-3-25", "IMM-8-25"),
			RunSettings: contract.RunSettings{Force: true}},
			want: []int{8, 3}},
	} {
		c.m.Range = r
		if got := slices.Collect(jobOrder(c.m, outcomesOf(collected), outcomesOf(failed))); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func outcomesOf(values map[int]contract.Collected) *runs.Outcomes {
	var outcomes runs.Outcomes
	for number, value := range values {
		outcomes.Set(number, value)
	}
	return &outcomes
}

func listOf(t testing.TB, elements ...string) contract.CaseList {
	t.Helper()
	list, problems := contract.ParseCaseList(elements)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return list
}

func TestJobOrder_Complete(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := contract.Range{Start: rapid.IntRange(1, 50).Draw(t, "start"), End: rapid.IntRange(1, 60).Draw(t, "end")}
		outcomes := rapid.SampledFrom([]contract.Collected{{Outcome: contract.Success}, {Outcome: contract.NoRecord}})
		collected := rapid.MapOf(rapid.IntRange(1, 60), outcomes).Draw(t, "collected")
		failed := rapid.MapOf(rapid.IntRange(1, 60), rapid.Just(contract.Collected{})).Draw(t, "failed")
		got := slices.Collect(jobOrder(contract.Manifest{Range: r}, outcomesOf(collected), outcomesOf(failed)))
		slices.Sort(got)
		var want []int
		for n := r.Start; n <= r.End; n++ {
			if _, known := collected[n]; !known {
				want = append(want, n)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestRecheckAbove(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	record := func(at time.Time) contract.Collected { return contract.Collected{Outcome: contract.Success, At: at} }
	none := func(at time.Time) contract.Collected { return contract.Collected{Outcome: contract.NoRecord, At: at} }
	for name, c := range map[string]struct {
		collected map[int]contract.Collected
		want      int
	}{
		"nothing":          {nil, 0},
		"no record at all": {map[int]contract.Collected{1: none(day), 2: none(day)}, 0},
		"gap below the highest": {map[int]contract.Collected{1: record(day), 2: none(day),
			3: record(day.Add(time.Minute)), 4: none(day)}, 3},
		"no-record long before": {map[int]contract.Collected{1: record(day), 2: none(day),
			3: record(day.Add(24 * time.Hour))}, 1},
		"lowest of several": {map[int]contract.Collected{1: record(day), 2: none(day), 4: none(day),
			5: record(day.Add(24 * time.Hour))}, 1},
		"seen above it earlier": {map[int]contract.Collected{2: none(day), 3: record(day.Add(48 * time.Hour)),
			5: record(day)}, 5},
	} {
		if got := recheckAbove(outcomesOf(c.collected)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
