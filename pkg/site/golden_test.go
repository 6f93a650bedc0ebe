package site_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden readings, except verdict and rule")

func load(t testing.TB, name string) *site.Profile {
	t.Helper()
	p, err := site.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// golden is a reading as stored in the files, with the result of Blocked for the same exchanges.
type golden struct {
	Error   string           `json:"error,omitempty"`
	Notes   []string         `json:"notes,omitempty"`
	Raw     int              `json:"raw"`
	RawType string           `json:"raw_type,omitempty"`
	Wait    string           `json:"wait,omitempty"`
	Record  *contract.Record `json:"record,omitempty"`
}

func TestRead_Golden(t *testing.T) {
	t.Parallel()
	for folder, name := range map[string]string{"responses": "fct-cf", "pages": "fct-cf-html"} {
		p, validate := load(t, name), fcttest.RecordSchema(t)
		for _, c := range casesIn(t, folder) {
			t.Run(folder+"/"+filepath.Base(c.path), func(t *testing.T) {
				t.Parallel()
				reading := p.Read(c.id, c.exchanges)
				if reading.Verdict != c.verdict || reading.Rule != c.rule {
					t.Fatalf("read %s by %q, want %s by %q: %s", reading.Verdict, reading.Rule, c.verdict, c.rule, reading.Error)
				}
				checkReading(t, p, c.id, c.exchanges)
				compareGolden(t, p, c, reading)
				if reading.Record == nil {
					return
				}
				if err := validate(reading.Record.FileContent()); err != nil {
					t.Errorf("the record breaks the schema: %v", err)
				}
			})
		}
	}
}

func compareGolden(t *testing.T, p *site.Profile, c goldenCase, reading contract.Classification) {
	t.Helper()
	g := golden{Error: reading.Error, Notes: reading.Notes, Raw: reading.Raw, RawType: reading.RawType, Record: reading.Record}
	if _, wait, blocked := p.Blocked(c.id, c.exchanges, exchangeStart); blocked {
		g.Wait = wait.String()
	}
	got, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(c.path, []byte(c.input+"\nreading:\n"+string(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(c.golden, string(got)+"\n"); diff != "" {
		t.Errorf("the reading is another (-want +got):\n%s", diff)
	}
}

// checkReading checks what must hold for every reading.
func checkReading(t testing.TB, p *site.Profile, id contract.CaseID, exchanges []contract.Exchange) {
	t.Helper()
	reading := p.Read(id, exchanges)
	if diff := cmp.Diff(reading, p.Read(id, exchanges)); diff != "" {
		t.Errorf("read twice it is another (-first +second):\n%s", diff)
	}
	rule, _, blocked := p.Blocked(id, exchanges, exchangeStart)
	if !blocked && reading.Verdict == contract.VerdictBlocked || blocked && reading.Verdict == contract.VerdictBlocked && rule != reading.Rule {
		t.Errorf("Blocked returns %t by %q, Read %s by %q", blocked, rule, reading.Verdict, reading.Rule)
	}
	if (reading.Record != nil) != (reading.Verdict == contract.VerdictSuccess) {
		t.Errorf("verdict %s with record %v", reading.Verdict, reading.Record)
	}
	if (reading.Error != "") != (reading.Verdict == contract.VerdictTransient || reading.Verdict == contract.VerdictBlocked) {
		t.Errorf("verdict %s with error %q", reading.Verdict, reading.Error)
	}
	if reading.Record != nil {
		checkRecord(t, *reading.Record, id)
	}
	switch {
	case reading.Verdict != contract.VerdictNoRecord:
	case p.Name == "fct-cf-html":
		checkPageProof(t, exchanges)
	default:
		checkProof(t, exchanges)
	}
}

func checkRecord(t testing.TB, record contract.Record, id contract.CaseID) {
	t.Helper()
	if record.CaseID != id || record.Entries != len(record.Docket) || record.Docket == nil {
		t.Errorf("record of %s with %d entries of %d, requested %s", record.CaseID, record.Entries, len(record.Docket), id)
	}
	if (record.Entries == 0) != slices.Contains(record.Flags, "header-only") {
		t.Errorf("%d entries and the flags %q", record.Entries, record.Flags)
	}
}

// checkProof verifies a no-record independently of the program: encoding/json must decode every
// response, each must have status 200 or 203, and one must be the list of files, whose empty
// response is proof by itself.
func checkProof(t testing.TB, exchanges []contract.Exchange) {
	t.Helper()
	calls := make(map[string]bool)
	for _, x := range exchanges {
		var table struct {
			Count *float64          `json:"Count"`
			Data  []json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(x.Body, &table); x.Status != 200 && x.Status != 203 || x.Error != "" || err != nil || table.Data == nil || table.Count == nil {
			t.Errorf("no-record with a response that proves nothing: status %d, error %q, %v: %.100q", x.Status, x.Error, err, x.Body)
		}
		var members map[string]any
		if err := json.Unmarshal(x.Body, &members); err != nil {
			t.Errorf("%.100q: %v", x.Body, err)
		}
		for name, value := range members {
			if name != "Count" && name != "data" && !slices.Contains([]any{nil, "", 0.0}, value) && !cmp.Equal(value, []any{}) && !cmp.Equal(value, map[string]any{}) {
				t.Errorf("no-record with a member %q: %.100q", name, x.Body)
			}
		}
		calls[x.Call] = true
	}
	if !calls["header"] {
		t.Errorf("no-record by the calls %v", calls)
	}
}

// checkPageProof verifies a no-record from pages: search and dialog must both be complete and
// report that there is nothing, in either language.
func checkPageProof(t testing.TB, exchanges []contract.Exchange) {
	t.Helper()
	calls := make(map[string]bool)
	for _, x := range exchanges {
		complete := x.Status == 200 && x.Error == "" && bytes.Contains(bytes.ToLower(x.Body), []byte("</html>"))
		calls[x.Call] = calls[x.Call] || complete && x.Call != "parties"
		says := bytes.Contains(x.Body, []byte("No data available in table")) || bytes.Contains(x.Body, []byte("Aucune donn"))
		calls[x.Call+" says none"] = calls[x.Call+" says none"] || complete && says
	}
	if !calls["search"] || !calls["docket"] || !calls["docket says none"] {
		t.Errorf("no-record by the calls %v", calls)
	}
}

// TestRead_CatalogueRows checks that there is a golden case for every row of the catalogue of bad
// responses that Read decides.
func TestRead_CatalogueRows(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, c := range goldenCases(t) {
		seen[c.row] = true
	}
	for _, row := range []string{"54", "56", "57", "58", "59", "60", "61", "62", "66", "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "S8"} {
		if !seen[row] {
			t.Errorf("no case for row %s", row)
		}
	}
}

// TestRead_LinearTime: reading a docket of the largest possible size takes linear time.
func TestRead_LinearTime(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const rows = 100_000
	var body strings.Builder
	fmt.Fprintf(&body, `{"Count":%d,"data":[`, rows)
	for i := range rows {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"COURT_NO":"IMM-13-25","RECORDED_ENTRY":"entry %d"}`, i%(rows/2))
	}
	body.WriteString("]}")
	began := time.Now()
	reading := load(t, "fct-cf").Read(caseID(t, "IMM-13-25"), []contract.Exchange{{Call: "docket", Status: 200, Body: []byte(body.String())}})
	if reading.Record == nil || reading.Record.Entries != rows/2 {
		t.Fatalf("read %s, %s; want %d entries", reading.Verdict, reading.Error, rows/2)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestRead_BodiesOverwritten: only the texts of a record refer to the bodies, so its reader may reuse
// their memory once the record is written.
func TestRead_BodiesOverwritten(t *testing.T) {
	t.Parallel()
	for profile, folder := range map[string]string{"fct-cf": "responses", "fct-cf-html": "pages"} {
		p := load(t, profile)
		for _, c := range casesIn(t, folder) {
			want := fmt.Sprintf("%+v", withoutRecord(p.Read(c.id, c.exchanges)))
			exchanges := slices.Clone(c.exchanges)
			for i := range exchanges {
				exchanges[i].Body = slices.Clone(exchanges[i].Body)
			}
			reading := p.Read(c.id, exchanges)
			for _, x := range exchanges {
				for i := range x.Body {
					x.Body[i] = 0xFF
				}
			}
			if got := fmt.Sprintf("%+v", withoutRecord(reading)); got != want {
				t.Errorf("%s: %s, want %s", c.path, got, want)
			}
		}
	}
}

func withoutRecord(reading contract.Classification) contract.Classification {
	reading.Record = nil
	return reading
}
