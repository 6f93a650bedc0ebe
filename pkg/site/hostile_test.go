package site_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// hostileTexts returns texts that careless programs interpret when they show, store or evaluate
// them.
func hostileTexts() map[string]string {
	return map[string]string{
		"control": "a\x01\x07\x08\x7fb\u0085c", "NUL": "a\x00b", "lines": "a\r\nb\nc\rd\u2028e\u2029f", "ANSI": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \u009b2J",
		"bidi": "a\u202eb\u2066c\u200fd\u061ce", "zero width": "a\u200bb\u200dc\ufeffd", "formula": `=cmd|'/C calc'!A0`, "formulas": "+1\t-1\t@SUM(A1)\t=1+1",
		"markup": `<script>alert(1)</script><img src=x onerror=alert(1)>`, "template": `{{.Secret}} ${jndi:ldap://x} %s%n`, "log line": "x\n{\"level\":\"ERROR\",\"msg\":\"fake\"}",
		"quotation": `"'` + "`" + `\`, "path": "../../etc/passwd", "long": strings.Repeat("A", 1<<20), "long words": strings.Repeat("é ", 1<<18) + "e", "combining": "z" + strings.Repeat("\u0301", 1000),
	}
}

// TestTextIsKeptVerbatim: a record keeps the court's text byte for byte, except for white space at
// its ends.
func TestTextIsKeptVerbatim(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for name, text := range hostileTexts() {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		row := strings.ReplaceAll(`{"COURT_NO":"IMM-13-25","RE_NO":1,"STYLE_OF_CAUSE":T,"RECORDED_ENTRY":T,"FOREMOST_NUMBER":T,"REGISTRY_NOTES_EXTERNAL":T}`, ":T", ":"+string(quoted))
		exchanges := []contract.Exchange{{Call: "docket", Status: 200, StartedAt: exchangeStart, Body: []byte(`{"Count":1,"data":[` + row + `]}`)}}
		reading := p.Read(id, exchanges)
		if reading.Record == nil || len(reading.Record.Docket) != 1 {
			t.Errorf("%s: read %s by %q: %s", name, reading.Verdict, reading.Rule, reading.Error)
			continue
		}
		entry := reading.Record.Docket[0]
		want := []string{text, text, text, text}
		if diff := cmp.Diff(want, []string{reading.Record.StyleOfCause, entry.Text, entry.DocumentID, entry.Notes}); diff != "" {
			t.Errorf("%s (-want +got):\n%.500s", name, diff)
		}
		checkFile(t, name, *reading.Record)
	}
}

// checkFile checks that the record's file is valid JSON in UTF-8 without raw control characters,
// and decodes to the same record.
func checkFile(t *testing.T, name string, record contract.Record) {
	t.Helper()
	file := record.FileContent()
	control := func(r rune) bool { return r < ' ' && r != '\n' }
	if !utf8.Valid(file) || !json.Valid(file) || slices.ContainsFunc([]rune(string(file)), control) {
		t.Errorf("%s: the file is no plain JSON: %.200q", name, file)
	}
	var again contract.Record
	if err := json.Unmarshal(file, &again); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if diff := cmp.Diff(record, again); diff != "" {
		t.Errorf("%s: the file holds another record (-read +file):\n%.500s", name, diff)
	}
}

// TestInvalidText: invalid UTF-8 is rejected anywhere; half a surrogate pair is replaced.
func TestInvalidText(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for _, broken := range []string{"\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "a\x80b"} {
		body := strings.Replace(ownBody, "Application", broken, 1)
		reading := p.Read(id, []contract.Exchange{{Call: "docket", Status: 200, Body: []byte(body)}})
		if reading.Verdict != contract.VerdictTransient || reading.Rule != "charset" {
			t.Errorf("%q: read %s by %q", broken, reading.Verdict, reading.Rule)
		}
	}
}

// TestErrorTextsAreEscaped: for any response at any stage, errors and notes are short, and unusual
// characters are escaped.
func TestErrorTextsAreEscaped(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	strange := hostileTexts()
	strange["invalid"] = "\xff\xfe\xc3"
	for name, text := range strange {
		text = text[:min(len(text), 8<<10)] // far more than an error may have
		quoted, _ := json.Marshal(text)
		row := func(field string) string {
			return `{"Count":1,"data":[{"COURT_NO":"IMM-13-25",` + field + `:` + string(quoted) + `}]}`
		}
		for _, response := range []contract.Exchange{
			{Status: 200, Body: []byte(text)}, {Status: 500, Body: []byte(text)}, {Status: 200, ContentType: "text/html; charset=\"" + text + "\"", Body: []byte(ownBody)},
			{Status: 200, Body: []byte("Request Rejected " + text)}, {Status: 403, RetryAfter: text, Body: []byte(text)},
			{Status: 200, Body: []byte(strings.Replace(ownBody, `"IMM-13-25"`, string(quoted), 1))}, {Status: 200, Body: []byte(strings.Replace(emptyBody, "0", string(quoted), 1))},
			{Status: 200, Body: []byte(`{"Count":0,"data":[],` + string(quoted) + `:1}`)}, {Status: 200, Body: []byte(row(`"FILING_DATE"`))},
			{Status: 200, Body: []byte(row(`"CAN_PUBLISH_DOCUMENT"`))}, {Status: 200, Body: []byte(row(`"DOCNO"`))}, {Status: 200, Body: []byte(row(`"Division"`))},
		} {
			for _, before := range attemptStages() {
				reading := p.Read(id, placeResponse(before, response))
				for _, text := range append(reading.Notes, reading.Error, reading.Rule) {
					checkErrorText(t, name, text)
				}
			}
		}
	}
}

// checkErrorText checks that a text is safe for a log and a terminal.
func checkErrorText(t *testing.T, name, text string) {
	t.Helper()
	if len(text) > 3000 || !utf8.ValidString(text) {
		t.Errorf("%s: %d bytes: %.100q", name, len(text), text)
	}
	for _, r := range text {
		if !strconv.IsPrint(r) && r != utf8.RuneError {
			t.Errorf("%s: %U in %.200q", name, r, text)
			return
		}
	}
}

// TestHTTPErrorTextsAreEscaped: errors of net/http quote the malformed response, so they are
// escaped too.
func TestHTTPErrorTextsAreEscaped(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"status": "HTTP/1.1 \x1b[31m\u202e\r\n\r\n", "header": "HTTP/1.1 200 OK\r\n\x1b[31m\u202e\r\n\r\n", "length": "HTTP/1.1 200 OK\r\nContent-Length: \x1b[31m\r\n\r\n",
		"encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x1b[31m\r\n\r\n", "long": "HTTP/1.1 " + strings.Repeat("\u202e", 5000) + "\r\n\r\n",
		"long type": "HTTP/1.1 200 OK\r\nContent-Type: " + strings.Repeat("x\u202e", 5000) + "\r\nRetry-After: \u202e\r\nContent-Length: 0\r\n\r\n",
		"type":      "HTTP/1.1 200 OK\r\nContent-Type: \x1b[31m" + strings.Repeat("x", 5000) + "\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": rawHandler(t, head, "", 0)})
			c := newClient(t, server.URL, nil)
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, contract.VerdictTransient, "")
			for _, text := range []string{exchanges[0].Error, exchanges[0].ContentType, exchanges[0].RetryAfter, c.Profile.Read(caseID(t, "IMM-13-25"), exchanges).Error} {
				checkErrorText(t, name, text)
			}
		})
	}
}
