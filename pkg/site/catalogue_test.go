package site_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// catalogueCase is one way in which a site misbehaves: a row of the catalogue of bad inputs, or
// "site:" and a problem of the court's site. In testdata/catalogue it is a line
//
//	=== row | verdict rule | status | content type | title | options
//
// followed by the body. The expected results were derived from those documents, not from the
// program. Options: "quoted", the body is a Go string; "deep", 200,000 brackets follow; "retry n";
// "only <stage>".
type catalogueCase struct {
	row, title string
	verdict    contract.Verdict
	rule       string
	response   contract.Exchange
	only       string
}

func catalogue(t testing.TB, name string) []catalogueCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/catalogue", name))
	if err != nil {
		t.Fatal(err)
	}
	var cases []catalogueCase
	for _, part := range strings.Split("\n"+string(data), "\n=== ")[1:] {
		cases = append(cases, parseCatalogueCase(t, part))
	}
	if len(cases) == 0 {
		t.Fatalf("no case in %s", name)
	}
	return cases
}

func parseCatalogueCase(t testing.TB, part string) catalogueCase {
	t.Helper()
	head, body, _ := strings.Cut(part, "\n")
	fields := strings.Split(head, " | ")
	if len(fields) < 5 {
		fields = strings.Split(strings.ReplaceAll(head, "| |", "|  |"), " | ")
	}
	if len(fields) < 5 {
		t.Fatalf("%q: want at least five fields", head)
	}
	c := catalogueCase{row: fields[0], title: fields[4]}
	verdict, rule, _ := strings.Cut(fields[1], " ")
	c.verdict, c.rule = contract.Verdict(verdict), rule
	status, err := strconv.Atoi(fields[2])
	body = strings.TrimSuffix(body, "\n")
	for _, option := range fields[5:] {
		name, value, _ := strings.Cut(option, " ")
		switch name {
		case "quoted":
			body, err = strconv.Unquote(body)
		case "deep":
			body += strings.Repeat("[", 200_000)
		case "retry":
			c.response.RetryAfter = value
		case "only":
			c.only = value
		default:
			t.Fatalf("%q: no option %q", head, name)
		}
	}
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	c.response.Status, c.response.ContentType, c.response.Body, c.response.StartedAt = status, strings.TrimSpace(fields[3]), []byte(body), exchangeStart
	return c
}

// attemptStages returns the responses before each stage of an attempt, followed by the call that is
// answered next.
func attemptStages() map[string][]contract.Exchange {
	good := func(call, body string) contract.Exchange {
		return contract.Exchange{Call: call, Status: 200, ContentType: "application/json; charset=utf-8", StartedAt: exchangeStart, Body: []byte(body)}
	}
	return map[string][]contract.Exchange{
		"docket":     {{Call: "docket"}},
		"list":       {good("docket", emptyBody), {Call: "header"}},
		"list alone": {{Call: "header"}},
		"parties":    {good("docket", ownBody), {Call: "parties"}},
	}
}

// placeResponse returns an attempt with the response at a stage.
func placeResponse(place []contract.Exchange, response contract.Exchange) []contract.Exchange {
	exchanges := slices.Clone(place)
	last := &exchanges[len(exchanges)-1]
	response.Call, response.URL = last.Call, "https://court.invalid/"+last.Call
	*last = response
	return exchanges
}

// TestCatalogue reads every response at every stage. No bad response may become a no-record or a
// success.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	readings, rows := 0, make(map[string]bool)
	cases := slices.Concat(catalogue(t, "responses.txt"), catalogue(t, "pages.txt"), catalogue(t, "blocks.txt"))
	for _, c := range cases {
		rows[c.row] = true
		for place, before := range attemptStages() {
			table := c.verdict == contract.VerdictSuccess || c.verdict == contract.VerdictNoRecord || c.rule == "other-rows" || c.rule == "shape"
			if c.only != "" && place != c.only || place == "parties" && table {
				continue
			}
			readings++
			exchanges := placeResponse(before, c.response)
			reading := p.Read(id, exchanges)
			rule := c.rule
			if slices.Contains([]int{403, 429}, c.response.Status) {
				rule = "status"
			}
			if reading.Verdict != c.verdict || reading.Rule != rule {
				t.Errorf("row %s, %s, as %s: read %s by %q, want %s by %q: %s", c.row, c.title, place, reading.Verdict, reading.Rule, c.verdict, rule, reading.Error)
			}
			checkReading(t, p, id, exchanges)
		}
	}
	t.Logf("%d cases of %d rows, %d readings", len(cases), len(rows), readings)
	for _, row := range []string{
		"54", "55", "56", "57", "59", "60", "62", "65", "66", "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "S8",
		"site:waf", "site:trouble", "site:truncated", "site:html", "site:text",
	} {
		if !rows[row] {
			t.Errorf("no case for row %s", row)
		}
	}
}

// TestTruncatedAnswersAreTransient truncates good responses at every byte: the result is transient
// at every stage, whatever the text.
func TestTruncatedAnswersAreTransient(t *testing.T) {
	t.Parallel()
	p, id := load(t, "fct-cf"), caseID(t, "IMM-13-25")
	for _, body := range []string{
		emptyBody, ownBody, partiesBody, otherBody,
		`{"Count":1,"data":[{"COURT_NO":"IMM-13-25","RE_NO":1,"RECORDED_ENTRY":"Access denied: captcha, request rejected"}]}`,
	} {
		for place, before := range attemptStages() {
			for size := range len(body) {
				exchanges := placeResponse(before, contract.Exchange{Status: 200, StartedAt: exchangeStart, Body: []byte(body[:size])})
				if reading := p.Read(id, exchanges); reading.Verdict != contract.VerdictTransient || reading.Rule != "malformed" {
					t.Errorf("%q as %s: read %s by %q", body[:size], place, reading.Verdict, reading.Rule)
				}
			}
		}
	}
}

// blockTexts returns all block texts of the profile.
func blockTexts(t *testing.T) []string {
	t.Helper()
	texts := site.BlockTexts(load(t, "fct-cf"))
	if len(texts) < 50 {
		t.Fatalf("%d texts", len(texts))
	}
	return texts
}
