package reporter

import (
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// A run stops after a hundred no-records, with or without records above them.
func TestSafeStopNamesRecordAboveStretch(t *testing.T) {
	t.Parallel()
	const stretch = "100 consecutive no-record: IMM-61-23..IMM-160-23"
	const goOn = "; a record is known above it: IMM-700-23; go on with --start 161"
	other := func(number int, outcome contract.Outcome) func(*fixture) {
		return func(f *fixture) {
			f.put(f.buckets.collected, f.manifest.Case(number).Key(),
				contract.Collected{Outcome: outcome, RunID: "before"})
		}
	}
	b := fcttest.Broker(t)
	for name, c := range map[string]struct {
		force bool
		above []contract.Entry
		other func(*fixture)
		want  string
	}{
		"nothing is known": {want: stretch},
		"no record is known": {above: outcomesOf(161, 170, fcttest.NoRecord), other: other(700, contract.NoRecord),
			want: stretch},
		"a failure is no record": {above: []contract.Entry{fcttest.Failure(165)}, want: stretch},
		"records of this run": {above: []contract.Entry{fcttest.Success(800), fcttest.Success(700), fcttest.NoRecord(171)},
			want: stretch + goOn},
		"a record of another run": {above: outcomesOf(161, 162, fcttest.NoRecord), other: other(700, contract.Success),
			want: stretch + goOn},
		"one that is to come again": {force: true, other: other(700, contract.Success), want: stretch + goOn},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 900, noRecordLimit(50, 100),
				func(m *contract.Manifest) { m.Force = c.force })
			if c.other != nil {
				c.other(f)
			}
			f.publishShuffled(1, slices.Concat(outcomesOf(50, 60, fcttest.Success), outcomesOf(61, 160, fcttest.NoRecord), c.above))
			if state := f.runToEnd(); state.Status != contract.SafeStop || state.Reason != c.want ||
				state.Report.Reason != c.want {
				t.Errorf("%s: %q, want %q", state.Status, state.Reason, c.want)
			}
		})
	}
}

func TestSafeStopNamesRecordAfterRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 900, noRecordLimit(50, 100))
	fetcher := f.manifest.RunID.FetcherKey("one")
	f.put(f.buckets.fetchers, fetcher, contract.Presence{At: time.Now()})
	f.publishEntries(slices.Concat(outcomesOf(50, 60, fcttest.Success), outcomesOf(61, 160, fcttest.NoRecord))...)
	options := f.options()
	options.FinalTimeout = time.Hour
	w := f.startReporter(options, nil)
	halt := awaitKey(f, f.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
	f.awaitFolded()
	f.must(w.stop())
	f.publishEntries(fcttest.Success(200)) // was in flight
	f.must(f.buckets.fetchers.Delete(t.Context(), fetcher))
	if state := f.runToEnd(); state.Reason != halt.Reason+"; a record is known above it: IMM-200-23; go on with --start 161" {
		t.Errorf("%s: %q", state.Status, state.Reason)
	}
}

func TestSafeStopByFailuresNamesNoStretch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 900, noRecordLimit(1, 5))
	const reason = "3 consecutive failed, the last was IMM-9-23"
	f.putHalt(contract.Halt{Status: contract.SafeStop, Reason: reason, At: endTime})
	f.publishEntries(append(outcomesOf(1, 5, fcttest.NoRecord), fcttest.Success(100))...)
	if state := f.runToEnd(); state.Reason != reason {
		t.Errorf("%s: %q, want %q", state.Status, state.Reason, reason)
	}
}

// Numbers that the search requests above the bound are not part of the range, and stop nothing.
func TestSearchStopsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, contract.MaxNumber, noRecordLimit(1, 5),
		func(m *contract.Manifest) { m.Probe, m.Bound = true, nil })
	w := f.startReporter(f.options(), nil)
	f.publishEntries(append(outcomesOf(3, 12, fcttest.NoRecord), fcttest.Success(2))...)
	f.awaitFolded()
	f.manifest.Bound, f.manifest.Range.End = &contract.Bound{Number: 2}, 2
	f.put(f.buckets.runs, f.manifest.RunID.ManifestKey(), f.manifest)
	f.publishEntries(fcttest.Success(1))
	f.publishPlan(contract.Planned{Range: f.manifest.Range, Jobs: 12, Beyond: []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}})
	if state := f.awaitEnd(); state.Status != contract.Completed || state.Report.Total != 2 || state.Report.End != 2 {
		t.Errorf("%s: %q, total %d to %d", state.Status, state.Reason, state.Report.Total, state.Report.End)
	}
	f.must(w.stop())
}
