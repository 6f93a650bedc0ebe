package reporter

import (
	"encoding/json"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/reporter/fold"
)

func TestDecideEnd(t *testing.T) {
	t.Parallel()
	halted := func(status contract.Status) *contract.Halt { return &contract.Halt{Status: status, Reason: "halted"} }
	const stretch = "a stretch"
	isStretch := func(reason string) bool { return reason == stretch }
	for name, c := range map[string]struct {
		facts endFacts
		want  endDecision
	}{
		"running": {endFacts{}, endDecision{}},
		"complete": {endFacts{complete: true},
			endDecision{step: stepEnd, status: contract.Completed}},
		"complete, limit reached": {endFacts{complete: true, safeStop: "limit"},
			endDecision{step: stepEnd, status: contract.SafeStop, reason: "limit"}},
		"complete, one unconfirmed": {endFacts{complete: true, unconfirmed: 1},
			endDecision{step: stepConfirm}},
		"complete, limit of failures, two unconfirmed": {endFacts{complete: true, safeStop: "limit", unconfirmed: 2},
			endDecision{step: stepEnd, status: contract.SafeStop, reason: "limit"}},
		"complete, stretch, one unconfirmed": {endFacts{complete: true, safeStop: stretch, unconfirmed: 1},
			endDecision{step: stepConfirm}},
		"complete, confirming": {endFacts{complete: true, unconfirmed: 1, canary: canaryState{ending: true}},
			endDecision{step: stepStartCanary}},
		"complete, confirming, paused": {endFacts{complete: true, unconfirmed: 1, paused: true,
			canary: canaryState{ending: true}}, endDecision{}},
		"complete, paused": {endFacts{complete: true, paused: true}, endDecision{step: stepEnd, status: contract.Completed}},
		"stopped, paused": {endFacts{halt: halted(contract.Stopped), inFlight: inFlightNone, unconfirmed: 9, paused: true},
			endDecision{step: stepEnd, status: contract.Stopped, reason: "halted"}},
		"complete, canary in flight": {endFacts{complete: true, pending: true, busy: true,
			canary: canaryState{ending: true, blocked: "waf"}}, endDecision{}},
		"complete, canary to be repeated": {endFacts{complete: true, unconfirmed: 1, busy: true,
			canary: canaryState{ending: true}}, endDecision{}},
		"complete, canary given up": {endFacts{complete: true, unconfirmed: 1,
			canary: canaryState{ending: true, givenUp: true, givenUpReason: "no answer"}},
			endDecision{step: stepEnd, status: contract.Completed, givenUp: "no answer"}},
		"complete, canary blocked": {endFacts{complete: true, unconfirmed: 1, noRecordStreak: 2, busy: true,
			canary: canaryState{ending: true, blocked: "waf"}},
			endDecision{step: stepEnd, status: contract.Blocked, reason: "waf"}},
		"complete, canary blocked after no-records": {endFacts{complete: true, unconfirmed: 3, noRecordStreak: 3,
			busy: true, canary: canaryState{ending: true, blocked: "waf"}}, endDecision{step: stepVoid}},
		"complete and stopped, unconfirmed": {endFacts{complete: true, unconfirmed: 1, halt: halted(contract.Stopped),
			haltDue: true}, endDecision{step: stepCheckInFlight}},
		"complete and safe-stopped, unconfirmed": {endFacts{complete: true, safeStop: "limit", unconfirmed: 3,
			halt: halted(contract.SafeStop)}, endDecision{step: stepConfirm}},
		"complete and stopped": {endFacts{complete: true, halt: halted(contract.Stopped)},
			endDecision{step: stepEnd, status: contract.Completed}},
		"halted, checked a moment ago": {endFacts{halt: halted(contract.Stopped)}, endDecision{}},
		"halted, in flight": {endFacts{halt: halted(contract.Stopped), haltDue: true, inFlight: inFlightSome},
			endDecision{}},
		"stopped": {endFacts{halt: halted(contract.Stopped), inFlight: inFlightNone, unconfirmed: 9},
			endDecision{step: stepEnd, status: contract.Stopped, reason: "halted"}},
		"blocked": {endFacts{halt: halted(contract.Blocked), inFlight: inFlightNone, noRecordStreak: 2},
			endDecision{step: stepEnd, status: contract.Blocked, reason: "halted"}},
		"blocked after no-records": {endFacts{halt: halted(contract.Blocked), inFlight: inFlightNone, noRecordStreak: 3},
			endDecision{step: stepVoid}},
		"blocked, canary in flight": {endFacts{halt: halted(contract.Blocked), inFlight: inFlightNone, noRecordStreak: 3,
			pending: true}, endDecision{step: stepEnd, status: contract.Blocked, reason: "halted"}},
		"unreadable key": {endFacts{halt: halted(contract.Errored), inFlight: inFlightNone, unconfirmed: 9},
			endDecision{step: stepEnd, status: contract.Errored, reason: "halted"}},
		"safe stop, three unconfirmed": {endFacts{halt: halted(contract.SafeStop), inFlight: inFlightNone, unconfirmed: 3},
			endDecision{step: stepConfirm}},
		"vanished": {endFacts{vanished: "vanished", block: "block"},
			endDecision{step: stepHaltBlocked, reason: "block"}},
		"vanished, halt not read yet": {endFacts{vanished: "vanished", block: "block", haltWritten: true}, endDecision{}},
		"vanished, halted": {endFacts{vanished: "vanished", haltWritten: true, halt: halted(contract.Stopped),
			inFlight: inFlightNone}, endDecision{step: stepEnd, status: contract.Blocked, reason: "vanished"}},
	} {
		c.facts.isStretch = isStretch
		if got := decideEnd(c.facts); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

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
