package site_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// TestHostilePages: pages that are made to take long, or much memory, do not.
func TestHostilePages(t *testing.T) {
	p, id := load(t, "fct-cf-html"), caseID(t, "IMM-13-25")
	search, docket := pageOf(t, "record-en", "search"), pageOf(t, "record-en", "docket")
	filled := func(page, before, with string) string { return strings.Replace(page, before, with+before, 1) }
	entries := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `<tr><td>%d</td><td>2025-01-03</td><td>Toronto</td><td>Entry %d</td><td></td></tr>`, i+10, i)
		}
		return b.String()
	}
	const info, modal = `<div id="datatable_info">`, `<div id="ModalForm"`
	for name, test := range map[string]struct {
		search, docket string
		verdict        contract.Verdict
	}{
		"long docket":        {search, filled(docket, "<tr><td>1<", entries(3_000)), contract.VerdictSuccess},
		"too long a docket":  {search, filled(docket, "<tr><td>1<", entries(30_000)), contract.VerdictTransient},
		"many dialogs":       {search, filled(docket, modal, strings.Repeat(modal+`></div>`, 15_000)), contract.VerdictTransient},
		"nested dialogs":     {search, filled(docket, modal, strings.Repeat(modal+`>`, 400)+strings.Repeat("<p><strong>Office :</strong> x</p>", 20_000)), contract.VerdictTransient},
		"wide dialog":        {search, filled(docket, "<p><strong>Type :", strings.Repeat("<p><strong>Office :</strong> x</p>", 5_000)), contract.VerdictSuccess},
		"many tables":        {filled(search, info, strings.Repeat(`<table id="datatable"></table>`, 15_000)), docket, contract.VerdictTransient},
		"many captions":      {search, filled(docket, "<p><strong>Type :", "<table>"+strings.Repeat("<caption>Legend</caption>", 15_000)+"</table>"), contract.VerdictSuccess},
		"many headings":      {search, filled(docket, "<th>ID", strings.Repeat("<th>x</th>", 15_000)), contract.VerdictSuccess},
		"deep cell":          {search, strings.Replace(docket, "Notice of appearance", strings.Repeat("<b>x", 300), 1), contract.VerdictSuccess},
		"long text":          {search, strings.Replace(docket, "Notice of appearance", strings.Repeat("Notice ", 100_000), 1), contract.VerdictSuccess},
		"many inputs":        {filled(search, `<input type="text"`, strings.Repeat(`<input type="hidden" name="a" value="b">`, 15_000)), docket, contract.VerdictSuccess},
		"open formats":       {search, filled(docket, modal, strings.Repeat("<b><i><u><p>", 5_000)), contract.VerdictSuccess},
		"rows without cells": {filled(search, "<tr><td>IMM", strings.Repeat("<tr></tr>", 15_000)), docket, contract.VerdictTransient},
	} {
		t.Run(name, func(t *testing.T) {
			exchanges := []contract.Exchange{
				{Call: "search", Status: 200, StartedAt: exchangeStart, Body: []byte(test.search)}, {Call: "docket", Status: 200, StartedAt: exchangeStart, Body: []byte(test.docket)},
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			reading := p.Read(id, exchanges)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if reading.Verdict != test.verdict {
				t.Errorf("read %s, %.300s; want %s", reading.Verdict, reading.Error, test.verdict)
			}
			t.Logf("%s, %d MiB in all", took, (after.TotalAlloc-before.TotalAlloc)>>20)
			if took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
