package reporter

import (
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// A stop at a hundred numbers without a record, with more records above it or not.
func TestASafeStopSaysWhetherTheYearGoesOn(t *testing.T) {
	t.Parallel()
	const stretch = "100 consecutive no-record: IMM-61-23..IMM-160-23"
	const goOn = "; a record is known above it: IMM-700-23; go on with --start 161"
	other := func(number int, outcome contract.Outcome) func(*desk) {
		return func(d *desk) {
			d.put(d.buckets.collected, d.manifest.Case(number).Key(), contract.Collected{Outcome: outcome, RunID: "before"})
		}
	}
	b := fcttest.Broker(t)
	for name, c := range map[string]struct {
		force bool
		above []contract.Entry
		other func(*desk)
		want  string
	}{
		"nothing is known":          {want: stretch},
		"no record is known":        {above: outcomesOf(161, 170, noRecord), other: other(700, contract.NoRecord), want: stretch},
		"a failure is no record":    {above: []contract.Entry{failure(165)}, want: stretch},
		"records of this run":       {above: []contract.Entry{success(800), success(700), noRecord(171)}, want: stretch + goOn},
		"a record of another run":   {above: outcomesOf(161, 162, noRecord), other: other(700, contract.Success), want: stretch + goOn},
		"one that is to come again": {force: true, other: other(700, contract.Success), want: stretch + goOn},
	} {
		t.Run(name, func(t *testing.T) {
			d := deskOn(t, cleared(t, b), 900, noRecordLimit(50, 100), func(m *contract.Manifest) { m.Force = c.force })
			if c.other != nil {
				c.other(d)
			}
			d.scattered(1, slices.Concat(outcomesOf(50, 60, success), outcomesOf(61, 160, noRecord), c.above))
			if state := d.finish(); state.Status != contract.SafeStop || state.Reason != c.want || state.Report.Reason != c.want {
				t.Errorf("%s: %q, want %q", state.Status, state.Reason, c.want)
			}
		})
	}
}

func TestAReporterThatWasCutOffSaysWhetherTheYearGoesOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 900, noRecordLimit(50, 100))
	fetcher := d.manifest.RunID.FetcherKey("one")
	d.put(d.buckets.fetchers, fetcher, contract.Presence{At: time.Now()})
	d.pack(slices.Concat(outcomesOf(50, 60, success), outcomesOf(61, 160, noRecord))...)
	options := d.options()
	options.FinalTimeout = time.Hour
	w := d.start(options, nil)
	halt := awaitKey(d, d.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
	d.folded()
	d.must(w.stop())
	d.pack(success(200)) // was under way
	d.must(d.buckets.fetchers.Delete(t.Context(), fetcher))
	if state := d.finish(); state.Reason != halt.Reason+"; a record is known above it: IMM-200-23; go on with --start 161" {
		t.Errorf("%s: %q", state.Status, state.Reason)
	}
}

func TestOnlyTheStretchThatStoppedTheRunIsExplained(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 900, noRecordLimit(1, 5))
	const reason = "3 consecutive failed, the last was IMM-9-23"
	d.halt(contract.Halt{Status: contract.SafeStop, Reason: reason, At: closed})
	d.pack(append(outcomesOf(1, 5, noRecord), success(100))...)
	if state := d.finish(); state.Reason != reason {
		t.Errorf("%s: %q, want %q", state.Status, state.Reason, reason)
	}
}

// What the search for the bound asks for above it is no part of the range, and stops nothing.
func TestASearchStopsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, contract.MaxNumber, noRecordLimit(1, 5), func(m *contract.Manifest) { m.Probe, m.Bound = true, nil })
	w := d.start(d.options(), nil)
	d.pack(append(outcomesOf(3, 12, noRecord), success(2))...)
	d.folded()
	d.manifest.Bound, d.manifest.Range.End = &contract.Bound{Number: 2}, 2
	d.put(d.buckets.runs, d.manifest.RunID.ManifestKey(), d.manifest)
	d.pack(success(1))
	d.plan(contract.Planned{Range: d.manifest.Range, Jobs: 12, Beyond: []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}})
	if state := d.await(); state.Status != contract.Completed || state.Report.Total != 2 || state.Report.End != 2 {
		t.Errorf("%s: %q, total %d to %d", state.Status, state.Reason, state.Report.Total, state.Report.End)
	}
	d.must(w.stop())
}
