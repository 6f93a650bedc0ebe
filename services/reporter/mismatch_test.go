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

	"github.com/nats-io/nats.go"
)

// mismatch is one way in which what was written can differ from the ledger.
type mismatch struct {
	name string
	// before happens between two reporters, after the whole ledger but for the word of its end was folded.
	before func(d *desk)
	// late happens when everything is folded and the second reader has not begun.
	late func(d *desk)
	// says is a part of what the second reader finds; empty where it looks no closer.
	says string
}

// lines changes the lines of the attempts file.
func (d *desk) lines(change func([]string) []string) {
	d.t.Helper()
	name := filepath.Join(d.dir, attemptsName(d.manifest.RunID))
	data, err := os.ReadFile(name)
	if err != nil {
		d.t.Fatal(err)
	}
	lines := change(slices.Collect(strings.Lines(string(data))))
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// replaced is a line with one text in the place of another one.
func replaced(line int, old, with string) func(d *desk) {
	return func(d *desk) {
		d.t.Helper()
		d.lines(func(lines []string) []string {
			if !strings.Contains(lines[line], old) {
				d.t.Fatalf("line %d is %s", line, lines[line])
			}
			lines[line] = strings.Replace(lines[line], old, with, 1)
			return lines
		})
	}
}

// The lines of mixed: 0 success, 1 no-record, 2 transient, 3 blocked, 4 success, 5 failed, 6 success, 7 no-record, 8 failed, 9 success.
func attemptsMismatches() []mismatch {
	lose := func(line int) func(d *desk) {
		return func(d *desk) {
			d.lines(func(lines []string) []string { return slices.Delete(lines, line, line+1) })
		}
	}
	double := func(line int) func(d *desk) {
		return func(d *desk) {
			d.lines(func(lines []string) []string { return slices.Insert(lines, line, lines[line]) })
		}
	}
	const differs, short, long = "the attempts file differs from the ledger: 1 case, first ", "9 lines for 10 attempts", "11 lines for 10 attempts"
	return []mismatch{
		{name: "settling line lost", late: lose(0), says: differs + "IMM-1-25"},
		{name: "transient line lost", late: lose(2), says: short},
		{name: "last line lost", late: lose(9), says: short},
		{name: "settling line doubled", late: double(4), says: differs + "IMM-4-25"},
		{name: "transient line doubled", late: double(2), says: long},
		{name: "blocked line doubled", late: double(3), says: long},
		{name: "one line lost and another doubled", late: func(d *desk) { lose(9)(d); double(2)(d) }, says: "IMM-3-25 IMM-8-25"},
		{name: "a try lost and another doubled", late: func(d *desk) { lose(3)(d); double(2)(d) }, says: "IMM-3-25 IMM-5-25"},
		{name: "outcome changed", late: replaced(0, "success", "no-record"), says: differs + "IMM-1-25"},
		{name: "outcome changed for one as long", before: replaced(0, `"success"`, `"failed" `), says: differs + "IMM-1-25"},
		{name: "outcome taken away", late: replaced(0, "success", "transient"), says: differs + "IMM-1-25"},
		{name: "try made an outcome", late: replaced(2, "transient", "failed"), says: differs + "IMM-3-25"},
		{name: "number changed", late: replaced(9, "IMM-8-25", "IMM-9-25"), says: "IMM-8-25 IMM-9-25"},
		{name: "number of a try changed", late: replaced(2, "IMM-3-25", "IMM-4-25"), says: "IMM-3-25"},
		{name: "verdict of a try changed", late: replaced(2, "transient", "blocked"), says: differs + "IMM-3-25"},
		{name: "attempt counted on", late: replaced(2, `"attempt":1`, `"attempt":2`), says: differs + "IMM-3-25"},
		{name: "year changed", late: replaced(9, "IMM-8-25", "IMM-8-24"), says: differs + "IMM-8-25"},
		{name: "run changed", late: replaced(9, `"run_id":"run"`, `"run_id":"nur"`), says: "line 10 of the attempts file is no attempt of the run"},
		{name: "half a line behind the end", late: func(d *desk) { d.scribble(`{"run_id":`) }, says: "line 11 of the attempts file is no attempt"},
		{name: "a line of nothing", late: func(d *desk) { d.scribble("\n") }, says: "line 11 of the attempts file is no attempt"},
		{name: "file gone", late: func(d *desk) {
			if err := os.Remove(filepath.Join(d.dir, attemptsName(d.manifest.RunID))); err != nil {
				d.t.Fatal(err)
			}
		}},
		{name: "file emptied", late: func(d *desk) { d.lines(func([]string) []string { return nil }) }},
		{name: "end of the last line lost", late: func(d *desk) {
			d.lines(func(lines []string) []string { return append(lines[:9], strings.TrimSuffix(lines[9], "\n")) })
		}},
		{name: "status changed", late: replaced(0, `"status_code":200`, `"status_code":404`)},
		{name: "zeros in the middle", late: replaced(4, `"outcome"`, strings.Repeat("\x00", 9))},
	}
}

func keyMismatches() []mismatch {
	type bucket func(d *desk) (name string)
	collected, failed := bucket(func(*desk) string { return contract.BucketCollected }), bucket(func(*desk) string { return contract.BucketFailed })
	remove := func(b bucket, number int) func(d *desk) {
		return func(d *desk) {
			d.publishKey(b(d), number, nil)
		}
	}
	put := func(b bucket, number int, outcome contract.Outcome) func(d *desk) {
		return func(d *desk) {
			d.publishKey(b(d), number, &contract.Collected{Outcome: outcome, RunID: d.manifest.RunID})
		}
	}
	const missing, wrong, failures = "keys missing in the bucket collected: 1 case, first ",
		"keys of the bucket collected differ from the ledger: 1 case, first ", "keys of the bucket failed differ from the ledger: 1 case, first "
	return []mismatch{
		{name: "collected key missing", late: remove(collected, 4), says: missing + "IMM-4-25"},
		{name: "collected key with another outcome", late: put(collected, 4, contract.NoRecord), says: wrong + "IMM-4-25"},
		{name: "collected key of one that failed", late: put(collected, 7, contract.Success), says: wrong + "IMM-7-25"},
		{name: "collected key without an outcome", late: put(collected, 9, contract.Success), says: wrong + "IMM-9-25"},
		{name: "failed key missing", late: remove(failed, 3), says: failures + "IMM-3-25"},
		{name: "failed key of one that did not fail", late: put(failed, 1, contract.Failed), says: failures + "IMM-1-25"},
	}
}

func (d *desk) publishKey(bucket string, number int, value *contract.Collected) {
	d.t.Helper()
	msg := deletion(bucket, d.manifest.Case(number))
	if value == nil {
		if err := d.b.PublishBatch(d.t.Context(), []*nats.Msg{msg}); err != nil {
			d.t.Fatal(err)
		}
		return
	}
	data, err := json.Marshal(value)
	if err != nil {
		d.t.Fatal(err)
	}
	d.publish(msg.Subject, data)
}

// tampered changes the checkpoint.
func tampered(change func(*checkpoint)) func(d *desk) {
	return func(d *desk) {
		d.t.Helper()
		point := awaitKey(d, d.manifest.RunID.CheckpointKey(), func(checkpoint) bool { return true })
		change(&point)
		d.put(d.buckets.runs, d.manifest.RunID.CheckpointKey(), point)
	}
}

func checkpointMismatches() []mismatch {
	const counts, differ = "the counts say", "outcomes of the checkpoint differ from the ledger: 1 case, first "
	folded := func(name, says string, change func(*tally)) mismatch {
		return mismatch{name: name, before: tampered(func(c *checkpoint) { change(&c.Tally) }), says: says}
	}
	return []mismatch{
		folded("one success more", counts, func(t *tally) { t.Succeeded++; t.Failed-- }),
		folded("one no-record for a failed", counts, func(t *tally) { t.NoRecord++; t.Failed-- }),
		folded("outcome changed", differ+"IMM-4-25", func(t *tally) { t.Outcomes.set(4, contract.Failed) }),
		folded("outcome lost", differ+"IMM-4-25", func(t *tally) { t.Outcomes.set(4, "") }),
		folded("outcome more", differ+"IMM-9-25", func(t *tally) { t.Outcomes.set(9, contract.Success) }),
		folded("outcome far above the range", differ+"IMM-4000-25", func(t *tally) { t.Outcomes.set(4000, contract.Success) }),
		folded("attempts lost", "10 lines for 9 attempts", func(t *tally) { t.Durations.Count-- }),
		folded("retries lost", "retries", func(t *tally) { t.Retries-- }),
		folded("requests lost", "requests", func(t *tally) { t.Requests-- }),
		folded("sequence far on", "it ends at message", func(t *tally) { t.Sequence += 1000 }),
	}
}

func TestTheSecondReaderSeesEveryMismatch(t *testing.T) {
	t.Parallel()
	for name, mismatches := range map[string][]mismatch{"keys": keyMismatches(), "checkpoint": checkpointMismatches()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fcttest.Broker(t)
			for _, m := range mismatches {
				t.Run(m.name, func(t *testing.T) { m.check(crashedOn(t, cleared(t, b), len(mixed()))) })
			}
		})
	}
}

// TestTheSecondReaderSeesEveryWrongLine has the second reader read an attempts file that nobody mends.
func TestTheSecondReaderSeesEveryWrongLine(t *testing.T) {
	t.Parallel()
	d := crashedOn(t, fcttest.Broker(t), len(mixed()))
	name := filepath.Join(d.dir, attemptsName(d.manifest.RunID))
	good, err := os.ReadFile(name)
	d.must(err)
	for _, m := range attemptsMismatches() {
		if m.says == "" {
			continue
		}
		d.must(os.WriteFile(name, good, 0o600))
		for _, spoil := range []func(*desk){m.before, m.late} {
			if spoil != nil {
				spoil(d)
			}
		}
		c := newCheck(d.manifest, 0)
		from := ledger{bus: d.b, manifest: d.manifest}
		last, err := from.last(t.Context())
		d.must(err)
		d.must(from.readTo(t.Context(), last, c.read))
		file, err := os.Open(name)
		d.must(err)
		d.must(errors.Join(c.attempts(file, 10), file.Close()))
		if err := c.result(); !errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), m.says) {
			t.Errorf("%s: %v, want %q in it", m.name, err, m.says)
		}
	}
}

func (m mismatch) check(d *desk) {
	if m.before != nil {
		m.before(d)
	}
	d.planned(0)
	state, err := d.errored(func(step string) error {
		if step == "end" && m.late != nil {
			m.late(d)
		}
		return nil
	})
	d.refused(state, err, m.says)
}

// refused checks that a run did not pass the second reader, and that everybody is told.
func (d *desk) refused(state contract.State, err error, says string) {
	d.t.Helper()
	if !errors.Is(err, ErrLedger) || state.Status != contract.Errored || !errors.Is(StateError(state), ErrLedger) {
		d.t.Fatalf("%s: %q, %v", state.Status, state.Reason, err)
	}
	if !strings.Contains(state.Reason, says) || !strings.Contains(StateError(state).Error(), says) {
		d.t.Errorf("reason %q, want %q in it", state.Reason, says)
	}
	var inFile contract.Report
	files := d.files()
	if err := json.Unmarshal([]byte(files[state.File]), &inFile); err != nil || inFile.Status != contract.Errored || inFile.Reason != state.Reason {
		d.t.Errorf("report in %q: %s, %q, %v", state.File, inFile.Status, inFile.Reason, err)
	}
	var stop contract.Checkpoint
	if err := json.Unmarshal([]byte(files[checkpointName(d.manifest.RunID)]), &stop); err != nil || stop.Status != contract.Errored {
		d.t.Errorf("checkpoint %+v, %v", stop, err)
	}
}
