package reporter

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/services/reporter/verify"

	"github.com/nats-io/nats.go"
)

// mismatch is a difference between the ledger and what was derived from it.
type mismatch struct {
	name string
	// betweenReporters runs between two reporters, after everything but the planned message was
	// folded.
	betweenReporters func(f *fixture)
	// beforeVerify runs when everything is folded, before the verifier starts.
	beforeVerify func(f *fixture)
	// want is a part of the verifier's error; empty where the verifier does not compare.
	want string
}

// editLines changes the lines of the attempts file.
func (f *fixture) editLines(change func([]string) []string) {
	f.t.Helper()
	name := filepath.Join(f.dir, files.AttemptsName(f.manifest.RunID))
	data, err := os.ReadFile(name)
	if err != nil {
		f.t.Fatal(err)
	}
	lines := change(slices.Collect(strings.Lines(string(data))))
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// replaceInLine returns a change that replaces text in a line of the attempts file.
func replaceInLine(line int, old, with string) func(f *fixture) {
	return func(f *fixture) {
		f.t.Helper()
		f.editLines(func(lines []string) []string {
			if !strings.Contains(lines[line], old) {
				f.t.Fatalf("line %d is %s", line, lines[line])
			}
			lines[line] = strings.Replace(lines[line], old, with, 1)
			return lines
		})
	}
}

// The lines of mixedEntries: 0 success, 1 no-record, 2 transient, 3 blocked, 4 success, 5 failed, 6
// success, 7 no-record, 8 failed, 9 success.
func attemptsMismatches() []mismatch {
	lose := func(line int) func(f *fixture) {
		return func(f *fixture) {
			f.editLines(func(lines []string) []string { return slices.Delete(lines, line, line+1) })
		}
	}
	double := func(line int) func(f *fixture) {
		return func(f *fixture) {
			f.editLines(func(lines []string) []string { return slices.Insert(lines, line, lines[line]) })
		}
	}
	const differs, short, long = "the attempts file differs from the ledger: 1 case, first ",
		"9 lines for 10 attempts", "11 lines for 10 attempts"
	return []mismatch{
		{name: "line of an outcome lost", beforeVerify: lose(0), want: differs + "IMM-1-25"},
		{name: "transient line lost", beforeVerify: lose(2), want: short},
		{name: "last line lost", beforeVerify: lose(9), want: short},
		{name: "line of an outcome doubled", beforeVerify: double(4), want: differs + "IMM-4-25"},
		{name: "transient line doubled", beforeVerify: double(2), want: long},
		{name: "blocked line doubled", beforeVerify: double(3), want: long},
		{name: "one line lost and another doubled", beforeVerify: func(f *fixture) { lose(9)(f); double(2)(f) },
			want: "IMM-3-25 IMM-8-25"},
		{name: "an attempt lost and another doubled", beforeVerify: func(f *fixture) { lose(3)(f); double(2)(f) },
			want: "IMM-3-25 IMM-5-25"},
		{name: "outcome changed", beforeVerify: replaceInLine(0, "success", "no-record"), want: differs + "IMM-1-25"},
		{name: "outcome changed for one as long", betweenReporters: replaceInLine(0, `"success"`, `"failed" `),
			want: differs + "IMM-1-25"},
		{name: "outcome taken away", beforeVerify: replaceInLine(0, "success", "transient"),
			want: differs + "IMM-1-25"},
		{name: "attempt made an outcome", beforeVerify: replaceInLine(2, "transient", "failed"),
			want: differs + "IMM-3-25"},
		{name: "number changed", beforeVerify: replaceInLine(9, "IMM-8-25", "IMM-9-25"), want: "IMM-8-25 IMM-9-25"},
		{name: "number of an attempt changed", beforeVerify: replaceInLine(2, "IMM-3-25", "IMM-4-25"),
			want: "IMM-3-25"},
		{name: "verdict of an attempt changed", beforeVerify: replaceInLine(2, "transient", "blocked"),
			want: differs + "IMM-3-25"},
		{name: "attempt counted on", beforeVerify: replaceInLine(2, `"attempt":1`, `"attempt":2`),
			want: differs + "IMM-3-25"},
		{name: "year changed", beforeVerify: replaceInLine(9, "IMM-8-25", "IMM-8-24"), want: differs + "IMM-8-25"},
		{name: "run changed", beforeVerify: replaceInLine(9, `"run_id":"run"`, `"run_id":"nur"`),
			want: "line 10 of the attempts file is not an attempt of the run"},
		{name: "half a line at the end", beforeVerify: func(f *fixture) { f.appendText(`{"run_id":`) },
			want: "line 11 of the attempts file is not an attempt"},
		{name: "an empty line", beforeVerify: func(f *fixture) { f.appendText("\n") },
			want: "line 11 of the attempts file is not an attempt"},
		{name: "file gone", beforeVerify: func(f *fixture) {
			if err := os.Remove(filepath.Join(f.dir, files.AttemptsName(f.manifest.RunID))); err != nil {
				f.t.Fatal(err)
			}
		}},
		{name: "file emptied", beforeVerify: func(f *fixture) { f.editLines(func([]string) []string { return nil }) }},
		{name: "end of the last line lost", beforeVerify: func(f *fixture) {
			f.editLines(func(lines []string) []string { return append(lines[:9], strings.TrimSuffix(lines[9], "\n")) })
		}},
		{name: "status changed", beforeVerify: replaceInLine(0, `"status_code":200`, `"status_code":404`)},
		{name: "zeros in the middle", beforeVerify: replaceInLine(4, `"outcome"`, strings.Repeat("\x00", 9))},
	}
}

func keyMismatches() []mismatch {
	type bucket func(f *fixture) (name string)
	collected, failed := bucket(func(*fixture) string { return contract.BucketCollected }),
		bucket(func(*fixture) string { return contract.BucketFailed })
	remove := func(b bucket, number int) func(f *fixture) {
		return func(f *fixture) {
			f.publishKey(b(f), number, nil)
		}
	}
	put := func(b bucket, number int, outcome contract.Outcome) func(f *fixture) {
		return func(f *fixture) {
			f.publishKey(b(f), number, &contract.Collected{Outcome: outcome, RunID: f.manifest.RunID})
		}
	}
	const missing, wrong, failures = "keys missing in the bucket collected: 1 case, first ",
		"keys of the bucket collected differ from the ledger: 1 case, first ",
		"keys of the bucket failed differ from the ledger: 1 case, first "
	return []mismatch{
		{name: "collected key missing", beforeVerify: remove(collected, 4), want: missing + "IMM-4-25"},
		{name: "collected key with another outcome", beforeVerify: put(collected, 4, contract.NoRecord),
			want: wrong + "IMM-4-25"},
		{name: "collected key of one that failed", beforeVerify: put(collected, 7, contract.Success),
			want: wrong + "IMM-7-25"},
		{name: "collected key without an outcome", beforeVerify: put(collected, 9, contract.Success),
			want: wrong + "IMM-9-25"},
		{name: "failed key missing", beforeVerify: remove(failed, 3), want: failures + "IMM-3-25"},
		{name: "failed key of one that did not fail", beforeVerify: put(failed, 1, contract.Failed),
			want: failures + "IMM-1-25"},
	}
}

func (f *fixture) publishKey(bucket string, number int, value *contract.Collected) {
	f.t.Helper()
	msg := deletion(bucket, f.manifest.Case(number))
	if value == nil {
		if err := f.bus.PublishBatch(f.t.Context(), []*nats.Msg{msg}); err != nil {
			f.t.Fatal(err)
		}
		return
	}
	data, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(msg.Subject, data)
}

// changeCheckpoint returns a change of the checkpoint.
func changeCheckpoint(change func(*checkpoint)) func(f *fixture) {
	return func(f *fixture) {
		f.t.Helper()
		point := awaitKey(f, f.manifest.RunID.CheckpointKey(), func(checkpoint) bool { return true })
		change(&point)
		f.put(f.buckets.runs, f.manifest.RunID.CheckpointKey(), point)
	}
}

func checkpointMismatches() []mismatch {
	const counts, differ = "the counts have", "outcomes of the checkpoint differ from the ledger: 1 case, first "
	folded := func(name, want string, change func(*fold.Tally)) mismatch {
		return mismatch{name: name, betweenReporters: changeCheckpoint(func(c *checkpoint) { change(&c.Tally) }),
			want: want}
	}
	return []mismatch{
		folded("one success more", counts, func(t *fold.Tally) { t.Succeeded++; t.Failed-- }),
		folded("one no-record for a failed", counts, func(t *fold.Tally) { t.NoRecord++; t.Failed-- }),
		folded("outcome changed", differ+"IMM-4-25", func(t *fold.Tally) { t.Outcomes.Set(4, contract.Failed) }),
		folded("outcome lost", differ+"IMM-4-25", func(t *fold.Tally) { t.Outcomes.Set(4, "") }),
		folded("outcome more", differ+"IMM-9-25", func(t *fold.Tally) { t.Outcomes.Set(9, contract.Success) }),
		folded("outcome far above the range", differ+"IMM-4000-25",
			func(t *fold.Tally) { t.Outcomes.Set(4000, contract.Success) }),
		folded("attempts lost", "10 lines for 9 attempts", func(t *fold.Tally) { t.Durations.Count-- }),
		folded("retries lost", "retries", func(t *fold.Tally) { t.Retries-- }),
		folded("requests lost", "requests", func(t *fold.Tally) { t.Requests-- }),
		folded("sequence far on", "it ends at message", func(t *fold.Tally) { t.Sequence += 1000 }),
	}
}

func TestVerifierReportsMismatches(t *testing.T) {
	t.Parallel()
	for name, mismatches := range map[string][]mismatch{"keys": keyMismatches(), "checkpoint": checkpointMismatches()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fcttest.Broker(t)
			for _, m := range mismatches {
				t.Run(m.name, func(t *testing.T) {
					m.assertReported(newMixedFixtureOn(t, emptied(t, b),
						len(mixedEntries())))
				})
			}
		})
	}
}

// The verifier reads an attempts file that nothing repairs.
func TestVerifierReportsWrongLines(t *testing.T) {
	t.Parallel()
	f := newMixedFixtureOn(t, fcttest.Broker(t), len(mixedEntries()))
	name := filepath.Join(f.dir, files.AttemptsName(f.manifest.RunID))
	good, err := os.ReadFile(name)
	f.must(err)
	for _, m := range attemptsMismatches() {
		if m.want == "" {
			continue
		}
		f.must(os.WriteFile(name, good, 0o600))
		for _, damage := range []func(*fixture){m.betweenReporters, m.beforeVerify} {
			if damage != nil {
				damage(f)
			}
		}
		v := verify.New(f.manifest, 0)
		from := ledger.Reader{Bus: f.bus, Manifest: f.manifest}
		last, err := from.Last(t.Context())
		f.must(err)
		f.must(from.ReadTo(t.Context(), last, func(m ledger.Message) error { v.Read(m); return nil }))
		file, err := os.Open(name)
		f.must(err)
		f.must(errors.Join(v.CompareAttempts(file, 10), file.Close()))
		if err := v.Result(); !errors.Is(err, ledger.ErrMismatch) || !strings.Contains(err.Error(), m.want) {
			t.Errorf("%s: %v, want %q in it", m.name, err, m.want)
		}
	}
}

func (m mismatch) assertReported(f *fixture) {
	if m.betweenReporters != nil {
		m.betweenReporters(f)
	}
	f.publishPlanned(0)
	state, err := f.runToError(func(step string) error {
		if step == "end" && m.beforeVerify != nil {
			m.beforeVerify(f)
		}
		return nil
	})
	f.assertMismatch(state, err, m.want)
}

// assertMismatch checks that verification ended the run, and that state, report and checkpoint file
// say so.
func (f *fixture) assertMismatch(state contract.State, err error, want string) {
	f.t.Helper()
	if !errors.Is(err, ledger.ErrMismatch) || state.Status != contract.Errored || !errors.Is(StateError(state), ledger.ErrMismatch) {
		f.t.Fatalf("%s: %q, %v", state.Status, state.Reason, err)
	}
	if !strings.Contains(state.Reason, want) || !strings.Contains(StateError(state).Error(), want) {
		f.t.Errorf("reason %q, want %q in it", state.Reason, want)
	}
	var inFile contract.Report
	files := f.files()
	if err := json.Unmarshal([]byte(files[state.File]), &inFile); err != nil || inFile.Status != contract.Errored ||
		inFile.Reason != state.Reason {
		f.t.Errorf("report in %q: %s, %q, %v", state.File, inFile.Status, inFile.Reason, err)
	}
	var stop contract.Checkpoint
	if err := json.Unmarshal([]byte(files["checkpoint-run.json"]), &stop); err != nil ||
		stop.Status != contract.Errored {
		f.t.Errorf("checkpoint %+v, %v", stop, err)
	}
}
