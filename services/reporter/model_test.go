package reporter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/services/reporter/verify"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawEntry draws an arbitrary attempt of a few numbers.
func drawEntry(t *rapid.T) contract.Entry {
	number, n := rapid.IntRange(1, 12).Draw(t, "number"), rapid.IntRange(1, 3).Draw(t, "attempt")
	entry := rapid.SampledFrom([]contract.Entry{
		fcttest.Success(number), fcttest.NoRecord(number), fcttest.Failure(number), fcttest.Attempt(number, n, contract.VerdictTransient, ""),
		fcttest.Attempt(number, n, contract.VerdictTransient, ""), fcttest.Attempt(number, n, contract.VerdictBlocked, ""),
	}).Draw(t, "entry")
	entry.Attempt = n
	entry.StartedAt = entry.StartedAt.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "later")) * time.Minute)
	for range rapid.IntRange(0, 2).Draw(t, "more requests") {
		gap := rapid.IntRange(0, 9).Draw(t, "gap")
		entry.Requests = append(entry.Requests, contract.Exchange{GapSeconds: float64(gap) / 4})
	}
	entry.Error = fmt.Sprintf("error of %d in attempt %d", number, n)
	return entry
}

// drawPacks draws the messages of a ledger: packs of entries, some of them replayed.
func drawPacks(t *rapid.T) [][]contract.Entry {
	packs := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawEntry), 1, 6), 1, 12).Draw(t, "packs")
	for range rapid.IntRange(0, 4).Draw(t, "replays") {
		packs = append(packs, rapid.SampledFrom(packs).Draw(t, "replay"))
	}
	return packs
}

// modelCounts counts a ledger in the simplest way: for each number its attempts up to the first
// outcome, each once.
func modelCounts(packs [][]contract.Entry) (r contract.Report, attempts []string) {
	for number := 1; number <= 12; number++ {
		known, outcome := map[string]bool{}, contract.Outcome("")
		for _, entry := range slices.Concat(packs...) {
			name := fmt.Sprint(entry.CaseID, entry.Attempt)
			if entry.Verdict == contract.VerdictBlocked {
				name += entry.StartedAt.String()
			}
			if entry.CaseID.Number != number || outcome != "" || known[name] && entry.Outcome == "" {
				continue
			}
			if len(attempts) > 0 && strings.HasPrefix(attempts[len(attempts)-1], entry.CaseID.String()+" ") {
				r.Retries++
			}
			known[name], outcome = true, entry.Outcome
			attempts = append(attempts, fmt.Sprintf("%s %d %s%s", entry.CaseID, entry.Attempt, entry.Verdict, outcome))
			for _, request := range entry.Requests {
				r.Requests++
				if gap := request.GapSeconds; gap > 0 && (r.MinRequestGapSeconds == 0 || gap < r.MinRequestGapSeconds) {
					r.MinRequestGapSeconds = gap
				}
			}
		}
		switch outcome {
		case contract.Success:
			r.Succeeded++
		case contract.NoRecord:
			r.NoRecord++
		case contract.Failed:
			r.Failed++
		}
	}
	r.Total = r.Succeeded + r.NoRecord + r.Failed
	return r, attempts
}

func TestTallyMatchesModel(t *testing.T) {
	t.Parallel()
	manifest := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 12},
		CreatedAt: fcttest.StartTime()}
	rapid.Check(t, func(rt *rapid.T) {
		packs := drawPacks(rt)
		want, attempts := modelCounts(packs)
		var folded fold.Tally
		reader := verify.New(manifest, math.MaxUint64)
		var got []string
		for i, entries := range packs {
			data, err := ledger.Encode(contract.EntryPack{Version: contract.MessageVersion, RunID: "run", Entries: entries})
			if err != nil {
				rt.Fatal(err)
			}
			m, err := ledger.Reader{Manifest: manifest}.Decode(bus.Message{Sequence: uint64(i + 1), Data: data})
			if err != nil {
				rt.Fatal(err)
			}
			for _, entry := range folded.AddMessage(m, 0) {
				if !entry.WritesLine() {
					continue
				}
				got = append(got, fmt.Sprintf("%s %d %s%s", entry.CaseID, entry.Attempt, entry.Verdict, entry.Outcome))
			}
			reader.Read(m)
		}
		report := files.Summary{Manifest: manifest, Tally: &folded, Finished: endTime}.Report()
		failed := 0
		for _, sample := range report.Errors {
			failed += sample.Count
		}
		have := contract.Report{Total: report.Total, Succeeded: report.Succeeded, NoRecord: report.NoRecord,
			Failed:   report.Failed,
			Requests: report.Requests, Retries: report.Retries, MinRequestGapSeconds: report.MinRequestGapSeconds}
		if diff := cmp.Diff(want, have); diff != "" || failed != want.Failed ||
			report.Metrics.JobDurationSeconds.Count != len(attempts) {
			rt.Fatalf("%d errors, %d attempts: %s", failed, report.Metrics.JobDurationSeconds.Count, diff)
		}
		slices.Sort(got)
		slices.Sort(attempts)
		if diff := cmp.Diff(attempts, got); diff != "" {
			rt.Fatal(diff)
		}
		if reader.CompareCounts(countsOf(&folded)); reader.Result() != nil {
			rt.Fatal(reader.Result())
		}
	})
}

func TestReporterMatchesModel(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for seed := range 15 {
		packs := rapid.Custom(drawPacks).Example(seed)
		f := newFixtureOn(t, emptied(t, b), 12)
		for _, entries := range packs {
			f.publishEntries(entries...)
		}
		f.putHalt(contract.Halt{Status: contract.Stopped, At: endTime})
		want, attempts := modelCounts(packs)
		got := f.runToArtifacts()
		if r := got.Report; r.Status != contract.Stopped || r.Succeeded != want.Succeeded ||
			r.NoRecord != want.NoRecord || r.Failed != want.Failed ||
			r.Requests != want.Requests || r.Retries != want.Retries ||
			len(got.Collected) != want.Succeeded+want.NoRecord-r.Unconfirmed || len(got.Failed) != want.Failed {
			t.Errorf("seed %d: %+v, want %+v", seed, r, want)
		}
		if lines := strings.Count(got.Files["attempts_run.ndjson"], "\n"); lines != len(attempts) {
			t.Errorf("seed %d: %d lines for %d attempts", seed, lines, len(attempts))
		}
	}
}
