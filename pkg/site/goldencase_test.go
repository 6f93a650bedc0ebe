package site_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// goldenCase is a file of testdata/responses: the site's responses, the expected verdict, and the
// complete reading. The file has lines "key: value", then for each exchange a line
//
//	call: <name> | <status> | <content type> | <retry-after> | <error> | plain or quoted
//
// followed by the body (quoted: as a Go string, for invalid UTF-8), and finally "reading:" with the
// golden JSON.
type goldenCase struct {
	path, input string
	row         string
	id          contract.CaseID
	verdict     contract.Verdict
	rule        string
	exchanges   []contract.Exchange
	golden      string
}

// exchangeStart is the start time of all exchanges in the golden cases.
var exchangeStart = time.Date(2025, time.January, 3, 12, 0, 0, 0, time.UTC)

func goldenCases(t testing.TB) []goldenCase { return casesIn(t, "responses") }

// casesIn returns the cases in a folder of testdata: "responses" are JSON, "pages" are HTML.
func casesIn(t testing.TB, folder string) []goldenCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/" + folder + "/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("finding the cases: %v, %d files", err, len(paths))
	}
	var cases []goldenCase
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, parseCase(t, path, string(data)))
	}
	return cases
}

func parseCase(t testing.TB, path, data string) goldenCase {
	t.Helper()
	c := goldenCase{path: path}
	c.input, c.golden, _ = strings.Cut(data, "\nreading:\n")
	c.input = strings.TrimSuffix(c.input, "\n")
	parts := strings.Split("\n"+c.input, "\ncall: ")
	for line := range strings.Lines(parts[0]) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "row":
			c.row = value
		case "case":
			c.id = caseID(t, value)
		case "want":
			verdict, rule, _ := strings.Cut(value, " ")
			c.verdict, c.rule = contract.Verdict(verdict), rule
		}
	}
	for _, part := range parts[1:] {
		c.exchanges = append(c.exchanges, parseExchange(t, c, part))
	}
	return c
}

func parseExchange(t testing.TB, c goldenCase, part string) contract.Exchange {
	t.Helper()
	head, body, _ := strings.Cut(part, "\n")
	fields := strings.Split(head, " | ")
	if len(fields) != 6 {
		t.Fatalf("%s: %q: want six fields", c.path, head)
	}
	status, err := strconv.Atoi(fields[1])
	if err == nil && fields[5] == "quoted" {
		body, err = strconv.Unquote(body)
	}
	if err != nil {
		t.Fatalf("%s: %q: %v", c.path, head, err)
	}
	return contract.Exchange{
		Call: fields[0], URL: "https://court.invalid/" + fields[0] + "?courtnumber=" + c.id.String(), Status: status,
		ContentType: fields[2], RetryAfter: fields[3], Error: fields[4], StartedAt: exchangeStart, Body: []byte(body),
	}
}

func caseID(t testing.TB, text string) contract.CaseID {
	t.Helper()
	id, err := contract.ParseCaseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
