package verify

import (
	"math"
	"runtime"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
)

// heapBytes returns what the live heap has. A test that calls it must not be parallel.
func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A full year of numbers, each with a retry, takes a few bytes a number.
func TestVerifier_FewBytesANumber(t *testing.T) { //nolint:paralleltest // it measures the heap
	manifest := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25",
		Range: contract.Range{Start: 1, End: contract.MaxNumber}}
	before := heapBytes()
	v := New(manifest, math.MaxUint64)
	collected := NewKeys()
	for n := 1; n <= contract.MaxNumber; n++ {
		entry := fcttest.Success(n)
		if n%2 == 0 { // so that half of them are confirmed no-records
			entry = fcttest.NoRecord(n)
		}
		entry.Attempt = 2
		v.Read(ledger.Message{Sequence: uint64(n),
			Entries: []contract.Entry{fcttest.Attempt(n, 1, contract.VerdictTransient, ""), entry}})
		collected.Add(manifest, n, contract.Collected{Outcome: entry.Outcome, RunID: "run"})
	}
	const limit = 40
	if each := float64(heapBytes()-before) / contract.MaxNumber; each > limit {
		t.Errorf("%.0f bytes a number, want at most %d", each, limit)
	}
	if got := v.retries(); got != contract.MaxNumber {
		t.Errorf("%d retries, want %d", got, contract.MaxNumber)
	}
	runtime.KeepAlive(collected)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	type state struct {
		has, own, skipped, belongs bool
		outcome                    contract.Outcome
	}
	keys := NewKeys()
	manifest := contract.Manifest{RunID: "run"}
	for n, value := range []contract.Collected{
		1: {Outcome: contract.Success, RunID: "run"}, 2: {Outcome: contract.Success, RunID: "other"},
		3: {Outcome: contract.Failed, RunID: "other"}, 4: {Outcome: "later", RunID: "run"},
	} {
		if n > 0 {
			keys.Add(manifest, n, value)
		}
	}
	none := state{belongs: true}
	want := []state{none,
		{has: true, own: true, belongs: true, outcome: contract.Success},
		{has: true, skipped: true, outcome: contract.Success},
		{has: true, outcome: contract.Failed},
		{has: true, own: true, belongs: true, outcome: "unknown"},
		none,
	}
	of := func(k Keys, n int) state {
		return state{k.Has(n), k.Own(n), k.Skipped(n), k.Belongs(n), k.Outcome(n)}
	}
	for n, want := range want {
		if diff := cmp.Diff(want, of(keys, n), cmp.AllowUnexported(state{})); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
	for _, n := range []int{-1, contract.MaxNumber + 1} {
		if got := of(keys, n); got != none {
			t.Errorf("%d: %+v", n, got)
		}
	}
	if got := of(nil, 1); got != none {
		t.Errorf("nil: %+v", got)
	}
}
