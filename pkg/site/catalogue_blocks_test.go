package site_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"golang.org/x/text/encoding/charmap"
)

// blockVariants returns the same page in different forms. Broken JSON is not among them, because it
// is never searched: it may be a docket.
func blockVariants(page string) map[string][]byte {
	json, accents := strings.ContainsAny(page[:1], "{["), strings.ContainsAny(page, "éè")
	all := map[string][]byte{
		"plain": []byte(page), "BOM": []byte("\xef\xbb\xbf" + page), "UTF-16": utf16Text("\ufeff" + page),
		"far": []byte(strings.Repeat(" ", 20_000) + page), "large": []byte(page + strings.Repeat(" ", 50_000)),
	}
	if text, err := charmap.Windows1252.NewEncoder().String(page); err == nil {
		all["Latin-1"] = []byte(text)
	}
	if !json {
		all["upper case"] = []byte(strings.ToUpper(page))
	}
	if !json && !accents {
		all["broken text"], all["UTF-16, no mark"] = []byte(page+"\xff"), utf16Text(page)
	}
	return all
}

// utf16Text returns a text in little-endian UTF-16.
func utf16Text(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return b
}

// TestBlocked_AnyForm: a block page is found with any status, content type, character set, and at
// any stage of an attempt.
func TestBlocked_AnyForm(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	p, id, readings := load(t, "fct-cf"), caseID(t, "IMM-13-25"), 0
	for _, c := range catalogue(t, "blocks.txt") {
		check := func(dress string, body []byte, status int, contentType, place string) {
			readings++
			exchanges := placeResponse(attemptStages()[place], contract.Exchange{Status: status, ContentType: contentType, StartedAt: exchangeStart, Body: body})
			if reading := p.Read(id, exchanges); reading.Verdict != contract.VerdictBlocked {
				t.Errorf("%s, %s, status %d, %q, as %s: read %s by %q: %s", c.title, dress, status, contentType, place, reading.Verdict, reading.Rule, reading.Error)
			}
		}
		for place := range attemptStages() {
			for _, status := range []int{200, 202, 206, 302, 400, 403, 404, 405, 429, 500, 503, 999} {
				check("plain", c.response.Body, status, "text/html", place)
			}
			for _, contentType := range []string{"text/plain", "application/json", "application/json; charset=utf-8", "image/gif", ""} {
				check("plain", c.response.Body, http.StatusOK, contentType, place)
			}
		}
		for name, body := range blockVariants(string(c.response.Body)) {
			check(name, body, http.StatusOK, "application/json; charset=utf-8", "docket")
			check(name, body, http.StatusServiceUnavailable, "text/html", "docket")
		}
	}
	t.Logf("%d readings", readings)
}

// TestBlocked_SearchLimit: only the beginning of a response is searched.
func TestBlocked_SearchLimit(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for spaces, want := range map[int]contract.Verdict{250 << 10: contract.VerdictBlocked, 260 << 10: contract.VerdictTransient} {
		body := []byte("<html>" + strings.Repeat(" ", spaces) + blockBody + strings.Repeat(" ", 1<<20))
		if reading := p.Read(id, []contract.Exchange{{Call: "docket", Status: 200, Body: body}}); reading.Verdict != want {
			t.Errorf("behind %d spaces: read %s, want %s", spaces, reading.Verdict, want)
		}
	}
}

// TestBlocked_Compressed: a compressed block page is found.
func TestBlocked_Compressed(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	for _, c := range catalogue(t, "blocks.txt") {
		server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			var body bytes.Buffer
			z := gzip.NewWriter(&body)
			_, _ = z.Write(c.response.Body)
			_ = z.Close()
			_, _ = w.Write(body.Bytes())
		}})
		asking := newClient(t, server.URL, nil)
		exchanges := fetchCase(t, asking)
		if reading := asking.Profile.Read(caseID(t, "IMM-13-25"), exchanges); reading.Verdict != contract.VerdictBlocked || reading.Rule != c.rule {
			t.Errorf("%s: read %s by %q, want blocked by %q: %s", c.title, reading.Verdict, reading.Rule, c.rule, reading.Error)
		}
		server.Close()
		asking.Close()
	}
}

// TestErrorPagesAreNotBlocks: error and maintenance pages are neither blocks nor responses.
func TestErrorPagesAreNotBlocks(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for _, c := range catalogue(t, "pages.txt") {
		for _, status := range []int{200, 404, 500, 502, 503} {
			for place, before := range attemptStages() {
				response := c.response
				response.Status = status
				if reading := p.Read(id, placeResponse(before, response)); reading.Verdict != contract.VerdictTransient {
					t.Errorf("%s, status %d, as %s: read %s by %q: %s", c.title, status, place, reading.Verdict, reading.Rule, reading.Error)
				}
			}
		}
	}
}

// TestDocketTextIsNotABlock: the text of a docket is never taken for a block, even if the response
// is broken.
func TestDocketTextIsNotABlock(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for _, text := range blockTexts(t) {
		quoted, err := json.Marshal("Letter: " + strings.ToUpper(text) + " " + text)
		if err != nil {
			t.Fatal(err)
		}
		row := fmt.Sprintf(`"COURT_NO":"IMM-13-25","RE_NO":1,"STYLE_OF_CAUSE":%s,"RECORDED_ENTRY":%s,"PARTY_NAME":%s`, quoted, quoted, quoted)
		for name, body := range map[string]string{
			"good":               `{"Count":1,"data":[{` + row + `}]}`,
			"spaced":             "{ \"Count\" : 1,\n \"data\" : [ { " + strings.ReplaceAll(row, `":`, `" : `) + " } ] }",
			"miscounted":         `{"Count":2,"data":[{` + row + `}]}`,
			"not counted":        `{"data":[{` + row + `}]}`,
			"list alone":         `[{` + row + `}]`,
			"in an envelope":     `{"d":{"Count":1,"data":[{` + row + `}]}}`,
			"HTML behind it":     `{"Count":1,"data":[{` + row + `}]}</html>`,
			"cut off":            `{"Count":1,"data":[{` + row,
			"of another":         `{"Count":1,"data":[{` + strings.ReplaceAll(row, "IMM-13-25", "IMM-77-25") + `}]}`,
			"small letters":      `{"Count":1,"data":[{` + strings.ReplaceAll(row, "IMM-13-25", "imm-13-25") + `}]}`,
			"number last":        `{"Count":1,"data":[{"RECORDED_ENTRY":` + string(quoted) + `,"PARTY_NAME":"x","COURT_NO":"IMM-13-25"}]}`,
			"with a mark before": "\xef\xbb\xbf" + `{"Count":1,"data":[{` + row + `}]}`,
		} {
			for _, status := range []int{200, 206, 500} {
				for place, before := range attemptStages() {
					foreign := place == "parties" && (status != 200 || slices.Contains([]string{"not counted", "list alone", "in an envelope"}, name))
					exchanges := placeResponse(before, contract.Exchange{Status: status, StartedAt: exchangeStart, Body: []byte(body)})
					if reading := p.Read(id, exchanges); reading.Verdict == contract.VerdictBlocked && !foreign {
						t.Errorf("%q, %s, status %d, as %s: blocked by %q", text, name, status, place, reading.Rule)
					}
				}
			}
		}
	}
}
