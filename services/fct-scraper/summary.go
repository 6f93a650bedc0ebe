package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/sanitize"
)

// restoredText returns the summary lines about what was rebuilt in the store.
func restoredText(what []string) string {
	var text strings.Builder
	for _, line := range what {
		fmt.Fprintf(&text, "  %-10s %s\n", "store", sanitize.Line(line))
	}
	return text.String()
}

// percent formats a probability in percent. It never shows certainty.
func percent(chance float64) string { return fmt.Sprintf("%.1f %%", min(99.9, 100*chance)) }

// ageText returns how old the oldest earlier answer is that a bound depends on, or "" if there is
// none.
func ageText(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return fmt.Sprintf(", by answers up to %s old", time.Duration(seconds*float64(time.Second)).Round(time.Second))
}

// maxShownCauses is how many causes of failures a summary shows.
const maxShownCauses = 3

// summary formats a report for people. file is its name in the folder output.
func summary(r contract.Report, output, file string) string {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	if r.End < r.Start {
		fmt.Fprintf(&text, "no numbers from %s on: %s", sanitize.Line(r.StartID), sanitize.Line(string(r.Status)))
	} else {
		fmt.Fprintf(&text, "%s to %s: %s", sanitize.Line(r.StartID), sanitize.Line(r.EndID), sanitize.Line(string(r.Status)))
	}
	if r.Reason != "" {
		fmt.Fprintf(&text, " (%s)", sanitize.Line(r.Reason))
	}
	text.WriteString("\n")
	if listed := listedIDs(r); listed > 0 {
		line("listed", "%s", sanitize.Plural(listed, "case id"))
	}
	line("total", "%d = %d success + %d no-record + %d failed", r.Total, r.Succeeded, r.NoRecord, r.Failed)
	if r.Beyond > 0 {
		line("beyond", "%d more requested by the search: %d success, %d no-record, %d failed",
			r.Beyond, r.SuccessCount-r.Succeeded, r.NoRecordCount-r.NoRecord, r.FailedCount-r.Failed)
	}
	if r.Unconfirmed > 0 {
		line("no-record",
			"%d unconfirmed: the site showed no record afterwards; requested again by the next run",
			r.Unconfirmed)
	}
	line("skipped", "%d already collected", r.Skipped)
	switch {
	case r.UpperBoundAtLimit:
		line("bound", "%d or more, found with %s: the range ends there or below%s", r.UpperBound,
			sanitize.Plural(r.ProbesUsed, "request"), ageText(r.UpperBoundAgeSeconds))
	case r.ProbesUsed > 0 && r.UpperBoundConfidence == 0: // the reason has the rest
		line("bound", "not found with %s", sanitize.Plural(r.ProbesUsed, "request"))
	case r.UpperBound > 0 || r.ProbesUsed > 0:
		line("bound", "%d, found with %s (%s sure%s)", r.UpperBound, sanitize.Plural(r.ProbesUsed, "request"),
			percent(r.UpperBoundConfidence), ageText(r.UpperBoundAgeSeconds))
	}
	line("requests", "%d, %s, smallest gap %.3f s", r.Requests, sanitize.Plural(r.Retries, "retry"),
		r.MinRequestGapSeconds)
	if r.WaitedSeconds+r.SlowedSeconds > 0 {
		line("waited", "%.0f s, %.0f s of it because the site was in trouble",
			max(r.WaitedSeconds, r.SlowedSeconds), r.SlowedSeconds)
	}
	line("time", "%s", time.Duration(r.DurationSeconds*float64(time.Second)).Round(100*time.Millisecond))
	for _, change := range r.Changes {
		text := timestamp(change.At) + " " + sanitize.Line(change.Command)
		if len(change.Settings) > 0 {
			text += ": " + settingsText(change.Settings)
		}
		line("changed", "%s", text)
	}
	for _, sample := range r.Errors[:min(maxShownCauses, len(r.Errors))] {
		line("failed", "%d of %d: %s (%s, after %s)", sample.Count, r.FailedCount, sanitize.Line(sample.Error), sample.CaseID,
			sanitize.Plural(sample.Attempts, "attempt"))
	}
	if more := len(r.Errors) - maxShownCauses; more > 0 {
		line("failed", "%s more in the report", sanitize.Plural(more, "cause"))
	}
	for _, flag := range slices.Sorted(maps.Keys(r.Flags)) {
		line("flag", "%d of %s: %s", r.Flags[flag], sanitize.Plural(r.SuccessCount, "new record"), sanitize.Line(flag))
	}
	if r.TooManyHeaderOnly() {
		line("warning", "more than a tenth of the new records are header-only: the site gave no docket for them")
	}
	if r.Status != contract.Completed && r.Remaining > 0 {
		line("left", "%s", sanitize.Plural(r.Remaining, "number"))
	}
	if r.NextCommand != "" {
		line("resume", "%s", sanitize.Line(r.NextCommand))
	}
	line("run", "%s", r.RunID)
	if file != "" {
		line("report", "%s", sanitize.Line(filepath.Join(output, file)))
	}
	return text.String()
}

// listedIDs returns how many case ids the list of a run has, each counted once; 0 for a run without a list.
func listedIDs(r contract.Report) int {
	var list contract.CaseList
	data, err := json.Marshal(r.Config[contract.FieldIDs])
	if err != nil || json.Unmarshal(data, &list) != nil {
		return 0 // a range has no ids
	}
	return list.Size()
}

// errorSummary is what is known of a batch that ended without a report because of an error of the
// store, the ledger or the output.
type errorSummary struct {
	code     int
	err      error
	settings *config.Settings
	run      contract.RunID
	// lastEvent is the latest progress of the run; the zero event if there was none.
	lastEvent contract.Event
}

// printErrorSummary prints a summary for errors that leave no report, unless asJSON is set, and
// returns the error.
func (p *program) printErrorSummary(t errorSummary, asJSON bool) error {
	if t.err == nil || asJSON || t.code != codeBroker && t.code != codeOutput {
		return t.err
	}
	return errors.Join(t.err, p.print(t.text()))
}

func (s errorSummary) text() string {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	numbers, end := s.settings.MaxRange(), "its end"
	if s.lastEvent.Range.End > 0 {
		numbers = s.lastEvent.Range
	}
	if numbers.End < contract.MaxNumber {
		end = s.caseID(numbers.End)
	}
	fmt.Fprintf(&text, "%s to %s: %s (exit code %d)\n", s.caseID(numbers.Start), end, contract.Errored, s.code)
	if s.run == "" {
		line("total", "unknown: no run was started")
	} else {
		done := s.lastEvent.Succeeded + s.lastEvent.NoRecord + s.lastEvent.Failed
		line("total", "at least %d = %d success + %d no-record + %d failed", done, s.lastEvent.Succeeded,
			s.lastEvent.NoRecord, s.lastEvent.Failed)
		line("run", "%s", s.run)
	}
	line("store", "%s", sanitize.Line(s.storePlace()))
	line("next", "%s", s.nextStep())
	return text.String()
}

func (s errorSummary) caseID(number int) string {
	return contract.CaseID{Series: s.settings.Prefix, Year: s.settings.Year, Number: number}.String()
}

func (s errorSummary) storePlace() string {
	if s.settings.NATSURL != "" {
		return "the server of nats_url"
	}
	return s.settings.DataDir
}

// nextStep tells an operator what to do next.
func (s errorSummary) nextStep() string {
	repeat := "repeat the command"
	if s.run != "" {
		repeat += ": it resumes the run"
	}
	switch {
	case errors.Is(s.err, ledger.ErrMismatch):
		return "the ledger and earlier reports disagree: keep the store and the output, " +
			"and see `fct-scraper status` and `fct-scraper report --run <id>`"
	case s.code == codeOutput:
		return fmt.Sprintf("make %s a writable folder and %s", sanitize.Line(s.settings.Output), repeat)
	default:
		return "fix what the error names and " + repeat
	}
}
