// Package files makes and inspects what a run writes into its output folder: records, raw answers,
// the attempts file, audit, checkpoint and report. All of it is derived from counted entries of the
// run's ledger.
package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/fold"
)

// AttemptsName returns the name of a run's attempts file, relative to the output folder like all
// names of this package. Case and run ids contain no separators.
func AttemptsName(run contract.RunID) string   { return "attempts_" + string(run) + ".ndjson" }
func auditName(run contract.RunID) string      { return "audit_" + string(run) + ".json" }
func checkpointName(run contract.RunID) string { return "checkpoint-" + string(run) + ".json" }

// IsOfRun reports whether a name directly in the output folder is one of those that runs use.
func IsOfRun(name string) bool {
	for _, start := range []string{"attempts_", "audit_", "checkpoint-", "report-", ".fct-"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return slices.Contains([]string{"cases", "html", "html_failed", "warc"}, name)
}

// CaseName returns the name of the file of a case's record.
func CaseName(id contract.CaseID) string {
	return CasesFolder(id.Series, id.Year) + "/" + id.String() + ".json"
}

// CasesFolder returns the folder of the records of a series and year.
func CasesFolder(series, year string) string { return "cases/" + series + "/" + year }

// CaseFile returns the record file of an entry in the version that the ledger holds; false when the
// entry is no success or has no record.
func CaseFile(entry contract.Entry) (store.File, bool) {
	if entry.Outcome != contract.Success || len(entry.Record) == 0 {
		return store.File{}, false
	}
	return store.File{Name: CaseName(entry.CaseID), Data: entry.Record}, true
}

// Current converts the records among files to the current version, in place, and returns files.
func Current(files []store.File) []store.File {
	for i := range files {
		if strings.HasPrefix(files[i].Name, "cases/") {
			files[i].Data = contract.CurrentRecord(files[i].Data)
		}
	}
	return files
}

// RawFiles returns the raw answer files of an entry. The first one is named in the attempts file:
// for a failure or a block it is the one in html_failed, else the numbered one of persist_raw_html.
func RawFiles(run contract.RunID, entry contract.Entry, persist bool) []store.File {
	if len(entry.Raw) == 0 {
		return nil
	}
	end := ".html"
	if entry.RawType == "json" {
		end = ".json"
	}
	var files []store.File
	if bad := entry.Outcome == contract.Failed || entry.Verdict == contract.VerdictBlocked; bad {
		files = append(files, store.File{Name: "html_failed/" + string(run) + "/" + entry.CaseID.String() + end,
			Data: entry.Raw})
		if !persist {
			return files
		}
	}
	name := fmt.Sprintf("html/%s/%s.%d%s", run, entry.CaseID, entry.Attempt, end)
	return append(files, store.File{Name: name, Data: entry.Raw})
}

// attemptLine returns the entry's line of the attempts file, with its newline.
func attemptLine(run contract.RunID, entry contract.Entry, at time.Time, htmlPath string) ([]byte, error) {
	line := contract.AttemptLine{
		RunID: run, CaseID: entry.CaseID, Attempt: entry.Attempt, Outcome: string(entry.Verdict),
		Timestamp: at.UTC(), DurationMS: entry.Seconds * 1000,
		Error: entry.Error, HTMLPath: htmlPath, Notes: entry.Notes,
	}
	if entry.Outcome != "" {
		line.Outcome = string(entry.Outcome)
	}
	if n := len(entry.Requests); n > 0 {
		line.StatusCode = entry.Requests[n-1].Status
	}
	if line.Notes == nil {
		line.Notes = []string{}
	}
	data, err := json.Marshal(line)
	if err != nil {
		return nil, fmt.Errorf("writing the attempt of %s: %w", entry.CaseID, err)
	}
	return append(data, '\n'), nil
}

// Derived is the file content of some counted entries.
type Derived struct {
	Files []store.File
	Lines []byte
}

// Derive returns the files and lines of counted entries. records reports whether a case's
// record may be written.
func Derive(
	manifest contract.Manifest, entries []fold.Counted, records func(contract.CaseID) bool,
) (Derived, error) {
	var d Derived
	for _, entry := range entries {
		if record, found := CaseFile(entry.Entry); found && records(entry.CaseID) {
			d.Files = append(d.Files, record)
		}
		htmlPath := ""
		raws := RawFiles(manifest.RunID, entry.Entry, manifest.PersistRawHTML)
		if len(raws) > 0 {
			htmlPath = raws[0].Name
		}
		d.Files = append(d.Files, raws...)
		if !entry.WritesLine() {
			continue
		}
		at := slices.MaxFunc([]time.Time{entry.Timestamp, entry.StartedAt, manifest.CreatedAt}, time.Time.Compare)
		line, err := attemptLine(manifest.RunID, entry.Entry, at, htmlPath)
		if err != nil {
			return Derived{}, err
		}
		d.Lines = append(d.Lines, line...)
	}
	return d, nil
}

// failures returns the results of the entries with which their numbers failed.
func failures(manifest contract.Manifest, entries []fold.Counted) (results []contract.CrawlResult) {
	for _, entry := range entries {
		if entry.Outcome != contract.Failed {
			continue
		}
		result := contract.CrawlResult{CaseID: entry.CaseID, Attempts: entry.Attempts, Error: entry.Error}
		if raws := RawFiles(manifest.RunID, entry.Entry, manifest.PersistRawHTML); len(raws) > 0 {
			result.HTMLPath = raws[0].Name
		}
		results = append(results, result)
	}
	return results
}

// Inspection compares the files of a run with what its ledger derives, message by message: records
// and raw answers by size, the attempts file line by line. Its methods do nothing on nil.
type Inspection struct {
	manifest contract.Manifest
	sizes    *store.Sizes
	// WrongFiles are the files that are missing or have another size.
	WrongFiles map[string]bool
	lines      attemptsReader
	Details    Details
}

// Details is what the files about a run show beyond the counts of its tally. It is folded from the
// complete ledger, message by message.
type Details struct {
	tally fold.Tally
	// Failed are the numbers that failed, in the order of the ledger.
	Failed   []contract.CrawlResult
	timeline timeline
	busiest  busiestMinute
}

// Add folds a message and returns the entries that were new.
func (d *Details) Add(manifest contract.Manifest, m ledger.Message) []fold.Counted {
	fresh := d.tally.AddMessage(m, manifest.SafeStopFails)
	d.Failed = append(d.Failed, failures(manifest, fresh)...)
	for _, entry := range fresh {
		if entry.WritesLine() {
			d.timeline.addEntry(entry, manifest.CreatedAt)
			d.addRequests(entry.Entry)
		}
	}
	for _, entry := range m.Canary {
		d.addRequests(entry)
	}
	return fresh
}

func (d *Details) addRequests(entry contract.Entry) {
	for _, request := range entry.Requests {
		if !request.StartedAt.IsZero() {
			d.timeline.addRequest(request.StartedAt)
			d.busiest.add(request.StartedAt)
		}
	}
}

// attemptsReader reads the attempts file in step with the ledger, until a line is wrong.
type attemptsReader struct {
	file   io.Closer
	reader *bufio.Reader
	wrong  bool
}

// Inspect starts an inspection of the files of a run. The caller must call End.
func Inspect(output *store.Store, manifest contract.Manifest) *Inspection {
	i := &Inspection{manifest: manifest, sizes: output.Sizes(), WrongFiles: map[string]bool{}}
	file, err := output.Reader(AttemptsName(manifest.RunID))
	if err != nil { // missing or unreadable: rewriting it reports the cause
		i.lines.wrong = true
		return i
	}
	i.lines.file, i.lines.reader = file, bufio.NewReader(file)
	return i
}

// Read inspects the files that are derived from a message. ours reports whether the record of a case
// belongs to the run: no other run has collected it since.
func (i *Inspection) Read(m ledger.Message, ours func(contract.CaseID) bool) error {
	if i == nil {
		return nil
	}
	d, err := Derive(i.manifest, i.Details.Add(i.manifest, m), ours)
	if err != nil {
		return err
	}
	for _, file := range d.Files {
		right, err := i.has(file)
		if err != nil {
			return err
		}
		if right { // a raw answer may have replaced an earlier one of another size
			delete(i.WrongFiles, file.Name)
		} else {
			i.WrongFiles[file.Name] = true
		}
	}
	return i.lines.compare(d.Lines)
}

// has reports whether a regular file of that name and size exists. The file of a record may be of the
// version in the ledger or of the current one.
func (i *Inspection) has(file store.File) (bool, error) {
	size, found, err := i.sizes.Of(file.Name)
	if err != nil {
		return false, err
	}
	if found && size != int64(len(file.Data)) {
		file = Current([]store.File{file})[0]
	}
	return found && size == int64(len(file.Data)), nil
}

// compare reads as many lines as the ledger derives next, and compares them.
func (r *attemptsReader) compare(lines []byte) error {
	for line := range bytes.Lines(lines) {
		if r.wrong {
			return nil
		}
		got, err := r.reader.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return attemptsReadError(err)
		}
		r.wrong = !sameLine(got, line)
	}
	return nil
}

// End closes the files that an inspection has open. The attempts file is wrong if it has further lines.
func (i *Inspection) End() error {
	if i == nil {
		return nil
	}
	if err := i.sizes.Close(); err != nil || i.lines.file == nil {
		return err
	}
	if !i.lines.wrong {
		_, err := i.lines.reader.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return attemptsReadError(err)
		}
		i.lines.wrong = err == nil
	}
	return i.lines.file.Close()
}

func attemptsReadError(err error) error {
	return fmt.Errorf("%w: reading the attempts file: %w", store.ErrNotWritable, err)
}

// sameLine compares two lines of an attempts file. They may name different copies of the raw
// answer: a resumed run can have another persist_raw_html than before.
func sameLine(got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	var a, b contract.AttemptLine
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil {
		return false
	}
	a.HTMLPath, b.HTMLPath = "", ""
	one, errOne := json.Marshal(a)
	two, errTwo := json.Marshal(b)
	return errOne == nil && errTwo == nil && bytes.Equal(one, two) && bytes.HasSuffix(got, []byte("\n"))
}

// LinesWrong reports whether the attempts file is missing or wrong.
func (i *Inspection) LinesWrong() bool { return i.lines.wrong }

// FirstWrong returns the name of a file that is missing or wrong; empty when there is none.
func (i *Inspection) FirstWrong() string {
	if i.lines.wrong {
		return AttemptsName(i.manifest.RunID)
	}
	for _, name := range slices.Sorted(maps.Keys(i.WrongFiles)) {
		return name
	}
	return ""
}
