package reporter

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/fold"
)

// The names of a run's files, relative to the output folder. Case and run ids contain no
// separators.
func attemptsName(run contract.RunID) string   { return "attempts_" + string(run) + ".ndjson" }
func auditName(run contract.RunID) string      { return "audit_" + string(run) + ".json" }
func checkpointName(run contract.RunID) string { return "checkpoint-" + string(run) + ".json" }

func caseName(id contract.CaseID) string {
	return casesFolder(id.Series, id.Year) + "/" + id.String() + ".json"
}

func casesFolder(series, year string) string { return "cases/" + series + "/" + year }

// caseFile returns the record file of an entry; false when the entry is no success or has no
// record.
func caseFile(entry contract.Entry) (store.File, bool) {
	if entry.Outcome != contract.Success || len(entry.Record) == 0 {
		return store.File{}, false
	}
	return store.File{Name: caseName(entry.CaseID), Data: entry.Record}, true
}

// rawFiles returns the raw answer files of an entry. The first one is named in the attempts file:
// for a failure or a block it is the one in html_failed, else the numbered one of persist_raw_html.
func rawFiles(run contract.RunID, entry contract.Entry, persist bool) []store.File {
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

// derivedFiles is the file content of some counted entries.
type derivedFiles struct {
	files []store.File
	lines []byte
}

// deriveFiles returns the files and lines of counted entries. records reports whether a case's
// record may be written.
func deriveFiles(
	manifest contract.Manifest, entries []fold.Counted, records func(contract.CaseID) bool,
) (derivedFiles, error) {
	var d derivedFiles
	for _, entry := range entries {
		if record, found := caseFile(entry.Entry); found && records(entry.CaseID) {
			d.files = append(d.files, record)
		}
		htmlPath := ""
		raws := rawFiles(manifest.RunID, entry.Entry, manifest.PersistRawHTML)
		if len(raws) > 0 {
			htmlPath = raws[0].Name
		}
		d.files = append(d.files, raws...)
		if !entry.WritesLine() {
			continue
		}
		at := slices.MaxFunc([]time.Time{entry.Timestamp, entry.StartedAt, manifest.CreatedAt}, time.Time.Compare)
		line, err := attemptLine(manifest.RunID, entry.Entry, at, htmlPath)
		if err != nil {
			return derivedFiles{}, err
		}
		d.lines = append(d.lines, line...)
	}
	return d, nil
}
