package main

import (
	"errors"
	"fmt"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/reporter"
)

// trouble is what is known of a batch that trouble of the store, the ledger or the output ended without a report.
type trouble struct {
	code     int
	err      error
	settings *config.Settings
	run      contract.RunID
	// last is the newest progress of the run; of no run when there was none.
	last contract.Event
}

// say prints a summary of trouble after which there is no report; of other errors, and in JSON, the error alone is told.
func (p *program) say(t trouble, asJSON bool) error {
	if t.err == nil || asJSON || t.code != codeBroker && t.code != codeOutput {
		return t.err
	}
	return errors.Join(t.err, p.print(t.text()))
}

func (t trouble) text() string {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	first, end := t.settings.Start, "its end"
	if t.last.Range.End > 0 {
		first, end = t.last.Range.Start, t.id(t.last.Range.End)
	}
	fmt.Fprintf(&text, "%s to %s: %s (exit code %d)\n", t.id(first), end, contract.Errored, t.code)
	if t.run == "" {
		line("total", "not known: no run was started")
	} else {
		done := t.last.Succeeded + t.last.NoRecord + t.last.Failed
		line("total", "at least %d = %d success + %d no-record + %d failed", done, t.last.Succeeded, t.last.NoRecord, t.last.Failed)
		line("run", "%s", t.run)
	}
	line("store", "%s", sanitize.Line(t.store()))
	line("next", "%s", t.next())
	return text.String()
}

func (t trouble) id(number int) string {
	return contract.CaseID{Series: t.settings.Prefix, Year: t.settings.Year, Number: number}.String()
}

// store is where the run is kept.
func (t trouble) store() string {
	if t.settings.NATSURL != "" {
		return "the server of nats_url"
	}
	return t.settings.DataDir
}

// next is what an operator does now.
func (t trouble) next() string {
	switch {
	case errors.Is(t.err, reporter.ErrLedger):
		return "the store and what was told of it disagree: keep both, and see `fct-scraper status` and `fct-scraper report --run <id>`"
	case t.code == codeOutput:
		return fmt.Sprintf("make %s writable and give the same command again: it goes on where it stands", sanitize.Line(t.settings.Output))
	default:
		return "mend what the error names and give the same command again: it goes on where it stands"
	}
}
