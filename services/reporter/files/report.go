package files

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/fold"
)

// Summary is everything that a report is made of.
type Summary struct {
	Manifest contract.Manifest
	Tally    *fold.Tally
	Status   contract.Status
	Reason   string
	Finished time.Time
	// Elapsed is how long the run was worked on.
	Elapsed time.Duration
	Version string
	// Config are the effective settings; nil for those of the manifest.
	Config map[string]any
	// Skipped is used until the ledger holds the number of skipped numbers.
	Skipped int
}

// Numbers is the range of the run. The manifest of a worker that started before the bound was found
// does not have it.
func (s Summary) Numbers() contract.Range {
	if s.Manifest.Searching() && s.Tally.Planned != nil {
		return s.Tally.Planned.Range
	}
	return s.Manifest.Range
}

// Report returns the report of the run.
func (s Summary) Report() contract.Report {
	m, t := s.Manifest, s.Tally
	m.Range = s.Numbers()
	within := t.Outcomes.CountWithin(m.Range)
	total := within[contract.Success] + within[contract.NoRecord] + within[contract.Failed]
	started, seconds := m.CreatedAt.UTC(), s.Elapsed.Seconds()
	// A wall clock that was set back must not make the run end before its start, its length or its
	// last attempt.
	finished := slices.MaxFunc([]time.Time{s.Finished, started.Add(s.Elapsed), t.Last}, time.Time.Compare).UTC()
	r := contract.Report{
		RunID: m.RunID, Start: m.Range.Start, End: m.Range.End,
		StartID: m.Case(m.Range.Start).String(),
		Total:   total, Succeeded: within[contract.Success], NoRecord: within[contract.NoRecord],
		Failed:         within[contract.Failed],
		Skipped:        s.Skipped,
		Unconfirmed:    t.UnconfirmedCount(),
		Beyond:         t.Total() - total,
		TotalAttempted: t.Total(), SuccessCount: t.Succeeded, NoRecordCount: t.NoRecord, FailedCount: t.Failed,
		StartedAt: started, FinishedAt: finished, DurationSeconds: seconds, Status: s.Status, Reason: s.Reason,
		Requests: t.Requests, CanaryRequests: t.CanaryRequests, Retries: t.Retries,
		WaitedSeconds: t.Waited, SlowedSeconds: t.Slowed, MinRequestGapSeconds: t.MinGap, Errors: t.ErrorSamples(),
		Flags: t.Flags, Config: m.Config, Version: s.Version,
		Metrics: contract.Metrics{RunDurationSeconds: seconds, JobDurationSeconds: t.Durations,
			JobRetryCount: t.Retries},
	}
	if m.Range.End > 0 {
		r.EndID = m.Case(m.Range.End).String()
	}
	if m.Searching() { // every request was one of the search
		r.ProbesUsed = t.Requests - t.CanaryRequests
	}
	if m.Bound != nil {
		r.UpperBound, r.UpperBoundConfidence = m.Bound.Number, min(0.999, m.Bound.Confidence)
		r.ProbesUsed = m.Bound.Requests
		if since := m.Bound.KnownSince; !since.IsZero() {
			r.UpperBoundAgeSeconds = max(0, finished.Sub(since).Seconds())
		}
	}
	if m.Bound != nil && m.Bound.AtLimit { // the search requested nothing above it
		r.UpperBoundAtLimit, r.UpperBoundConfidence = true, 0
	}
	if t.Vanished != nil { // the no-records that the bound rests on may be void
		r.UpperBoundConfidence = 0
	}
	if t.Planned != nil {
		r.Skipped = t.Planned.Skipped
	}
	if t.Total() > 0 {
		r.Metrics.RunFailureRate = float64(t.Failed) / float64(t.Total())
	}
	if r.Flags == nil {
		r.Flags = map[string]int{}
	}
	if s.Config != nil {
		r.Config = s.Config
	}
	if r.Config == nil {
		r.Config = map[string]any{}
	}
	if !m.IDs.IsZero() {
		r.Config = maps.Clone(r.Config)
		r.Config[contract.FieldIDs] = m.IDs
	}
	return r
}

func auditOf(r contract.Report, failed []contract.CrawlResult) contract.Audit {
	return contract.Audit{
		Failed:  append([]contract.CrawlResult{}, failed...),
		StartID: r.StartID, EndID: r.EndID, TotalAttempted: r.TotalAttempted, SuccessCount: r.SuccessCount,
		NoRecordCount: r.NoRecordCount, FailedCount: r.FailedCount, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		RunID: r.RunID,
	}
}

func checkpointOf(r contract.Report, numbers contract.Range, next int) contract.Checkpoint {
	return contract.Checkpoint{
		RunID: r.RunID, Range: numbers, NextNumber: next, Total: r.Total, Succeeded: r.Succeeded, NoRecord: r.NoRecord,
		Failed: r.Failed, Status: r.Status, Reason: r.Reason, WrittenAt: r.FinishedAt,
	}
}

//go:embed report.html
var reportTemplate string

// render returns the report as one self-contained page. Everything in it is escaped, including
// characters that change the text direction.
func render(r contract.Report) ([]byte, error) {
	config, err := json.MarshalIndent(r.Config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the report page: %w", err)
	}
	parsed, err := template.New("report").Funcs(template.FuncMap{"plain": sanitize.Line}).Parse(reportTemplate)
	if err != nil {
		return nil, fmt.Errorf("writing the report page: %w", err)
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, struct {
		contract.Report
		Settings, Policy string
		Took             time.Duration
	}{r, string(sanitize.JSON(config)), contentSecurityPolicy(),
		time.Duration(r.DurationSeconds * float64(time.Second)).Round(time.Second)})
	if err != nil {
		return nil, fmt.Errorf("writing the report page: %w", err)
	}
	return out.Bytes(), nil
}

// contentSecurityPolicy permits the page nothing but its own style, identified by its hash.
func contentSecurityPolicy() string {
	_, style, _ := strings.Cut(reportTemplate, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	hash := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'"
}

func indentedJSON(name string, value any) (store.File, error) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return store.File{}, fmt.Errorf("writing %s: %w", name, err)
	}
	return store.File{Name: name, Data: append(sanitize.JSON(data), '\n')}, nil
}

// WriteSummary writes the files that summarize a run, removes the checkpoint of a completed run,
// and returns the report's name. previous is the state that the run ended with before, when its
// files are rewritten; else nil. The files exist when it returns without an error.
func WriteSummary(
	output *store.Store, r contract.Report, failed []contract.CrawlResult, numbers contract.Range, next int,
	previous *contract.State,
) (string, error) {
	audit, err := indentedJSON(auditName(r.RunID), auditOf(r, failed))
	if err != nil {
		return "", err
	}
	files := []store.File{audit}
	if r.Status == contract.Completed {
		err = output.Remove(checkpointName(r.RunID))
	} else {
		var checkpoint store.File
		checkpoint, err = indentedJSON(checkpointName(r.RunID), checkpointOf(r, numbers, next))
		files = append(files, checkpoint)
	}
	if err != nil {
		return "", err
	}
	if err := output.WriteAll(files); err != nil {
		return "", err
	}
	report, err := writeReport(output, r, previous)
	if err != nil {
		return "", err
	}
	sizes, err := output.Sizes(".")
	if err != nil {
		return "", err
	}
	for _, file := range append(files, report...) {
		if size, found := sizes[file.Name]; !found || size != int64(len(file.Data)) {
			return "", output.ChangedError(file.Name)
		}
	}
	return report[0].Name, output.Check()
}

// writeReport writes the report under the time of the run's end. If other reports have that name it
// appends a counter from 2 on: a report never replaces that of another run. It returns the files,
// the JSON report first. With previous, the state that the run ended with, it may replace the
// report of that run.
func writeReport(output *store.Store, r contract.Report, previous *contract.State) ([]store.File, error) {
	html, err := render(r)
	if err != nil {
		return nil, err
	}
	at := "report-" + r.FinishedAt.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		name := at
		if n > 1 {
			name = fmt.Sprintf("%s-%d", at, n)
		}
		file, err := indentedJSON(name+".json", r)
		if err != nil {
			return nil, err
		}
		if previous != nil && replaceable(output, file.Name, r.RunID, previous.File) {
			err = output.Write(file.Name, file.Data)
		} else {
			err = output.Create(file.Name, file.Data)
		}
		if errors.Is(err, fs.ErrExist) && !errors.Is(err, store.ErrNotWritable) {
			continue
		}
		if err != nil {
			return nil, err
		}
		page := store.File{Name: name + ".html", Data: html}
		return []store.File{file, page}, output.Write(page.Name, page.Data)
	}
}

// replaceable reports whether a file is a report of the run, or the damaged report that the run
// ended with.
func replaceable(output *store.Store, name string, run contract.RunID, previous string) bool {
	var there contract.Report
	data, err := output.Read(name)
	if err == nil {
		err = json.Unmarshal(data, &there)
	}
	if err != nil {
		return name == previous && !errors.Is(err, fs.ErrNotExist)
	}
	return there.RunID == run
}
