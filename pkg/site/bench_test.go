package site_test

import (
	"fmt"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// docketBody returns a docket of realistic size: 10 rows are 9 kB, the usual size; 40 rows are a
// contested case.
func docketBody(rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"Count":%d,"data":[`, rows)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Division":"T","COURT_NO":"IMM-13-25","STYLE_OF_CAUSE":"ODETTE QUILL ET AL v. MCI","FILING_DATE":"/Date(1735740000000)/",`+
			`"NATURE_CD":"IMM-LV","ENGLISH_NATURE_DESC":"Imm - Appl. for leave & jud. review - IRB","FRENCH_NATURE_DESC":"Imm - Dem. d'autorisation et contrôle judiciaire - CISR",`+
			`"ENGLISH_TRACK_NAME":"Immigration","FRENCH_TRACK_NAME":"Immigration","ENGLISH_PROCEEDING_CLASS":"Application","FRENCH_PROCEEDING_CLASS":"Demande",`+
			`"ENGLISH_OFFICE_NAME":"Toronto","FRENCH_OFFICE_NAME":"Toronto","DOCNO":%[1]d,"RE_NO":%[1]d,"FOREMOST_NUMBER":null,`+
			`"RECORDED_ENTRY":"Notice of appearance on behalf of the respondent filed on 03-JAN-2025 with proof of service on the applicant",`+
			`"DOC_DT":"/Date(1735913000000-0500)/","CAN_PUBLISH_DOCUMENT":"N","RE_LANG_CD":"E","IS_CONFIDENTIAL":"N",`+
			`"REGISTRY_NOTES_EXTERNAL":null,"COMMAND_PHRASE_EN":null,"COMMAND_PHRASE_FR":null}`, i+1)
	}
	return b.String() + "]}"
}

func BenchmarkRead(b *testing.B) {
	p, id := load(b, "fct-cf"), caseID(b, "IMM-13-25")
	for _, rows := range []int{10, 40} {
		body := []byte(docketBody(rows))
		exchanges := []contract.Exchange{{Call: "docket", Status: 200, ContentType: "application/json; charset=utf-8", StartedAt: exchangeStart, Body: body}}
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if r := p.Read(id, exchanges); r.Record == nil || r.Record.Entries != rows {
					b.Fatalf("read %s: %s", r.Verdict, r.Error)
				}
			}
		})
	}
}

func BenchmarkReadNoRecord(b *testing.B) {
	p, id := load(b, "fct-cf"), caseID(b, "IMM-13-25")
	exchanges := []contract.Exchange{{Call: "docket", Status: 200, Body: []byte(emptyBody)}, {Call: "header", Status: 200, Body: []byte(emptyBody)}}
	b.ReportAllocs()
	for b.Loop() {
		if r := p.Read(id, exchanges); r.Verdict != contract.VerdictNoRecord {
			b.Fatalf("read %s: %s", r.Verdict, r.Error)
		}
	}
}

// BenchmarkFetch measures the client without a network: choosing the calls, building the request,
// checking the response for the case and for a block.
func BenchmarkFetch(b *testing.B) {
	c := newClient(b, "https://court.invalid", func(o *site.Options) { o.Transport = roundTrip(docketBody(10)) })
	id := caseID(b, "IMM-13-25")
	b.ReportAllocs()
	for b.Loop() {
		exchanges, err := c.Fetch(b.Context(), id, noPause)
		if err != nil || len(exchanges) != 1 {
			b.Fatalf("%d exchanges, %v", len(exchanges), err)
		}
		if _, _, blocked := c.Blocked(id, exchanges, exchangeStart); blocked {
			b.Fatal("blocked")
		}
		c.Release(exchanges)
	}
}
