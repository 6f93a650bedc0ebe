package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/explain"

	"github.com/spf13/cobra"
)

func (p *program) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain <case-id>",
		Short:   "Print the history of a number: every attempt, answer and decision, with times",
		Args:    caseIDArg,
		Example: "  fct-scraper explain IMM-231-25\n  fct-scraper explain IMM-231-25 --json --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings())
	cmd.Flags().Bool(jsonFlag, false, "print the history as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		id, err := contract.ParseCaseID(args[0])
		if err != nil {
			return runtime.Usagef("%w", err)
		}
		history, err := p.process(settings).Explain(cmd.Context(), id)
		if err != nil {
			return err
		}
		return p.printResult(history, historyText(history, settings.Output))
	}
	return cmd
}

// caseIDArg allows a command exactly one argument, a case id.
func caseIDArg(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("argument <case-id> is missing: allowed is <series>-<number>-<yy>, such as IMM-231-25")
	}
	_, err := contract.ParseCaseID(args[0])
	return errors.Join(err, maxArgs(1)(cmd, args))
}

// historyPrinter formats the history of a case. Any text in it may come from the site.
type historyPrinter struct {
	strings.Builder
	output string
}

// line writes one line. Strings in args are made safe for a terminal.
func (p *historyPrinter) line(format string, args ...any) {
	for i, arg := range args {
		if text, is := arg.(string); is {
			args[i] = sanitize.Line(text)
		}
	}
	fmt.Fprintf(&p.Builder, format+"\n", args...)
}

// historyText returns the history of a case as text. output is the folder that contains the files.
func historyText(history explain.History, output string) string {
	s := &historyPrinter{output: output}
	s.line("%s: %s", history.CaseID.String(), currentState(history))
	if history.Record != nil {
		s.file("  record      ", *history.Record)
	}
	if history.Failed != nil {
		s.line("  next run    requests it first: it failed in run %s, %s", string(history.Failed.RunID),
			timestamp(history.Failed.At))
	}
	if n := len(history.LeftOutBy); n > 0 {
		s.line("  left out    because it was collected, last by run %s, in all %s",
			string(history.LeftOutBy[n-1]), sanitize.Plural(n, "time"))
	}
	for _, block := range history.Blocks {
		s.line("  block       of site %s until %s, by rule %s at %s in run %s", block.Site,
			timestamp(block.Until), block.Rule, block.CaseID.String(), string(block.RunID))
	}
	for _, run := range history.Runs {
		s.run(run)
	}
	return s.String()
}

// currentState describes what is known of the number now.
func currentState(history explain.History) string {
	switch {
	case history.Collected != nil:
		c := *history.Collected
		text := fmt.Sprintf("%s, collected by run %s, requested %s", c.Outcome, c.RunID, timestamp(c.At))
		if c.Site != "" {
			text += ", site " + c.Site
		}
		if c.FiledOn != "" {
			text += ", filed on " + c.FiledOn
		}
		return text
	case !history.Asked:
		return "never requested"
	case history.Failed != nil:
		return "failed, not collected"
	case slices.ContainsFunc(history.Runs, func(run explain.RunHistory) bool { return run.Outcome == contract.NoRecord }):
		return "no-record, unconfirmed: not collected"
	default:
		return "not collected"
	}
}

// run writes the part of the history that belongs to one run.
func (p *historyPrinter) run(run explain.RunHistory) {
	numbers := fmt.Sprintf("numbers %d to %d", run.Range.Start, run.Range.End)
	if run.Listed > 0 {
		numbers = fmt.Sprintf("%d of the %s", run.Listed, numbers)
	}
	p.line("\nrun %s: site %s, %s, %s", string(run.RunID), run.Site, numbers, string(run.Status))
	if run.PlannedAt.IsZero() {
		p.line("  %-24s  planned", "some time before")
	} else {
		p.line("  %s  planned", timestamp(run.PlannedAt))
	}
	stops := run.Stops
	for i, attempt := range run.Attempts {
		for len(stops) > 0 && stops[0].At.Before(attempt.StartedAt) {
			p.stop(stops[0])
			stops = stops[1:]
		}
		p.attempt(attempt, run.MaxAttempts, i == len(run.Attempts)-1)
	}
	for _, stop := range stops {
		p.stop(stop)
	}
	if run.Outcome == "" {
		p.line("  %-24s  pending", "")
	}
}

func (p *historyPrinter) stop(stop explain.Stop) {
	p.line("  %s  run %s: %s", timestamp(stop.At), string(stop.Status), stop.Reason)
}

// attempt writes one attempt and its verdict. last reports that the ledger has no later attempt.
func (p *historyPrinter) attempt(a explain.AttemptHistory, most int, last bool) {
	p.line("  %s  attempt %d of %d%s", timestamp(a.StartedAt), a.Attempt, most, uncounted(a))
	for _, request := range a.Requests {
		p.request(request)
	}
	const deep = "    " + "%-24s  "
	if a.Verdict == "" {
		p.line(deep+"not classified yet", "")
		return
	}
	p.line("    %s  %s", timestamp(a.StartedAt.Add(seconds(a.Seconds))), decision(a.Entry))
	if a.Error != "" {
		p.line(deep+"error: %s", "", a.Error)
	}
	for _, note := range a.Notes {
		p.line(deep+"note: %s", "", note)
	}
	for _, raw := range a.RawFiles {
		p.file(fmt.Sprintf(deep+"raw answer ", ""), raw)
	}
	switch {
	case !a.RetryAt.IsZero():
		p.line(deep+"waits %.3f s by its backoff, until %s, before retry %d of %d", "", a.WaitSeconds,
			timestamp(a.RetryAt), a.Attempt, most-1)
	case a.Verdict == contract.VerdictBlocked && last:
		p.line(deep+"waits until the block of the site ends; the attempt does not count", "")
	}
}

func uncounted(a explain.AttemptHistory) string {
	if a.Counts {
		return ""
	}
	return ", repeated: it does not count"
}

// decision returns the verdict, the rule that decided it, and the resulting outcome.
func decision(e contract.Entry) string {
	text := string(e.Verdict)
	if e.Rule != "" {
		text += " by rule " + e.Rule
	}
	if e.Outcome != "" && string(e.Outcome) != string(e.Verdict) {
		text += ": " + string(e.Outcome) + ", no attempt is left"
	}
	return text
}

func (p *historyPrinter) request(x contract.Exchange) {
	came := "no answer"
	if x.Status > 0 {
		came = fmt.Sprintf("status %d, %d bytes of %s", x.Status, x.Size, cmp.Or(x.ContentType, "no type"))
	}
	p.line("    %s  %s: %s in %.3f s%s", timestamp(x.StartedAt), x.Call, came, x.Seconds, gap(x.GapSeconds))
	if x.WaitedSeconds+x.SlowedSeconds > 0 {
		p.line("    "+"%-24s  held for %.1f s before, %.1f s of it because the site was in trouble", "",
			max(x.WaitedSeconds, x.SlowedSeconds), x.SlowedSeconds)
	}
	const deep = "    " + "%-24s  "
	p.line(deep+"%s", "", x.URL)
	for _, more := range [][2]string{{"", x.Digest}, {"retry-after: ", x.RetryAfter}, {"error: ", x.Error}} {
		if more[1] != "" {
			p.line(deep+"%s%s", "", more[0], more[1])
		}
	}
}

func gap(length float64) string {
	if length == 0 {
		return ""
	}
	return fmt.Sprintf(", %.3f s after the start of the request before it", length)
}

func (p *historyPrinter) file(label string, file explain.StoredFile) {
	missing := ""
	if !file.There {
		missing = " (not there)"
	}
	p.line("%s%s%s", label, filepath.Join(p.output, filepath.FromSlash(file.Path)), missing)
}

// timestamp formats a time in UTC, to the millisecond.
func timestamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

func seconds(length float64) time.Duration { return time.Duration(length * float64(time.Second)) }
