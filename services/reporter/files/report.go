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
	"fct-scraper/pkg/numbermap"
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
	// Changes are the commands that changed the run while it was running.
	Changes []contract.ControlChange
	// Planned is which jobs the run has; nil while that is not known. Skipped is used as long.
	Planned *contract.Planned
	Skipped int
	// Details are what the audit and the page show beyond the counts; nil while the run is running.
	Details *Details
	// SkippedNumber reports whether the run skips a number because another run collected it. The page
	// needs it.
	SkippedNumber func(number int) bool
}

// Numbers is the range of the run. The manifest of a worker that started before the bound was found
// does not have it.
func (s Summary) Numbers() contract.Range {
	if s.Manifest.Searching() && s.Planned != nil {
		return s.Planned.Range
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
			JobRetryCount: t.Retries, Done: map[contract.Outcome]int{contract.Success: within[contract.Success],
				contract.NoRecord: within[contract.NoRecord], contract.Failed: within[contract.Failed]}},
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
	if s.Details != nil {
		r.BusiestMinuteRequests = s.Details.busiest.requests()
	}
	if s.Planned != nil {
		r.Skipped, r.Metrics.Planned = s.Planned.Skipped, s.Planned.Jobs-len(s.Planned.Beyond)
	}
	r.Metrics.Left = max(0, r.Metrics.Planned-total)
	if t.Total() > 0 {
		r.Metrics.RunFailureRate = float64(t.Failed) / float64(t.Total())
	}
	if r.Flags == nil {
		r.Flags = map[string]int{}
	}
	if r.Changes = s.Changes; r.Changes == nil {
		r.Changes = []contract.ControlChange{} // in JSON it is an array
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

// busiestMinute finds the busiest minute of a run. It takes eight bytes a request.
type busiestMinute struct {
	starts []int64 // in nanoseconds since 1970
}

func (b *busiestMinute) add(start time.Time) { b.starts = append(b.starts, start.UnixNano()) }

// requests returns the largest number of starts within 60 s, the end of the minute excluded.
func (b *busiestMinute) requests() (most int) {
	slices.Sort(b.starts)
	first := 0
	for i, start := range b.starts {
		for start-b.starts[first] >= int64(time.Minute) {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// maxBuckets bounds the buckets of a timeline.
const maxBuckets = 96

// timeline counts the requests and outcomes of a run in at most maxBuckets buckets of equal length,
// however long the run is. Its result does not depend on the order of what is added.
type timeline struct {
	// seconds is the length of a bucket; a bucket's key is its start in seconds since 1970 divided by
	// it.
	seconds     int64
	buckets     map[int64]bucketCounts
	first, last int64
}

type bucketCounts struct{ requests, succeeded, noRecord, failed int }

func (t *timeline) addRequest(start time.Time) { t.add(start, bucketCounts{requests: 1}) }

// addEntry counts the outcome of an attempt when it ended, but not before the run's creation: an
// outcome copied from another run may be older. An amendment takes a no-record back.
func (t *timeline) addEntry(entry fold.Counted, created time.Time) {
	at := entry.StartedAt.Add(time.Duration(entry.Seconds * float64(time.Second)))
	if at.Before(created) {
		at = created
	}
	switch {
	case entry.Amends():
		t.add(at, bucketCounts{noRecord: -1})
	case entry.Outcome == contract.Success:
		t.add(at, bucketCounts{succeeded: 1})
	case entry.Outcome == contract.NoRecord:
		t.add(at, bucketCounts{noRecord: 1})
	case entry.Outcome == contract.Failed:
		t.add(at, bucketCounts{failed: 1})
	}
}

func (t *timeline) add(at time.Time, counts bucketCounts) {
	if t.seconds == 0 {
		t.seconds, t.buckets = 1, map[int64]bucketCounts{}
	}
	key := floorDiv(at.Unix(), t.seconds)
	if len(t.buckets) == 0 {
		t.first, t.last = key, key
	}
	t.first, t.last = min(t.first, key), max(t.last, key)
	t.put(key, counts)
	for t.last-t.first >= maxBuckets {
		t.widen()
	}
}

func (t *timeline) put(key int64, counts bucketCounts) {
	sum := t.buckets[key]
	t.buckets[key] = bucketCounts{sum.requests + counts.requests, sum.succeeded + counts.succeeded,
		sum.noRecord + counts.noRecord, sum.failed + counts.failed}
}

// widen makes the buckets longer: up to the next round length, of which the present one is a divisor.
func (t *timeline) widen() {
	factor := int64(2)
	for _, seconds := range []int64{5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600} {
		if seconds > t.seconds {
			factor = seconds / t.seconds
			break
		}
	}
	narrow := t.buckets
	t.buckets = make(map[int64]bucketCounts, len(narrow))
	for key, counts := range narrow {
		t.put(floorDiv(key, factor), counts)
	}
	t.seconds, t.first, t.last = t.seconds*factor, floorDiv(t.first, factor), floorDiv(t.last, factor)
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}

// timelineView is what the page shows of a timeline.
type timelineView struct {
	Requests, Outcomes       template.HTML
	MaxRequests, MaxOutcomes int
	Bucket                   time.Duration
	From, To                 time.Time
	Rows                     []timelineRow
}

// timelineRow is a bucket that is not empty.
type timelineRow struct {
	From                                  time.Time
	Requests, Succeeded, NoRecord, Failed int
}

// view returns what the page shows of the timeline; nil when nothing was added. No count is below 0.
func (t *timeline) view() *timelineView {
	if len(t.buckets) == 0 {
		return nil
	}
	start := func(key int64) time.Time { return time.Unix(key*t.seconds, 0).UTC() }
	v := &timelineView{Bucket: time.Duration(t.seconds) * time.Second, From: start(t.first), To: start(t.last + 1)}
	var requests, failed, noRecord, succeeded []int // the outcomes stacked, failures at the bottom
	for key := t.first; key <= t.last; key++ {
		counts := t.buckets[key]
		counts.noRecord = max(0, counts.noRecord)
		requests = append(requests, counts.requests)
		failed = append(failed, counts.failed)
		noRecord = append(noRecord, counts.failed+counts.noRecord)
		succeeded = append(succeeded, counts.failed+counts.noRecord+counts.succeeded)
		if counts != (bucketCounts{}) {
			v.Rows = append(v.Rows, timelineRow{start(key), counts.requests, counts.succeeded, counts.noRecord,
				counts.failed})
		}
	}
	v.MaxRequests, v.MaxOutcomes = slices.Max(requests), slices.Max(succeeded)
	span := fmt.Sprintf("from %s to %s UTC, one bar for each %s", v.From.Format(time.DateTime), v.To.Format(time.DateTime),
		shortDuration(v.Bucket))
	v.Requests = bars("requests", "Requests over time", span, v.MaxRequests, series{"timeline-requests", requests})
	v.Outcomes = bars("outcomes", "Outcomes over time", span+", failed numbers at the bottom, no-records above them, "+
		"successes at the top", v.MaxOutcomes, series{"timeline-success", succeeded},
		series{"timeline-no-record", noRecord}, series{"timeline-failed", failed})
	return v
}

// shortDuration writes a whole number of seconds, such as 10s, 30m or 6h.
func shortDuration(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "m0s")
	if text != d.String() {
		text += "m"
	}
	return strings.Replace(text, "h0m", "h", 1)
}

// series is the height of each bar of one colour.
type series struct {
	class string
	bars  []int
}

// chartHeight is the height of the tallest bar; a bar is one unit wide.
const chartHeight = 100

// bars returns an SVG image of bars that stand side by side. A later series is drawn over an earlier
// one. The page stretches the image, so it has no text: the axes are text of the page.
func bars(id, title, description string, tallest int, all ...series) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="timeline" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" `+
		`aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		len(all[0].bars), chartHeight, id, id, id, title, id, description)
	for _, s := range all {
		path := fmt.Appendf(nil, "M0 %d", chartHeight)
		for _, value := range s.bars {
			height := 0.0
			if value > 0 { // a bar of one failure among thousands must be seen
				height = max(2, float64(value)/float64(tallest)*chartHeight)
			}
			path = fmt.Appendf(path, "V%.4gh1", chartHeight-height)
		}
		fmt.Fprintf(&b, `<path class="%s" d="%sV%dz"/>`, s.class, path, chartHeight)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // it has numbers and texts of this file
}

// numberMap returns the state of every number of the range.
func (s Summary) numberMap() *numbermap.Map {
	manifest := s.Manifest
	manifest.Range = s.Numbers()
	m := numbermap.New(manifest.Range)
	unconfirmed := s.Tally.UnconfirmedNumbers()
	for number := manifest.Range.Start; number <= manifest.Range.End; number++ {
		state := numbermap.OfOutcome(s.Tally.Outcomes.Get(number))
		switch {
		case state == numbermap.NoRecord && unconfirmed[number]:
			state = numbermap.Unconfirmed
		case state != numbermap.Unseen:
		case s.Tally.Blocked(number):
			state = numbermap.Blocked
		case !manifest.Selects(number) || s.SkippedNumber != nil && s.SkippedNumber(number):
			state = numbermap.Skipped
		}
		m.Set(number, state)
	}
	return m
}

// link is a relative link to a file of the output folder.
type link struct{ Path, Text string }

// The most links of each kind, so that the page of a large run stays small.
const (
	maxRecordLinks = 300
	maxCauseLinks  = 50
)

// cause is one cause of failures with the cases that failed because of it.
type cause struct {
	contract.ErrorSample
	// Cases have an empty path if there is no raw answer. More is how many are not listed.
	Cases []link
	More  int
}

// page is what the page of a report shows.
type page struct {
	contract.Report
	Settings, Policy string
	Style            template.CSS
	Took             time.Duration
	Map, Legend      template.HTML
	Columns          int // of the map
	Timeline         *timelineView
	Causes           []cause
	Files, Records   []link
	// MoreRecords is how many records of this run are not linked, RecordsFolder where they are; empty
	// if there is none.
	MoreRecords   int
	RecordsFolder string
}

// newPage returns what the page of the report in the file name shows. has reports whether a file
// exists.
func newPage(s Summary, r contract.Report, name string, has func(name string) bool) (page, error) {
	config, err := json.MarshalIndent(r.Config, "", "  ")
	if err != nil {
		return page{}, err
	}
	numbers := s.numberMap()
	p := page{
		Report: r, Settings: string(sanitize.JSON(config)), Policy: contentSecurityPolicy(),
		Style: template.CSS(pageStyle()), //nolint:gosec // it has no text from outside
		Took:  time.Duration(r.DurationSeconds * float64(time.Second)).Round(time.Second),
		Map:   numbers.SVG("map", r.StartID+" to "+r.EndID), Legend: numbers.Legend(), Columns: numbers.Columns(),
		Files: []link{{name, "report"}},
	}
	for _, file := range []link{{auditName(r.RunID), "audit"}, {AttemptsName(r.RunID), "attempts"},
		{checkpointName(r.RunID), "checkpoint"}} {
		if has(file.Path) {
			p.Files = append(p.Files, file)
		}
	}
	if s.Details != nil {
		p.Timeline = s.Details.timeline.view()
		p.Causes = causes(r.Errors, s.Details.Failed, has)
	}
	for number := range s.Tally.Outcomes.Highest() + 1 {
		if s.Tally.Outcomes.Get(number) != contract.Success {
			continue
		}
		file := CaseName(s.Manifest.Case(number))
		switch {
		case len(p.Records) == maxRecordLinks:
			p.MoreRecords++
		case has(file):
			p.Records = append(p.Records, link{file, s.Manifest.Case(number).String()})
			p.RecordsFolder = CasesFolder(s.Manifest.Prefix, s.Manifest.Year) + "/"
		}
	}
	return p, nil
}

// causes assigns the failed numbers to the causes of a report.
func causes(samples []contract.ErrorSample, failed []contract.CrawlResult, has func(name string) bool) []cause {
	all := make([]cause, len(samples))
	index, other := map[string]int{}, -1
	for i, sample := range samples {
		all[i].ErrorSample = sample
		index[fold.CauseOf(sample.Error)] = i
		if strings.HasPrefix(sample.Error, fold.OtherCauses) {
			other = i
		}
	}
	for _, result := range failed {
		i, found := index[fold.CauseOf(result.Error)]
		if !found {
			i = other
		}
		switch {
		case i < 0:
		case len(all[i].Cases) == maxCauseLinks:
			all[i].More++
		default:
			file := link{Text: result.CaseID.String()}
			if result.HTMLPath != "" && has(result.HTMLPath) {
				file.Path = result.HTMLPath
			}
			all[i].Cases = append(all[i].Cases, file)
		}
	}
	return all
}

//go:embed report.html
var reportTemplate string

//go:embed report.css
var reportStyle string

// pageStyle is the content of the page's only style element.
func pageStyle() string { return "\n" + numbermap.CSS + reportStyle }

// render returns the report as one self-contained page, which needs no script and no other file.
// Everything in it is escaped, including characters that change the text direction.
func render(p page) ([]byte, error) {
	parsed, err := template.New("report").Funcs(template.FuncMap{
		"plain": sanitize.Line, "short": shortDuration,
		"time": func(at time.Time) string { return at.UTC().Format(time.DateTime) },
	}).Parse(reportTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, p)
	return out.Bytes(), err
}

// contentSecurityPolicy permits the page nothing but its own style, identified by its hash.
func contentSecurityPolicy() string {
	hash := sha256.Sum256([]byte(pageStyle()))
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
// and returns the report's name. r is the report of s with what s does not know, next the lowest
// remaining number. previous is the state that the run ended with before, when its files are
// rewritten; else nil. The files exist when it returns without an error.
func WriteSummary(
	output *store.Store, s Summary, r contract.Report, next int, previous *contract.State,
) (string, error) {
	audit, err := indentedJSON(auditName(r.RunID), auditOf(r, s.Details.Failed))
	if err != nil {
		return "", err
	}
	files := []store.File{audit}
	if r.Status == contract.Completed {
		err = output.Remove(checkpointName(r.RunID))
	} else {
		var checkpoint store.File
		checkpoint, err = indentedJSON(checkpointName(r.RunID), checkpointOf(r, s.Manifest.Range, next))
		files = append(files, checkpoint)
	}
	if err != nil {
		return "", err
	}
	if err := output.WriteAll(files); err != nil {
		return "", err
	}
	report, err := writeReport(output, s, r, previous)
	if err != nil {
		return "", err
	}
	sizes := output.Sizes()
	defer func() { _ = sizes.Close() }()
	for _, file := range append(files, report...) {
		size, found, err := sizes.Of(file.Name)
		if err != nil {
			return "", err
		}
		if !found || size != int64(len(file.Data)) {
			return "", output.ChangedError(file.Name)
		}
	}
	return report[0].Name, output.Check()
}

// writeReport writes the report under the time of the run's end. If other reports have that name it
// appends a counter from 2 on: a report never replaces that of another run. It returns the files,
// the JSON report first. With previous, the state that the run ended with, it may replace the
// report of that run.
func writeReport(
	output *store.Store, s Summary, r contract.Report, previous *contract.State,
) ([]store.File, error) {
	has := func(name string) bool {
		file, err := output.Reader(name)
		return err == nil && file.Close() == nil
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
		content, err := newPage(s, r, file.Name, has)
		var html []byte
		if err == nil {
			html, err = render(content)
		}
		if err != nil {
			return nil, fmt.Errorf("writing the report page: %w", err)
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
