package reporter

import (
	"encoding/json"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/reporter/fold"
)

// The report has the count of remaining numbers and the command that continues the run, quoted for
// a shell.
func TestNextCommandOfStoppedRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  contract.Status
		command string
		want    string
		left    int
	}{
		"stopped": {contract.Stopped, `{"run_id":"run","end":8,"probe":false}`,
			`nats pub batch.start '{"end":8,"prefix":"IMM","probe":false,"run_id":"run","year":"23"}'`, 4},
		"blocked": {contract.Blocked, `{"max_cases":8}`, `nats pub batch.start '{"max_cases":8,"prefix":"IMM","year":"23"}'`, 4},
		"safe stop": {contract.SafeStop, `{"run_id":"run","start":1,"max_cases":8}`,
			`nats pub batch.start '{"max_cases":4,"prefix":"IMM","start":5,"year":"23"}'`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 8, func(m *contract.Manifest) { m.Year, m.Command = "23", json.RawMessage(c.command) })
			f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2), fcttest.Success(3), fcttest.Success(4))
			f.putHalt(contract.Halt{Status: c.status, Reason: "so", At: endTime})
			state := f.runToEnd()
			if r := state.Report; state.Status != c.status || r.Remaining != c.left || r.NextCommand != c.want {
				t.Errorf("%s: %d left, %s; want %d, %s", state.Status, r.Remaining, r.NextCommand, c.left, c.want)
			}
			page := f.files()[strings.TrimSuffix(state.File, ".json")+".html"]
			if !strings.Contains(page, "4 left. Go on with:") {
				t.Error("the page does not show what is left")
			}
		})
	}
}

func TestNextCommandByStatus(t *testing.T) {
	t.Parallel()
	const end = 8
	for name, c := range map[string]struct {
		status   contract.Status
		next     int
		failures int
		gone     bool
		want     string
	}{
		"completed":            {contract.Completed, end + 1, 0, false, ""},
		"ended by an error":    {contract.Errored, 5, 0, false, ""},
		"nothing is left":      {contract.SafeStop, end + 1, 0, false, ""},
		"no-records":           {contract.SafeStop, 5, 2, false, `{"end":8,"prefix":"IMM","start":5,"year":"23"}`},
		"failures":             {contract.SafeStop, 5, 3, false, `{"end":8,"prefix":"IMM","run_id":"run","year":"23"}`},
		"stopped":              {contract.Stopped, 5, 0, false, `{"end":8,"prefix":"IMM","run_id":"run","year":"23"}`},
		"blocked":              {contract.Blocked, 5, 0, false, `{"end":8,"prefix":"IMM","run_id":"run","year":"23"}`},
		"blocked by vanishing": {contract.Blocked, 5, 0, true, `{"end":8,"prefix":"IMM","year":"23"}`},
	} {
		w := &worker{Service: New(Options{}), manifest: contract.Manifest{
			RunID: "run", Prefix: "IMM", Year: "23", Range: contract.Range{Start: 1, End: end}, RunSettings: contract.RunSettings{SafeStopFails: 3},
			Command: json.RawMessage(`{"run_id":"run","end":8}`),
		}}
		w.tally.FailStreak = c.failures
		if c.gone {
			w.tally.Vanished = &fold.Vanished{}
		}
		want := c.want
		if want != "" {
			want = "nats pub batch.start '" + want + "'"
		}
		if got := w.nextCommand(c.status, c.next); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
