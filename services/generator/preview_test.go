package generator

import (
	"testing"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

func TestPreview(t *testing.T) {
	t.Parallel()
	success, absent := contract.Collected{Outcome: contract.Success}, contract.Collected{Outcome: contract.NoRecord}
	known := knownNumbers{
		collected: outcomesOf(map[int]contract.Collected{1: success, 2: success, 3: absent, 12: absent, 6: success}),
		failed:    outcomesOf(map[int]contract.Collected{5: {}, 11: {}}),
	}
	for name, c := range map[string]struct {
		change func(*start)
		status contract.Status
		done   map[int]bool
		want   Preview
	}{
		"range": {want: Preview{BoundKnown: true, Range: contract.Range{Start: 1, End: 9},
			Selected: 9, Success: 3, NoRecord: 1, Skipped: 4, Ask: 5, FailedBefore: 1}},
		"force": {change: func(c *start) { c.batch.Force = true }, want: Preview{BoundKnown: true,
			Range: contract.Range{Start: 1, End: 9}, Selected: 9, Success: 3, NoRecord: 1, Ask: 9, KnownSuccess: 3,
			KnownNoRecord: 1, FailedBefore: 1}},
		"recheck": {change: func(c *start) { c.batch.Recheck = true }, want: Preview{BoundKnown: true,
			Range: contract.Range{Start: 1, End: 9}, Selected: 9, Success: 3, NoRecord: 1, Skipped: 3, Ask: 6,
			KnownNoRecord: 1, FailedBefore: 1}},
		"new": {change: func(c *start) { c.batch.New, c.batch.End = true, 12 }, want: Preview{BoundKnown: true,
			Range: contract.Range{Start: 1, End: 12}, Selected: 12, Success: 3, NoRecord: 2, Skipped: 4, Ask: 8,
			KnownNoRecord: 1, FailedBefore: 2}},
		"a range that a search may shorten": {change: func(c *start) { c.batch.Probe = true }, want: Preview{
			Range: contract.Range{Start: 1, End: 9}, Selected: 9, Success: 3, NoRecord: 1, Skipped: 4, Ask: 5,
			FailedBefore: 1}},
		"a whole year": {change: func(c *start) { c.batch.Probe, c.batch.End = true, 0 }, want: Preview{
			Range: contract.Range{Start: 1, End: 6}, Selected: 6, Success: 3, NoRecord: 1, Skipped: 4, Ask: 2,
			FailedBefore: 1}},
		"a whole year to a safe stop": {change: func(c *start) { c.batch.SafeStopNoRecords, c.batch.End = 9, 0 }, want: Preview{
			Range: contract.Range{Start: 1, End: 6}, Selected: 6, Success: 3, NoRecord: 1, Skipped: 4, Ask: 2,
			FailedBefore: 1}},
		"a resumed run": {change: func(c *start) { c.batch.Force = true }, done: map[int]bool{1: true, 5: true, 9: true},
			want: Preview{BoundKnown: true, Range: contract.Range{Start: 1, End: 9}, Selected: 9, Success: 3, NoRecord: 1,
				Skipped: 3, Ask: 6, KnownSuccess: 2, KnownNoRecord: 1}},
	} {
		numbers := known
		numbers.done = c.done
		got := preview(command(c.change).newManifest("", known.collected), "", numbers)
		got.Manifest = contract.Manifest{}
		c.want.Highest, c.want.Outcomes, c.want.Absent = 6, 4, 1
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
