package reporter

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/sanitize"

	"github.com/antchfx/htmlquery"
	"golang.org/x/net/html"
)

// hostileTexts returns texts that break a page or a line unless they are escaped.
func hostileTexts() []string {
	return []string{
		`</td></table><script>alert(1)</script><img src=x onerror=alert(2)>`,
		"one\ntwo\r\nthree\u2028four\u2029five\x00six\x1b[31m",
		`"}` + "\n" + `{"run_id":"run","case_id":"IMM-1-25","outcome":"success"}`,
		`{{.Config}} ${x} ' " & < > --> ]]> javascript:alert(3)`,
		"caf\u00e9 \u202egnp.exe \ufeff \U0001f4a9 \xff\xfe",
	}
}

// runHostile runs a reporter on a run whose texts are all hostile.
func runHostile(t *testing.T) (*fixture, contract.State) {
	t.Helper()
	reason := strings.Join(hostileTexts(), " ")
	f := newFixture(t, 20, func(m *contract.Manifest) { m.Config = map[string]any{hostileTexts()[0]: hostileTexts()} })
	for i, text := range hostileTexts() {
		record, failed := fcttest.Success(2*i+1), fcttest.Failure(2*i+2)
		record.Record = contract.Record{
			Version: contract.RecordVersion, CaseID: record.CaseID, Header: contract.Header{StyleOfCause: text},
			Docket: []contract.DocketEntry{{Text: text}},
		}.FileContent()
		record.Notes, record.Rule = []string{text}, text
		failed.Error, failed.Raw, failed.Notes = text, []byte(text), []string{text, ""}
		f.publishEntries(record, failed)
	}
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: reason, At: endTime})
	return f, f.runToEnd()
}

func TestReportPageEscapesHostileText(t *testing.T) {
	t.Parallel()
	f, state := runHostile(t)
	page := f.files()[strings.Replace(state.File, ".json", ".html", 1)]
	document, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"//script", "//img", "//@onerror", "//@src"} {
		if found := htmlquery.Find(document, forbidden); len(found) > 0 {
			t.Errorf("%d of %s in the page", len(found), forbidden)
		}
	}
	for _, link := range htmlquery.Find(document, "//@href") {
		if href := htmlquery.InnerText(link); !regexp.MustCompile(`^[a-z][A-Za-z0-9_/.-]*$`).MatchString(href) {
			t.Errorf("a link to %q", href)
		}
	}
	if tables := htmlquery.Find(document, "//table"); len(tables) != 2 {
		t.Errorf("%d tables, want 2", len(tables))
	}
	shown := htmlquery.InnerText(document)
	for _, text := range hostileTexts() {
		if visible := sanitize.Line(strings.ToValidUTF8(text, "\ufffd")); !strings.Contains(shown, visible) {
			t.Errorf("%q is not in the page", visible)
		}
	}
}

func TestFilesEscapeHostileText(t *testing.T) {
	t.Parallel()
	f, state := runHostile(t)
	files := f.files()
	lines := slices.Collect(strings.Lines(files["attempts_run.ndjson"]))
	if len(lines) != 2*len(hostileTexts()) {
		t.Fatalf("%d lines for %d attempts", len(lines), 2*len(hostileTexts()))
	}
	report := object(t, files[state.File], reportKeys)
	for i, text := range hostileTexts() {
		want := strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd\ufffd"), "\xff", "\ufffd")
		var good, bad contract.AttemptLine
		f.must(json.Unmarshal([]byte(lines[2*i]), &good))
		f.must(json.Unmarshal([]byte(lines[2*i+1]), &bad))
		if good.CaseID.Number != 2*i+1 || good.Notes[0] != want || bad.Error != want || bad.Outcome != "failed" ||
			strings.ContainsAny(lines[2*i+1], "<>\u2028") {
			t.Errorf("%q became %+v and %+v", want, good, bad)
		}
		var record contract.Record
		f.must(json.Unmarshal([]byte(files["cases/IMM/25/"+good.CaseID.String()+".json"]), &record))
		if record.StyleOfCause != want || record.Docket[0].Text != want {
			t.Errorf("%q became the record %+v", want, record)
		}
		if files["html_failed/run/"+bad.CaseID.String()+".html"] != text {
			t.Errorf("the raw answer of %s is not what came", bad.CaseID)
		}
		if !strings.Contains(report["reason"].(string), want) || state.Report.Errors[i].Error != want {
			t.Errorf("%q is not in the report", want)
		}
	}
}

func TestStateError_OtherStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []contract.Status{contract.Stopped, contract.Blocked, contract.SafeStop, contract.Completed,
		contract.Running} {
		if err := StateError(contract.State{Status: status, Reason: ledger.ErrMismatch.Error() + ": x"}); err != nil {
			t.Errorf("%s: %v", status, err)
		}
	}
	if err := StateError(contract.State{Status: contract.Errored, Reason: "something else"}); err == nil ||
		err.Error() != "something else" {
		t.Errorf("%v", err)
	}
}
