package generator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go/jetstream"
)

// This file decides what a command does, from what create.go and service.go have read. Nothing in
// it reads or writes: an action is a value, and a rejection is a ValidationError.

// maxActiveRuns limits the runs that are active at once. Runs take turns at the site, so another
// run would only wait, and cost each service a consumer, a lease and memory.
const maxActiveRuns = 100

// start is a batch.start that a generator with these options executes.
type start struct {
	batch contract.Batch
	// sequence and at are where and when the stream stored the command, body is its body.
	sequence uint64
	at       time.Time
	body     []byte
	options  Options
}

// stored is a key as it was read. Its err is nil, or wraps jetstream.ErrKeyNotFound or
// runs.ErrUnreadable.
type stored[T any] struct {
	value    T
	revision uint64
	err      error
}

func (s stored[T]) missing() bool    { return errors.Is(s.err, jetstream.ErrKeyNotFound) }
func (s stored[T]) unreadable() bool { return errors.Is(s.err, runs.ErrUnreadable) }

// knownRuns is what chooseRun knows.
type knownRuns struct {
	// named is the manifest of the run id that the start gives.
	named stored[contract.Manifest]
	// sameBatch are the runs of the batch, in no order, for a start without a run id.
	sameBatch []knownRun
	// registered is the run that the batch became last, perhaps without a manifest yet; its id may be
	// empty.
	registered knownRun
	// storedOrigin is the origin of the collected cases; "" if it is unknown.
	storedOrigin string
	active       map[contract.RunID]bool
}

// knownRun is what is known of one run of a batch.
type knownRun struct {
	manifest contract.Manifest
	state    stored[contract.State]
}

// resumable reports whether a run can be resumed. This includes a run whose start was interrupted
// before its state was written. The reporter ends a run with an unreadable state.
func (r knownRun) resumable() bool {
	return r.state.missing() || r.state.err == nil && r.state.value.Resumable()
}

// choice is the run that a start is for. A run to create has a manifest with only its id.
type choice struct {
	manifest contract.Manifest
	create   bool
	// register: the new run must first be registered as the one that its batch became.
	register bool
}

// chooseRun returns the run that a start is for: the run that it names, else the newest resumable
// run of its batch, else a new one. Another generator may have registered a run for the batch and
// not yet, or never, written its manifest: that run is created.
func chooseRun(c start, k knownRuns) (choice, error) {
	found, err := findRun(c, k)
	if err != nil {
		return choice{}, err
	}
	if !sameOrigin(k.storedOrigin, c.options.Origin) {
		return choice{}, invalid(contract.Problem{
			Field: "base_url", Value: quote([]byte(c.options.Origin)),
			Reason:  fmt.Sprintf("the store holds records of %.100q", k.storedOrigin),
			Allowed: "the same site, or another data_dir (or NATS server) and another output",
		})
	}
	if !k.active[found.RunID] && len(k.active) >= maxActiveRuns {
		return choice{}, invalid(contract.Problem{
			Field: "runs under way", Value: strconv.Itoa(len(k.active)), Reason: "no further run may wait for the site",
			Allowed: strconv.Itoa(maxActiveRuns) + "; retry the start when one of them has ended",
		})
	}
	if found.RunID != "" {
		return choice{manifest: found}, nil
	}
	created := choice{create: true}
	switch registered := k.registered; {
	case c.batch.RunID != "":
		created.manifest.RunID = c.batch.RunID
	case registered.manifest.RunID != "" && registered.resumable():
		created.manifest.RunID = registered.manifest.RunID
	default:
		created.manifest.RunID, created.register = newRunID(c), true
	}
	return created, nil
}

// findRun returns the existing run that a start continues; its id is empty if there is none.
func findRun(c start, k knownRuns) (found contract.Manifest, err error) {
	identity := c.batch.Identity(c.options.Site)
	if run := c.batch.RunID; run != "" {
		switch m := k.named.value; {
		case k.named.missing():
			return found, nil
		case k.named.unreadable():
			return found, invalid(conflict("run_id", run, k.named.err.Error(), "a new id"))
		case m.Batch != identity || !sameOrigin(m.Origin, c.options.Origin):
			numbers := fmt.Sprintf("%s-%s, %d to %d", m.Prefix, m.Year, m.Range.Start, m.Range.End)
			return found, invalid(conflict("run_id", run, "it is a run of another batch ("+numbers+")",
				"a new id, or the same batch"))
		}
		return k.named.value, nil
	}
	for _, run := range k.sameBatch {
		if m := run.manifest; m.Batch == identity && sameOrigin(m.Origin, c.options.Origin) && run.resumable() &&
			!m.CreatedAt.Before(found.CreatedAt) {
			found = m
		}
	}
	return found, nil
}

// roundAction is what a start does with its run.
type roundAction int

const (
	// beginRound begins the next round of the run.
	beginRound roundAction = iota
	// joinRound leaves a running run alone: its round is also that of this start.
	joinRound
	// leaveEnded leaves a run alone that has ended for good.
	leaveEnded
)

// decideRound returns what a start does with the run of a manifest, which has this state and halt.
func decideRound(
	c start, m contract.Manifest, state stored[contract.State], halt stored[contract.Halt],
) (roundAction, error) {
	stop := halt.value
	if halt.err == nil && stop.Command >= c.sequence && !c.at.After(stop.CommandAt) {
		return 0, invalid(conflict("run_id", m.RunID,
			fmt.Sprintf("command %d, sent after this start, has stopped it", stop.Command), "a new start"))
	}
	switch {
	case state.missing():
		return beginRound, nil
	case state.unreadable():
		return 0, invalid(conflict("run_id", m.RunID, state.err.Error(),
			"a new id, or the same once nats kv del runs "+m.RunID.StateKey()+" has removed it"))
	case state.value.Status != contract.Running && state.value.Resumable():
		return beginRound, nil
	}
	if err := checkSameSettings(m, c.batch); err != nil {
		return 0, err
	}
	if state.value.Status != contract.Running {
		return leaveEnded, nil
	}
	// The site or a safe stop would halt the run again. An operator's stop would not: the start would
	// join a run that ends in a moment, while its sender expects a running one.
	if halt.unreadable() || halt.err == nil && (stop.Status == contract.Stopped || stop.Status == "") {
		return 0, invalid(conflict("run_id", m.RunID, "it is being stopped",
			"the same start after the finished event of the run"))
	}
	return joinRound, nil
}

// checkSameSettings rejects a batch that names a running or ended run but has different settings.
// Without the error, the sender would assume that its settings apply. A start without a run id just
// joins the run.
func checkSameSettings(m contract.Manifest, b contract.Batch) error {
	if b.RunID == "" {
		return nil
	}
	running := b
	running.RunSettings = m.RunSettings
	var problems []contract.Problem
	for _, f := range contract.BatchFields() {
		if has, given := f.Value(running), f.Value(b); has != given {
			problems = append(problems, conflict(f.Name, given,
				fmt.Sprintf("run %s has %v", m.RunID, has), fmt.Sprintf("%v, or a new run_id", has)))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return invalid(problems...)
}

// newManifest returns the manifest of a new run. collected holds what is collected of its series
// and year.
func (c start) newManifest(run contract.RunID, collected *runs.Outcomes) contract.Manifest {
	return c.withSettings(contract.Manifest{
		Version: contract.MessageVersion, RunID: run, Prefix: c.batch.Prefix, Year: c.batch.Year,
		Range: c.batch.MaxRange(), IDs: c.batch.IDs, Batch: c.batch.Identity(c.options.Site), Site: c.options.Site,
		Origin:       c.options.Origin,
		RecheckAbove: recheckAbove(collected), RecheckBefore: c.recheckBefore(), CreatedAt: c.at.UTC(),
	}, contract.State{})
}

// withSettings returns the manifest of a run with the settings of the start that begins its next
// round. Those that identify the batch are equal. state is how its last round ended.
func (c start) withSettings(m contract.Manifest, state contract.State) contract.Manifest {
	m.RunSettings, m.Config, m.Program, m.Command = c.batch.RunSettings, c.options.Config, c.options.Program, nil
	if json.Valid(c.body) {
		m.Command = c.command()
	}
	if m.Searching() { // once the bound is known, the jobs that depend on these fields must not change
		m.RecheckBefore = c.recheckBefore()
		if state.SearchUnfinished && state.Report != nil {
			m.ProbeSpent = state.Report.ProbesUsed
		}
	}
	return m
}

// command returns the body without the ids, which the manifest has in a shorter form.
func (c start) command() json.RawMessage {
	if c.batch.IDs.IsZero() {
		return c.body
	}
	values, _, _ := objectMembers(c.body) // ReadStart has read it
	delete(values, contract.FieldIDs)
	body, _ := json.Marshal(values) // cannot fail: they are JSON
	return body
}

func (c start) recheckBefore() time.Time { return c.at.UTC().Add(-c.options.BoundMaxAge) }

// decideKnown returns nil if the run of a command exists. Otherwise the command waits, with
// errStartPending, or is rejected. A run with an unreadable manifest can still be stopped.
func decideKnown(run contract.RunID, manifest stored[contract.Manifest], startsPending bool) error {
	switch {
	case !manifest.missing():
		return nil
	case startsPending:
		return errStartPending
	default:
		return invalid(contract.Problem{Field: "run_id", Value: quote([]byte(run)),
			Reason: "there is no such run", Allowed: "the id of a run"})
	}
}

// errStartPending reports a command about a run that an earlier start may create.
var errStartPending = errors.New("an earlier start may create the run")

// decideSteer returns nil if a command may change the control of a run with this state and halt. A
// run that ends can be resumed: if it waits for a canary, it does not end while it is paused.
func decideSteer(command string, run contract.RunID, state stored[contract.State], halt stored[contract.Halt]) error {
	reason := ""
	switch {
	case state.missing(), state.unreadable():
		reason = "it is not running"
	case state.value.Status != contract.Running:
		reason = "it is not running: " + string(state.value.Status)
	case !halt.missing() && command != "resume":
		reason = "it is being ended: " + sanitize.Line(halt.value.Reason)
	default:
		return nil
	}
	return invalid(conflict("run_id", run, reason, "a running run; the same batch.start runs this one again"))
}

// controlCommand is a command on the control of a run: pause, resume, tune, or one of startRound and
// joinRunning. config are the settings of the run.
type controlCommand struct {
	name     string
	tuning   contract.Tuning
	sequence uint64
	at       time.Time
	config   map[string]any
}

// apply returns the control after the command, and whether that is another one. A start ends a pause;
// the start of a round also ends what was tuned, because it brings its own settings.
func (c controlCommand) apply(control contract.Control) (contract.Control, bool, error) {
	if control.Command >= c.sequence && !c.at.After(control.CommandAt) {
		return control, false, nil // a later command was carried out first
	}
	before := control
	switch c.name {
	case "pause":
		if !control.Paused {
			control.Paused, control.Reason, control.At = true, "paused by batch.pause", c.at.UTC()
		}
	case "tune":
		control.Tuning = control.Tuning.With(c.tuning)
		if err := c.checkDelays(control.Tuning); err != nil {
			return control, false, err
		}
	default:
		control.Paused, control.Reason, control.At = false, "", time.Time{}
		if c.name == startRound {
			control.Tuning = contract.Tuning{}
		}
	}
	if control.Paused == before.Paused && control.Tuning == before.Tuning && c.name != "tune" {
		return before, false, nil
	}
	command, _, _ := strings.Cut(c.name, " ")
	control = control.Changed(contract.ControlChange{At: c.at.UTC(), Command: command,
		Settings: c.tuning.Settings(config.FormatDuration)})
	control.Command, control.CommandAt = c.sequence, c.at.UTC()
	return control, true, nil
}

// The names of a start as a controlCommand: of one that begins a round, and of one that joins it.
const (
	startRound  = "start of a round"
	joinRunning = "start of a running batch"
)

// checkDelays rejects a tuning whose delay_min is above delay_max; what is not tuned is the setting
// of the run.
func (c controlCommand) checkDelays(t contract.Tuning) error {
	least, most := c.delay("delay_min", t.DelayMin), c.delay("delay_max", t.DelayMax)
	if least == nil || most == nil || *least <= *most {
		return nil
	}
	return invalid(delayProblem(config.FormatDuration(*least), *most))
}

// delay returns a delay of the run; nil if it is unknown.
func (c controlCommand) delay(key string, tuned *time.Duration) *time.Duration {
	if tuned != nil {
		return tuned
	}
	text, _ := c.config[key].(string)
	if length, err := config.ParseDuration(text); err == nil {
		return &length
	}
	return nil
}

// newRunID derives the id of a run from its batch and the command that started it, so that a
// redelivered command yields the same id and a new store does not reuse the ids of an earlier one.
func newRunID(c start) contract.RunID {
	return contract.RunID(strings.ToLower(c.batch.Prefix) + "-" + c.batch.Year + "-" +
		c.at.UTC().Format("20060102t150405z") + "-" +
		strconv.FormatUint(c.sequence, 10) + "-" + strconv.FormatInt(int64(c.at.Nanosecond()), 36))
}

// sameOrigin reports whether two origins are those of one site. An unknown origin may be any.
func sameOrigin(a, b string) bool {
	return a == "" || b == "" || site.NameOf(a) == site.NameOf(b)
}

func conflict(field string, value any, reason, allowed string) contract.Problem {
	return contract.Problem{Field: field, Value: quote(fmt.Append(nil, value)), Reason: reason, Allowed: allowed}
}
