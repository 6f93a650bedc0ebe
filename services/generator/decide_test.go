package generator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// command is a start that the stream stored as its tenth message.
func command(change func(*start)) start {
	c := start{
		batch: contract.Batch{Prefix: "IMM", Year: "25", Start: 1, End: 9,
			RunSettings: contract.RunSettings{MaxRetries: 3}},
		sequence: 10, at: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), body: []byte(`{"end":9}`),
		options: Options{Site: "sim", Origin: "http://127.0.0.1:1", BoundMaxAge: time.Hour, Program: "1.2"},
	}
	if change != nil {
		change(&c)
	}
	return c
}

func named(c *start) { c.batch.RunID = "mine" }

// newID is the id of the run that command creates without a run id.
const newID contract.RunID = "imm-25-20260301t120000z-10-5"

func missing[T any]() stored[T] {
	return stored[T]{err: fmt.Errorf("reading: %w", jetstream.ErrKeyNotFound)}
}

func unreadable[T any]() stored[T] {
	return stored[T]{revision: 7, err: fmt.Errorf("%w: damaged", runs.ErrUnreadable)}
}

func ended(status contract.Status) stored[contract.State] {
	return stored[contract.State]{value: contract.State{Status: status, Round: 1}, revision: 7}
}

// oldRun is a run of the batch of command that was created at a minute.
func oldRun(id contract.RunID, minute int, state stored[contract.State]) knownRun {
	m := command(nil).newManifest(id, nil)
	m.CreatedAt = m.CreatedAt.Add(time.Duration(minute-60) * time.Minute)
	return knownRun{manifest: m, state: state}
}

func registered(id contract.RunID, state stored[contract.State]) knownRun {
	return knownRun{manifest: contract.Manifest{RunID: id}, state: state}
}

func activeRunsOf(n int, others ...contract.RunID) map[contract.RunID]bool {
	active := make(map[contract.RunID]bool)
	for i := range n {
		active[contract.RunID(fmt.Sprint("run-", i))] = true
	}
	for _, run := range others {
		active[run] = true
	}
	return active
}

// checkError checks that an error is a ValidationError whose text contains want, or nil if want is
// empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (!errors.Is(err, ErrCommand) || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want an error with %q", err, want)
	}
}

func TestChooseRun(t *testing.T) {
	t.Parallel()
	own := func(change func(*contract.Manifest)) stored[contract.Manifest] {
		m := command(named).newManifest("mine", nil)
		if change != nil {
			change(&m)
		}
		return stored[contract.Manifest]{value: m, revision: 3}
	}
	otherOrigin := oldRun("a", 1, ended(contract.Stopped))
	otherOrigin.manifest.Origin = "https://other.test"
	unknownOrigin := oldRun("a", 1, ended(contract.Stopped))
	unknownOrigin.manifest.Origin = ""
	otherBatch := oldRun("a", 1, ended(contract.Stopped))
	otherBatch.manifest.Batch = "another"
	superseded, searching := ended(contract.Stopped), ended(contract.SafeStop)
	superseded.value.Superseded, searching.value.SearchUnfinished = true, true
	noName := missing[contract.Manifest]()
	type test struct {
		change           func(*start)
		known            knownRuns
		run              contract.RunID
		create, register bool
		refused          string
	}
	for name, c := range map[string]test{
		"new id":          {named, knownRuns{named: noName}, "mine", true, false, ""},
		"id of the batch": {named, knownRuns{named: own(nil)}, "mine", false, false, ""},
		"id, unknown origin": {named, knownRuns{named: own(func(m *contract.Manifest) { m.Origin = "" })},
			"mine", false, false, ""},
		"id of another batch": {named, knownRuns{named: own(func(m *contract.Manifest) { m.Batch = "x" })}, "",
			false, false, "IMM-25, 1 to 9"},
		"id of another site": {named, knownRuns{named: own(func(m *contract.Manifest) { m.Origin = "https://other.test" })}, "", false, false, "another batch"},
		"id of unreadable run": {named, knownRuns{named: unreadable[contract.Manifest]()}, "", false, false,
			"damaged"},
		"no run": {nil, knownRuns{}, newID, true, true, ""},
		"stopped": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Stopped))}},
			"a", false, false, ""},
		"blocked": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Blocked))}},
			"a", false, false, ""},
		"running": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Running))}},
			"a", false, false, ""},
		"search unfinished": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, searching)}}, "a", false,
			false, ""},
		"start interrupted": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, missing[contract.State]())}},
			"a", false, false, ""},
		"unknown origin": {nil, knownRuns{sameBatch: []knownRun{unknownOrigin}}, "a", false, false, ""},
		"newest of three": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Stopped)),
			oldRun("b", 3, ended(contract.Stopped)), oldRun("c", 2, ended(contract.Stopped))}}, "b", false, false, ""},
		"newest is over": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Stopped)),
			oldRun("b", 3, ended(contract.Completed))}}, "a", false, false, ""},
		"completed": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Completed))}},
			newID, true, true, ""},
		"safe-stopped": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.SafeStop))}},
			newID, true, true, ""},
		"superseded": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, superseded)}}, newID, true,
			true, ""},
		"unreadable state": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1,
			unreadable[contract.State]())}}, newID, true, true, ""},
		"another origin": {nil, knownRuns{sameBatch: []knownRun{otherOrigin}}, newID, true, true, ""},
		"another batch":  {nil, knownRuns{sameBatch: []knownRun{otherBatch}}, newID, true, true, ""},
		"registered, not created": {nil, knownRuns{registered: registered("theirs", missing[contract.State]())},
			"theirs", true, false, ""},
		"registered has ended": {nil, knownRuns{registered: registered("theirs", ended(contract.Completed))},
			newID, true, true, ""},
		"registered, unreadable": {nil, knownRuns{registered: registered("theirs", unreadable[contract.State]())},
			newID, true, true, ""},
		"existing and registered": {nil, knownRuns{sameBatch: []knownRun{oldRun("a", 1, ended(contract.Stopped))},
			registered: registered("theirs", missing[contract.State]())}, "a", false, false, ""},
		"store of this site": {nil, knownRuns{storedOrigin: "http://127.0.0.1:9"}, newID, true, true, ""},
		"store of another site": {nil, knownRuns{storedOrigin: "https://other.test"}, "", false, false,
			"the store holds records of \"https://other.test\""},
		"one run may be added": {nil, knownRuns{active: activeRunsOf(maxActiveRuns - 1)}, newID, true, true, ""},
		"too many runs": {nil, knownRuns{active: activeRunsOf(maxActiveRuns)}, "", false, false,
			"allowed is 100; retry the start"},
		"too many, resumed": {named, knownRuns{named: own(nil), active: activeRunsOf(maxActiveRuns)}, "", false,
			false, "allowed is 100"},
		"too many, but joined": {named, knownRuns{named: own(nil), active: activeRunsOf(maxActiveRuns-1, "mine")},
			"mine", false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := chooseRun(command(c.change), c.known)
			checkError(t, err, c.refused)
			if got.manifest.RunID != c.run || got.create != c.create || got.register != c.register {
				t.Errorf("run %q, create %t, register %t; want %q, %t, %t", got.manifest.RunID, got.create,
					got.register,
					c.run, c.create, c.register)
			}
		})
	}
}

func TestDecideRound(t *testing.T) {
	t.Parallel()
	haltBy := func(status contract.Status, sequence uint64, later time.Duration) stored[contract.Halt] {
		return stored[contract.Halt]{value: contract.Halt{Status: status, Command: sequence,
			CommandAt: command(nil).at.Add(later)}, revision: 5}
	}
	otherSettings := func(c *start) { c.batch.MaxRetries = 7 }
	namedOther := func(c *start) { named(c); otherSettings(c) }
	none, running := missing[contract.Halt](), ended(contract.Running)
	superseded, searching := ended(contract.Stopped), ended(contract.SafeStop)
	superseded.value.Superseded, searching.value.SearchUnfinished = true, true
	for name, c := range map[string]struct {
		change  func(*start)
		state   stored[contract.State]
		halt    stored[contract.Halt]
		want    roundAction
		refused string
	}{
		"created":                 {nil, missing[contract.State](), none, beginRound, ""},
		"stopped":                 {nil, ended(contract.Stopped), haltBy(contract.Stopped, 9, -1), beginRound, ""},
		"blocked":                 {nil, ended(contract.Blocked), haltBy(contract.Blocked, 0, 0), beginRound, ""},
		"search unfinished":       {nil, searching, haltBy(contract.SafeStop, 0, 0), beginRound, ""},
		"stopped, other settings": {namedOther, ended(contract.Stopped), none, beginRound, ""},
		"halt unreadable":         {nil, ended(contract.Stopped), unreadable[contract.Halt](), beginRound, ""},
		"stopped by later command": {nil, ended(contract.Stopped), haltBy(contract.Stopped, 11, 1), 0,
			"command 11, sent after this start"},
		"created, stopped later":   {nil, missing[contract.State](), haltBy(contract.Stopped, 11, 1), 0, "command 11"},
		"stop of an older stream":  {nil, ended(contract.Stopped), haltBy(contract.Stopped, 11, -1), beginRound, ""},
		"state unreadable":         {nil, unreadable[contract.State](), none, 0, "nats kv del runs mine.state"},
		"running":                  {nil, running, none, joinRound, ""},
		"running, same settings":   {named, running, none, joinRound, ""},
		"running, other settings":  {namedOther, running, none, 0, `max_retries "7": run mine has 3`},
		"running, joined unnamed":  {otherSettings, running, none, joinRound, ""},
		"being stopped":            {nil, running, haltBy(contract.Stopped, 9, -1), 0, "being stopped"},
		"being halted unreadably":  {nil, running, unreadable[contract.Halt](), 0, "being stopped"},
		"halted without status":    {nil, running, haltBy("", 9, -1), 0, "being stopped"},
		"being blocked":            {nil, running, haltBy(contract.Blocked, 0, 0), joinRound, ""},
		"in a safe stop":           {nil, running, haltBy(contract.SafeStop, 0, 0), joinRound, ""},
		"completed":                {named, ended(contract.Completed), none, leaveEnded, ""},
		"superseded":               {named, superseded, none, leaveEnded, ""},
		"safe-stopped":             {named, ended(contract.SafeStop), none, leaveEnded, ""},
		"completed, other setting": {namedOther, ended(contract.Completed), none, 0, `max_retries "7"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decideRound(command(c.change), command(named).newManifest("mine", nil), c.state, c.halt)
			checkError(t, err, c.refused)
			if got != c.want {
				t.Errorf("action %d, want %d", got, c.want)
			}
		})
	}
}

func TestDecideKnown(t *testing.T) {
	t.Parallel()
	known := stored[contract.Manifest]{revision: 1}
	for name, c := range map[string]struct {
		manifest stored[contract.Manifest]
		pending  bool
		waits    bool
		refused  string
	}{
		"known":                 {known, false, false, ""},
		"known, starts pending": {known, true, false, ""},
		"unreadable manifest":   {unreadable[contract.Manifest](), false, false, ""},
		"unknown yet":           {missing[contract.Manifest](), true, true, ""},
		"unknown":               {missing[contract.Manifest](), false, false, "there is no such run"},
	} {
		err := decideKnown("mine", c.manifest, c.pending)
		if waits := errors.Is(err, errStartPending); waits != c.waits {
			t.Errorf("%s: waits %t, want %t", name, waits, c.waits)
		} else if !waits {
			checkError(t, err, c.refused)
		}
	}
}

func TestNewManifest(t *testing.T) {
	t.Parallel()
	c := command(func(c *start) { c.batch.Probe = true; c.options.Config = map[string]any{"site": "sim"} })
	collected := outcomesOf(map[int]contract.Collected{4: {Outcome: contract.Success}})
	want := contract.Manifest{
		Version: 1, RunID: "mine", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9},
		Batch: c.batch.Identity("sim"), Site: "sim", Origin: "http://127.0.0.1:1",
		RunSettings: contract.RunSettings{MaxRetries: 3, Probe: true}, RecheckAbove: 4,
		RecheckBefore: c.at.Add(-time.Hour), CreatedAt: c.at, Config: map[string]any{"site": "sim"},
		Command: json.RawMessage(`{"end":9}`), Program: "1.2",
	}
	if diff := cmp.Diff(want, c.newManifest("mine", collected)); diff != "" {
		t.Error(diff)
	}
	c.body = []byte(`{"ids":["IMM-3-25"],"force":true}`)
	c.batch = c.batch.WithIDs(listOf(t, "IMM-3-25", "IMM-7-25"))
	if m := c.newManifest("mine", nil); string(m.Command) != `{"force":true}` ||
		m.Range != (contract.Range{Start: 3, End: 7}) ||
		m.Searching() || m.IDs != c.batch.IDs || m.Batch != c.batch.Identity("sim") {
		t.Errorf("%+v", m)
	}
	c.body = []byte("{")
	if m := c.newManifest("mine", nil); m.Command != nil {
		t.Errorf("command %s, want none: it is not JSON", m.Command)
	}
}

func TestWithSettings(t *testing.T) {
	t.Parallel()
	later := command(func(c *start) {
		c.at, c.batch.MaxRetries, c.batch.Probe, c.options.Program = c.at.Add(time.Hour), 7, true, "1.3"
	})
	unfinished := contract.State{SearchUnfinished: true, Report: &contract.Report{ProbesUsed: 20}}
	for name, c := range map[string]struct {
		bound  *contract.Bound
		state  contract.State
		change func(*contract.Manifest)
	}{
		"bound known": {&contract.Bound{Number: 5}, unfinished, func(*contract.Manifest) {}},
		"searching": {nil, contract.State{}, func(m *contract.Manifest) {
			m.RecheckBefore = later.at.Add(-time.Hour)
		}},
		"search unfinished": {nil, unfinished, func(m *contract.Manifest) {
			m.RecheckBefore, m.ProbeSpent = later.at.Add(-time.Hour), 20
		}},
	} {
		before := command(func(c *start) { c.batch.Probe = true }).newManifest("mine", nil)
		before.Bound = c.bound
		want := before
		want.MaxRetries, want.Program = 7, "1.3"
		c.change(&want)
		if diff := cmp.Diff(want, later.withSettings(before, c.state)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
