package reporter

import (
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/store"
)

// The names of a run's files, relative to the output folder. Case and run ids are safe as parts of names.
func attemptsName(run contract.RunID) string   { return "attempts_" + string(run) + ".ndjson" }
func auditName(run contract.RunID) string      { return "audit_" + string(run) + ".json" }
func checkpointName(run contract.RunID) string { return "checkpoint-" + string(run) + ".json" }

func caseName(id contract.CaseID) string {
	return casesFolder(id.Series, id.Year) + "/" + id.String() + ".json"
}

func casesFolder(series, year string) string { return "cases/" + series + "/" + year }

// caseFile is the record that an entry brings; false when it settles nothing or brings none.
func caseFile(entry contract.Entry) (store.File, bool) {
	if entry.Outcome != contract.Success || len(entry.Record) == 0 {
		return store.File{}, false
	}
	return store.File{Name: caseName(entry.CaseID), Data: entry.Record}, true
}

// rawFiles are the raw answers to keep of an entry. The first is the one that the attempts file names: of a
// failure or a block the one people look for, else the numbered one of persist_raw_html.
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
		files = append(files, store.File{Name: "html_failed/" + string(run) + "/" + entry.CaseID.String() + end, Data: entry.Raw})
		if !persist {
			return files
		}
	}
	name := fmt.Sprintf("html/%s/%s.%d%s", run, entry.CaseID, entry.Attempt, end)
	return append(files, store.File{Name: name, Data: entry.Raw})
}

// attemptLine is the line of the attempts file for one entry, its newline included.
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

// derivedFiles is everything that a list of counted entries puts into files.
type derivedFiles struct {
	files []store.File
	lines []byte
}

// deriveFiles makes the files and lines of counted entries. records says whose case file may be written.
func deriveFiles(manifest contract.Manifest, entries []countedEntry, records func(contract.CaseID) bool) (derivedFiles, error) {
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
		if entry.kind == kindEvidence || entry.kind == kindConfirmation { // it is no attempt of a job
			continue
		}
		at := latest(entry.Timestamp, entry.StartedAt, manifest.CreatedAt)
		line, err := attemptLine(manifest.RunID, entry.Entry, at, htmlPath)
		if err != nil {
			return derivedFiles{}, err
		}
		d.lines = append(d.lines, line...)
	}
	return d, nil
}
