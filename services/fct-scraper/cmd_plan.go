package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

// planDocument is the JSON result of the command plan.
type planDocument struct {
	Batches []runtime.BatchPlan `json:"batches"`
	// The sums of the batches, which run one after the other.
	ToRequest int       `json:"to_request"`
	Requests  int       `json:"requests"`
	StartsAt  time.Time `json:"starts_at"`
	// EndsAt is left out if TimeUnknown, the reason, is not empty.
	EndsAt      time.Time `json:"ends_at,omitzero"`
	TimeUnknown string    `json:"time_unknown"`
	Seconds     float64   `json:"seconds"`
	// RangeUnknown is why there may be more numbers than are counted; empty if there are not.
	RangeUnknown string `json:"range_unknown"`
	DataBytes    int64  `json:"data_bytes"`
	OutputBytes  int64  `json:"output_bytes"`
	// Command runs the batches.
	Command string `json:"command"`
	Note    string `json:"note"`
}

// planNote says what a plan is.
const planNote = "requests, times and bytes are estimates, without retries and without slowdowns of the site"

func (p *program) planCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use:   "plan [<year>]",
		Short: "Estimate what a batch would request, how long it takes and how much disk it needs; sends no request",
		Args:  maxArgs(1),
		Long: "plan takes the flags and settings of batch and sends no request. It prints which batches the same command line of\n" +
			"batch would run: how many numbers are collected, skipped and to request, how many requests and how much time that\n" +
			"takes at this pace from now on, with rests and quiet hours, how much data_dir and output grow, and the command.\n" +
			"Requests, times and bytes are estimates, without retries and without slowdowns of the site. It also works while\n" +
			"a batch runs on the same data_dir.\n\n" +
			"While a search must find the highest number, the end of the range is unknown: the estimate is for the range given,\n" +
			"or else for the search and the numbers up to the highest record known.",
		Example: "  fct-scraper plan 2025 --max-cases 50\n  fct-scraper plan --list ids.csv --json\n" +
			"  fct-scraper plan 2025 --end 25000 --quiet-hours 08:00-18:00",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.runPlan(cmd, flags, args) },
	}
	addSettings(cmd.Flags(), allSettings)
	flags.add(cmd.Flags())
	flags.addBatchFlags(cmd.Flags())
	cmd.Flags().Bool("open", false, "as for batch: a part of the command that is printed")
	cmd.Flags().BoolVar(&p.quiet, "quiet", false,
		"as for batch: a part of the command that is printed, and no log lines but errors")
	return cmd
}

func (p *program) runPlan(cmd *cobra.Command, flags *batchFlags, args []string) error {
	batches, err := p.batches(cmd, flags, args)
	if err != nil {
		return err
	}
	plan := planDocument{StartsAt: p.now, Note: planNote, Command: planCommandLine(cmd, args, batches)}
	at := p.now
	var text strings.Builder
	for _, settings := range batches {
		batch, err := p.process(settings).Plan(cmd.Context(), flags.BatchOptions, at)
		if err != nil {
			return err
		}
		plan.Batches = append(plan.Batches, batch)
		plan.ToRequest, plan.Requests = plan.ToRequest+batch.ToRequest, plan.Requests+batch.Requests
		plan.DataBytes, plan.OutputBytes = plan.DataBytes+batch.DataBytes, plan.OutputBytes+batch.OutputBytes
		plan.TimeUnknown = cmp.Or(plan.TimeUnknown, batch.TimeUnknown)
		plan.RangeUnknown = cmp.Or(plan.RangeUnknown, batch.RangeUnknown)
		if batch.TimeUnknown == "" {
			at = batch.EndsAt
		}
		text.WriteString(planText(batch, settings))
	}
	if plan.TimeUnknown == "" {
		plan.EndsAt, plan.Seconds = at, at.Sub(p.now).Seconds()
	}
	if len(batches) > 1 {
		fmt.Fprintf(&text, "all: about %s, %s\n", sanitize.Plural(plan.Requests, "request"), planTime(plan))
	}
	fmt.Fprintf(&text, "%s\n  %-10s %s\n", planNote, "run it", sanitize.Line(plan.Command))
	return p.printResult(plan, text.String())
}

// planCommandLine returns the command line that runs the batches of a plan.
func planCommandLine(cmd *cobra.Command, args []string, batches []*config.Settings) string {
	words := append([]string{cmd.Root().Name(), "batch"}, args...)
	words = append(words, givenFlags(cmd, jsonFlag)...)
	if len(args) == 0 && len(batches) == 1 && batches[0].IDs.IsZero() && !yearIsSet(batches[0]) {
		words = append(words, "--year", batches[0].Year)
	}
	return quoteWords(words)
}

func planTime(plan planDocument) string {
	if plan.TimeUnknown != "" {
		return "time " + plan.TimeUnknown
	}
	return fmt.Sprintf("about %s, until about %s", roughly(plan.Seconds), plan.EndsAt.Format(planTimeFormat))
}

const planTimeFormat = "2006-01-02 15:04 MST"

// planText formats the plan of one batch for people.
func planText(b runtime.BatchPlan, settings *config.Settings) string {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	id := func(number int) string {
		return contract.CaseID{Series: b.Series, Year: b.Year, Number: number}.String()
	}
	switch {
	case b.End == 0:
		fmt.Fprintf(&text, "%s-%s from %s on\n", b.Series, b.Year, id(b.Start))
	case b.Listed > 0:
		fmt.Fprintf(&text, "%s to %s: %s\n", id(b.Start), id(b.End), sanitize.Plural(b.Listed, "listed case id"))
	default:
		fmt.Fprintf(&text, "%s to %s: %s\n", id(b.Start), id(b.End), sanitize.Plural(b.Selected, "number"))
	}
	if b.RunID != "" {
		does := "resumes"
		if b.Status == contract.Running {
			does = "joins or resumes"
		}
		line("run", "%s %s (%s)", does, b.RunID, b.Status)
	}
	if b.RangeUnknown != "" {
		counted := "the range given is counted"
		switch {
		case b.UpperBound == 0 && b.End == 0:
			counted = "no record is known"
		case b.End == b.UpperBound:
			counted = "counted up to the highest record known, " + id(b.UpperBound)
		}
		line("end", "%s; %s", b.RangeUnknown, counted)
	}
	if b.Search != nil {
		line("search", "about %s, at most %d", sanitize.Plural(b.Search.ExpectedRequests, "request"), b.Search.MostRequests)
	}
	if b.CollectedSuccess+b.CollectedNoRecord == 0 {
		line("collected", "nothing")
	} else {
		line("collected", "%d success + %d confirmed no-record", b.CollectedSuccess, b.CollectedNoRecord)
	}
	line("skipped", "%d", b.Skipped)
	before := ""
	if b.FailedBefore > 0 {
		before = fmt.Sprintf(", %d of them failed before", b.FailedBefore)
	}
	line("to request", "%s%s", sanitize.Plural(b.ToRequest, "number"), before)
	line("requests", "about %d, %.2f a number", b.Requests, b.RequestsPerNumber)
	if b.RequestsPerHour > 0 {
		line("pace", "about %.0f requests an hour", b.RequestsPerHour)
	}
	if !b.BlockedUntil.IsZero() {
		line("blocked", "until %s; a batch before then ends with exit code 5", b.BlockedUntil.Local().Format(planTimeFormat))
	}
	if b.TimeUnknown != "" {
		line("time", "%s", b.TimeUnknown)
	} else {
		counted := ""
		if b.RangeUnknown != "" {
			counted = ", for what is counted here"
		}
		line("time", "about %s, from %s to about %s%s", roughly(b.Seconds), b.StartsAt.Format(planTimeFormat),
			b.EndsAt.Format(planTimeFormat), counted)
	}
	if b.Rests > 0 {
		line("rests", "%d of about %s, %s in all", b.Rests, roughly(b.RestSeconds/float64(b.Rests)), roughly(b.RestSeconds))
	}
	if waits := len(b.QuietWaits); waits > 0 {
		line("quiet", "%s in all, %s: %s", roughly(b.QuietSeconds), sanitize.Plural(waits, "wait"), settings.QuietHours)
		for _, wait := range b.QuietWaits[:min(waits, maxShownWaits)] {
			line("", "about %s to %s", wait.From.Format(planTimeFormat), wait.Until.Format(planTimeFormat))
		}
		if more := waits - maxShownWaits; more > 0 {
			line("", "and %d more", more)
		}
	}
	line("disk", "about %s in data_dir and %s in output", megabytes(b.DataBytes), megabytes(b.OutputBytes))
	return text.String()
}

// maxShownWaits is how many waits a plan shows people.
const maxShownWaits = 10

// roughly formats a duration for people, in whole seconds.
func roughly(seconds float64) string {
	return config.FormatDuration(time.Duration(seconds * float64(time.Second)).Round(time.Second))
}

func megabytes(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
