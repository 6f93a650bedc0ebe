package snapshot_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/snapshot"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a store to which tests add runs.
type fixture struct {
	*testing.T
	bus *bus.Bus
}

// run adds a run.
func (f fixture) run(id contract.RunID, series, year string) {
	f.Helper()
	kv, err := f.bus.KV(f.Context(), contract.BucketRuns)
	if err == nil {
		err = runs.Put(f.Context(), kv, id.ManifestKey(),
			contract.Manifest{Version: contract.MessageVersion, RunID: id, Prefix: series, Year: year,
				Site: "court-" + string(id), Range: contract.Range{Start: 1, End: 9999}, CreatedAt: fcttest.StartTime(),
				RunSettings: contract.RunSettings{MaxRetries: 3}})
	}
	if err != nil {
		f.Fatal(err)
	}
}

// publish adds entries as one message and returns its sequence.
func (f fixture) publish(id contract.RunID, entries ...contract.Entry) uint64 {
	f.Helper()
	msg, err := new(ledger.Encoder).EntryMessage(id, entries)
	if err != nil {
		f.Fatal(err)
	}
	return f.send(msg)
}

func (f fixture) send(msg *nats.Msg) uint64 {
	f.Helper()
	ack, err := f.bus.Publish(f.Context(), msg)
	if err != nil {
		f.Fatal(err)
	}
	return ack.Sequence
}

// row is what a test compares of an item.
type row struct {
	Case, Outcome, Run, Style string
	Unconfirmed               bool
	Attempts                  int
}

func (f fixture) rows(s *snapshot.Snapshot, selected func(export.Coverage) bool) (rows []row) {
	f.Helper()
	err := s.Source(selected).Numbers(f.Context(), func(i export.Item) error {
		r := row{i.CaseID.String(), string(i.Outcome), string(i.RunID), "", i.Unconfirmed, i.Attempts}
		if i.Record != nil {
			record, err := contract.ParseRecord(i.Record)
			if err != nil || record.CaseID != i.CaseID {
				f.Errorf("record of %s: %s, %v", i.CaseID, record.CaseID, err)
			}
			r.Style = record.StyleOfCause
		}
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return rows
}

// of returns the entry as that of another series and year, with a style of cause in its record.
func of(e contract.Entry, series, year, style string) contract.Entry {
	e.CaseID.Series, e.CaseID.Year = series, year
	if e.Record != nil {
		e.Record = contract.Record{Version: contract.RecordVersion, CaseID: e.CaseID, Docket: []contract.DocketEntry{},
			Header: contract.Header{StyleOfCause: style}, FetchedAt: e.StartedAt}.FileContent()
	}
	return e
}

func (f fixture) take() *snapshot.Snapshot {
	f.Helper()
	s, err := snapshot.Take(f.Context(), f.bus)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

func TestSnapshot_OrderAndNewestRecord(t *testing.T) {
	f := fixture{t, fcttest.Broker(t)}
	for id, at := range map[contract.RunID][2]string{"old": {"IMM", "99"}, "a": {"IMM", "25"}, "b": {"IMM", "25"},
		"t": {"T", "25"}, "idle": {"IMM", "26"}} {
		f.run(id, at[0], at[1])
	}
	f.publish("t", of(fcttest.Success(3), "T", "25", "t"))
	f.publish("a", of(fcttest.Success(700), "IMM", "25", "a"), of(fcttest.Success(701), "IMM", "25", "a"))
	f.publish("a", fcttest.NoRecord(10))
	f.publish("a", fcttest.Attempt(2, 1, contract.VerdictTransient, ""),
		fcttest.Attempt(11, 1, contract.VerdictTransient, ""))
	f.publish("a", fcttest.Attempt(2, 2, contract.VerdictTransient, contract.Failed))
	f.publish("a", of(fcttest.Success(1), "IMM", "25", "a"), of(fcttest.Success(12), "IMM", "25", "a"),
		fcttest.NoRecord(9))
	f.publish("b", of(fcttest.Success(700), "IMM", "25", "b"))
	f.publish("b", fcttest.Failure(1))
	f.publish("old", of(fcttest.Success(5), "IMM", "99", "old"))
	f.publish("b", fcttest.Failure(701))
	last := f.publish("b", fcttest.Success(2))
	s := f.take()
	if want := []contract.RunID{"t", "a", "b", "old"}; s.Sequence != last || !cmp.Equal(s.Runs, want) {
		t.Errorf("message %d of %v, want %d of %v", s.Sequence, s.Runs, last, want)
	}
	want := []row{
		{"IMM-5-99", "success", "old", "old", false, 1},
		{"IMM-1-25", "success", "a", "a", false, 2}, // a failure does not replace a success
		{"IMM-2-25", "success", "b", "", false, 3},
		{"IMM-9-25", "no-record", "a", "", true, 1}, // no record after it
		{"IMM-10-25", "no-record", "a", "", false, 1},
		{"IMM-11-25", "", "a", "", false, 1},
		{"IMM-12-25", "success", "a", "a", false, 1},
		{"IMM-700-25", "success", "b", "b", false, 2},
		{"IMM-701-25", "success", "a", "a", false, 2},
		{"T-3-25", "success", "t", "t", false, 1},
	}
	if diff := cmp.Diff(want, f.rows(s, nil)); diff != "" {
		t.Error(diff)
	}
	if n := s.Count(); n != len(want) {
		t.Errorf("count %d, want %d", n, len(want))
	}
	some := f.rows(s, func(c export.Coverage) bool { return c.Outcome == contract.NoRecord })
	if diff := cmp.Diff(want[3:5], some); diff != "" {
		t.Error(diff)
	}
}

// A no-record that the site took back is no outcome; an older record stays.
func TestSnapshot_VoidedNoRecord(t *testing.T) {
	f := fixture{t, fcttest.Broker(t)}
	f.run("a", "IMM", "25")
	f.run("b", "IMM", "25")
	f.publish("a", of(fcttest.Success(1), "IMM", "25", "a"), of(fcttest.Success(2), "IMM", "25", "a"))
	last := f.publish("b", fcttest.NoRecord(1), fcttest.NoRecord(3))
	before := f.take()
	canary, err := ledger.CanaryMessage("b", []contract.Entry{fcttest.Attempt(1, 1, contract.VerdictNoRecord, ""),
		fcttest.Attempt(2, 1, contract.VerdictNoRecord, "")}, last)
	if err != nil {
		t.Fatal(err)
	}
	f.send(canary)
	want := []row{{"IMM-1-25", "success", "a", "a", false, 2}, {"IMM-2-25", "success", "a", "a", false, 1},
		{"IMM-3-25", "", "b", "", false, 1}}
	if diff := cmp.Diff(want, f.rows(f.take(), nil)); diff != "" {
		t.Error(diff)
	}
	want = []row{{"IMM-1-25", "success", "a", "a", false, 2}, {"IMM-2-25", "success", "a", "a", false, 1},
		{"IMM-3-25", "no-record", "b", "", true, 1}}
	if diff := cmp.Diff(want, f.rows(before, nil)); diff != "" {
		t.Errorf("the snapshot changed: %s", diff)
	}
}

// A run that goes on while the records are read changes nothing.
func TestSnapshot_RunGoesOn(t *testing.T) {
	f := fixture{t, fcttest.Broker(t)}
	f.run("a", "IMM", "25")
	f.run("b", "IMM", "25")
	const numbers = 600
	for n := 1; n <= numbers; n += 2 {
		f.publish("a", of(fcttest.Success(n), "IMM", "25", "a"))
	}
	s := f.take()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 1; ctx.Err() == nil && n <= 2*numbers; n++ {
			f.publish("b", of(fcttest.Success(n), "IMM", "25", "b"))
		}
	}()
	got := f.rows(s, nil)
	cancel()
	<-ended
	if len(got) != numbers/2 {
		t.Fatalf("%d numbers, want %d", len(got), numbers/2)
	}
	for i, r := range got {
		if want := (row{contract.CaseID{Series: "IMM", Year: "25", Number: 2*i + 1}.String(), "success", "a", "a",
			false, 1}); r != want {
			t.Fatalf("row %d is %v, want %v", i, r, want)
		}
	}
	if after := f.take(); after.Sequence <= s.Sequence {
		t.Errorf("nothing was published meanwhile: message %d, then %d", s.Sequence, after.Sequence)
	}
	again, err := snapshot.TakeAt(t.Context(), f.bus, s.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	if rows := f.rows(again, nil); !slices.Equal(rows, got) {
		t.Errorf("the same message shows %d numbers, want %d", len(rows), len(got))
	}
}

func TestSnapshot_EmptyAndUnreadable(t *testing.T) {
	f := fixture{t, fcttest.Broker(t)}
	if s := f.take(); s.Sequence != 0 || len(f.rows(s, nil)) != 0 {
		t.Errorf("an empty store has message %d", s.Sequence)
	}
	f.publish("unknown", fcttest.Success(1))
	if _, err := snapshot.Take(t.Context(), f.bus); !errors.Is(err, ledger.ErrMismatch) {
		t.Errorf("a run without a manifest is %v", err)
	}
	f.run("unknown", "IMM", "25")
	f.run("mixed", "IMM", "25")
	f.publish("mixed", fcttest.Success(1), fcttest.Success(700))
	if _, err := snapshot.Take(t.Context(), f.bus); !errors.Is(err, ledger.ErrMismatch) {
		t.Errorf("a message with numbers of two chunks is %v", err)
	}
	f.send(&nats.Msg{Subject: contract.RunID("unknown").OutcomeSubject(0), Data: []byte("{}\n")})
	if _, err := snapshot.Take(t.Context(), f.bus); !errors.Is(err, ledger.ErrMismatch) {
		t.Errorf("an unreadable message is %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := snapshot.Take(ctx, f.bus); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a canceled read is %v", err)
	}
}
