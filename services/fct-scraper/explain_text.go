package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/reporter"
)

// story writes a life as people read it. Every text in it may be somebody else's.
type story struct {
	strings.Builder
	output string
}

// line writes one line; texts among args are made plain.
func (s *story) line(format string, args ...any) {
	for i, arg := range args {
		if text, is := arg.(string); is {
			args[i] = sanitize.Line(text)
		}
	}
	fmt.Fprintf(&s.Builder, format+"\n", args...)
}

// lifeText is a life as people read it; output is the folder that the files lie in.
func lifeText(life reporter.History, output string) string {
	s := &story{output: output}
	s.line("%s: %s", life.CaseID.String(), whereItStands(life))
	if life.Record != nil {
		s.file("  record      ", *life.Record)
	}
	if life.Failed != nil {
		s.line("  next run    asks for it first: it failed in run %s, %s", string(life.Failed.RunID), moment(life.Failed.At))
	}
	if n := len(life.LeftOutBy); n > 0 {
		s.line("  left out    because it was collected, last by run %s, in all %s", string(life.LeftOutBy[n-1]), sanitize.Plural(n, "time"))
	}
	for _, block := range life.Blocks {
		s.line("  block       of site %s until %s, by rule %s at %s in run %s", block.Site, moment(block.Until), block.Rule,
			block.CaseID.String(), string(block.RunID))
	}
	for _, run := range life.Runs {
		s.run(run)
	}
	return s.String()
}

// whereItStands is what there is of the number now.
func whereItStands(life reporter.History) string {
	switch {
	case life.Collected != nil:
		c := *life.Collected
		text := fmt.Sprintf("%s, collected by run %s, asked %s", c.Outcome, c.RunID, moment(c.At))
		if c.Site != "" {
			text += ", site " + c.Site
		}
		if c.FiledOn != "" {
			text += ", filed on " + c.FiledOn
		}
		return text
	case !life.Asked:
		return "nobody ever asked for it"
	case life.Failed != nil:
		return "failed, not collected"
	case slices.ContainsFunc(life.Runs, func(run reporter.RunHistory) bool { return run.Outcome == contract.NoRecord }):
		return "no-record, unconfirmed: not collected"
	default:
		return "not collected"
	}
}

// run writes what one run did.
func (s *story) run(run reporter.RunHistory) {
	s.line("\nrun %s: site %s, numbers %d to %d, %s", string(run.RunID), run.Site, run.Range.Start, run.Range.End, string(run.Status))
	if run.PlannedAt.IsZero() {
		s.line("  %-24s  planned", "some time before")
	} else {
		s.line("  %s  planned", moment(run.PlannedAt))
	}
	stops := run.Stops
	for i, attempt := range run.Attempts {
		for len(stops) > 0 && stops[0].At.Before(attempt.StartedAt) {
			s.stop(stops[0])
			stops = stops[1:]
		}
		s.attempt(attempt, run.MaxAttempts, i == len(run.Attempts)-1)
	}
	for _, stop := range stops {
		s.stop(stop)
	}
	if run.Outcome == "" {
		s.line("  %-24s  pending", "")
	}
}

func (s *story) stop(stop reporter.Stop) {
	s.line("  %s  run %s: %s", moment(stop.At), string(stop.Status), stop.Reason)
}

// attempt writes one attempt and what was decided. last says that the ledger holds none after it.
func (s *story) attempt(a reporter.AttemptHistory, most int, last bool) {
	s.line("  %s  attempt %d of %d%s", moment(a.StartedAt), a.Attempt, most, uncounted(a))
	for _, request := range a.Requests {
		s.request(request)
	}
	const deep = "    " + "%-24s  "
	if a.Verdict == "" {
		s.line(deep+"not classified yet", "")
		return
	}
	s.line("    %s  %s", moment(a.StartedAt.Add(seconds(a.Seconds))), decision(a.Entry))
	if a.Error != "" {
		s.line(deep+"error: %s", "", a.Error)
	}
	for _, note := range a.Notes {
		s.line(deep+"note: %s", "", note)
	}
	for _, raw := range a.RawFiles {
		s.file(fmt.Sprintf(deep+"raw answer ", ""), raw)
	}
	switch {
	case !a.RetryAt.IsZero():
		s.line(deep+"waits %.3f s by its backoff, until %s, before retry %d of %d", "", a.WaitSeconds, moment(a.RetryAt), a.Attempt, most-1)
	case a.Verdict == contract.VerdictBlocked && last:
		s.line(deep+"waits until the site may be asked again; the attempt counts for nothing", "")
	}
}

func uncounted(a reporter.AttemptHistory) string {
	if a.Counts {
		return ""
	}
	return ", told again: it does not count"
}

// decision is the verdict, the rule that decided it, and the outcome that came of it.
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

// request writes one request and what came back.
func (s *story) request(x contract.Exchange) {
	came := "no answer"
	if x.Status > 0 {
		came = fmt.Sprintf("status %d, %d bytes of %s", x.Status, x.Size, orNone(x.ContentType))
	}
	s.line("    %s  %s: %s in %.3f s%s", moment(x.StartedAt), x.Call, came, x.Seconds, gap(x.GapSeconds))
	if x.WaitedSeconds+x.SlowedSeconds > 0 {
		s.line("    "+"%-24s  held for %.1f s before, %.1f s of it because the site was in trouble", "",
			max(x.WaitedSeconds, x.SlowedSeconds), x.SlowedSeconds)
	}
	const deep = "    " + "%-24s  "
	s.line(deep+"%s", "", x.URL)
	for _, more := range [][2]string{{"", x.Digest}, {"retry-after: ", x.RetryAfter}, {"error: ", x.Error}} {
		if more[1] != "" {
			s.line(deep+"%s%s", "", more[0], more[1])
		}
	}
}

func orNone(contentType string) string {
	if contentType == "" {
		return "no type"
	}
	return contentType
}

func gap(length float64) string {
	if length == 0 {
		return ""
	}
	return fmt.Sprintf(", %.3f s after the start of the request before it", length)
}

// file writes where a file lies.
func (s *story) file(label string, file reporter.StoredFile) {
	missing := ""
	if !file.There {
		missing = " (not there)"
	}
	s.line("%s%s%s", label, filepath.Join(s.output, filepath.FromSlash(file.Path)), missing)
}

// moment is a time as the lines of a life begin: UTC, to the millisecond.
func moment(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

func seconds(length float64) time.Duration { return time.Duration(length * float64(time.Second)) }
