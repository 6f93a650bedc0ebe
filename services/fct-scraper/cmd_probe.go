package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"

	"github.com/spf13/cobra"
)

// probeResult is the JSON result of the command probe.
type probeResult struct {
	Prefix string `json:"prefix"`
	Year   string `json:"year"`
	// UpperBound is the highest number confirmed to exist; 0 if none exists.
	UpperBound int `json:"upper_bound"`
	ProbesUsed int `json:"probes_used"`
	// Confidence is the probability that no number more than 200 above the bound exists, given
	// Condition.
	Confidence float64 `json:"confidence"`
	Condition  string  `json:"condition"`
	// AtLimit reports that the searched range ends at or below the bound: higher numbers may exist,
	// whatever Confidence is.
	AtLimit bool `json:"at_limit,omitempty"`
	// Ending is why the search ended: done, budget, waste or unreachable.
	Ending   string     `json:"ending"`
	FiledOn  string     `json:"filed_on"`
	Evidence []evidence `json:"evidence"`
	// KnownSince is the time of the oldest earlier answer that the bound depends on. It is left out
	// if the search requested all of them itself.
	KnownSince time.Time `json:"known_since,omitzero"`
	// Reason explains why the searched range has no number; left out if it has some.
	Reason string `json:"reason,omitempty"`
}

// evidence is one outcome that supports the bound without a model.
type evidence struct {
	CaseID  string           `json:"case_id"`
	Outcome contract.Outcome `json:"outcome"`
}

// confidenceCondition is the assumption behind Confidence.
const confidenceCondition = "no gap of 200 or more numbers lies close under the highest one"

func (p *program) probeCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use:   "probe [<year>]",
		Short: "Find the highest existing number and collect the cases requested on the way",
		Args:  maxArgs(1),
		Long: "probe finds the highest existing number of a series and year with at most probe_budget requests, and prints how\n" +
			"certain it is. It keeps what it collects on the way. The exit code is 4 if the search could not finish.",
		Example: "  fct-scraper probe 2025 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.runProbe(cmd, flags, args)
		},
	}
	addSettings(cmd.Flags(), allSettingsExcept("probe"))
	flags.add(cmd.Flags())
	return cmd
}

func (p *program) runProbe(cmd *cobra.Command, flags *batchFlags, args []string) error {
	settings, err := config.Load(p.batchSources(cmd, args))
	if err != nil {
		return err
	}
	flags.ProbeOnly, settings.Probe = true, true
	flags.ResumeCommand = resumeCommand(cmd, args, settings)
	signals := p.listenSignals(settings)
	defer signals.close()
	run, err := p.runBatch(cmd.Context(), settings, flags.BatchOptions, signals)
	if err != nil {
		if flags.json && run.Report != nil {
			return errors.Join(err, p.printJSON(run.Report))
		}
		return p.printErrorSummary(errorSummary{errorExitCode(err), err, settings, run.ID, run.lastEvent}, flags.json)
	}
	// The run was stopped or blocked before the search ended, or its no-records were withdrawn. The
	// report has the reason.
	if run.Manifest.Bound == nil || run.Superseded {
		return p.printResult(run.Report, summary(*run.Report, settings.Output, run.File))
	}
	found := probeResultOf(run.Manifest)
	found.Reason = run.Report.Reason
	return p.printResult(found, found.text(time.Now()))
}

func probeResultOf(m contract.Manifest) probeResult {
	found := probeResult{
		Prefix:     m.Prefix,
		Year:       m.Year,
		UpperBound: m.Bound.Number,
		ProbesUsed: m.Bound.Requests,
		Confidence: m.Bound.Confidence,
		Condition:  confidenceCondition,
		Ending:     m.Bound.Ending,
		FiledOn:    m.Bound.FiledOn,
		Evidence:   []evidence{},
		KnownSince: m.Bound.KnownSince,
		AtLimit:    m.Bound.AtLimit,
	}
	if m.Bound.Number > 0 {
		found.Evidence = append(found.Evidence, evidence{m.Case(m.Bound.Number).String(), contract.Success})
	}
	for _, number := range m.Bound.Absences {
		found.Evidence = append(found.Evidence, evidence{m.Case(number).String(), contract.NoRecord})
	}
	return found
}

// text formats the result: the bound, its confidence, and the observed no-records. now is needed
// for the age of earlier answers.
func (r probeResult) text(now time.Time) string {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	switch {
	case r.Reason != "":
		fmt.Fprintf(&text, "%s-%s: %s\n", r.Prefix, r.Year, sanitize.Line(r.Reason))
	case r.AtLimit:
		fmt.Fprintf(&text, "%s-%s: highest number %d or more\n", r.Prefix, r.Year, r.UpperBound)
		line("limit", "the searched range ends there or below: "+
			"leave out end and max_cases to find the highest")
	default:
		fmt.Fprintf(&text, "%s-%s: highest number %d\n", r.Prefix, r.Year, r.UpperBound)
		line("confidence", "%s that none is more than 200 higher, if %s", percent(r.Confidence), r.Condition)
	}
	age := ""
	if !r.KnownSince.IsZero() {
		age = ageText(now.Sub(r.KnownSince).Seconds())
	}
	line("search", "%s after %s%s", sanitize.Line(r.Ending), sanitize.Plural(r.ProbesUsed, "request"), age)
	if r.FiledOn != "" {
		line("filed on", "%s", sanitize.Line(r.FiledOn))
	}
	var absent []string
	for _, e := range r.Evidence {
		if e.Outcome == contract.NoRecord {
			absent = append(absent, e.CaseID)
		}
	}
	if len(absent) > 0 {
		line("no record", "%s", strings.Join(absent, " "))
	}
	return text.String()
}
