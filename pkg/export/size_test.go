package export

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// yearsOfRecords is a source of many records with dockets of the size that the court's have: 13
// entries and 2.5 kB of text.
func yearsOfRecords(numbers int) Source {
	texts := []string{
		"Application for leave and judicial review against a decision of the IRB, Refugee Appeal Division, communicated on %s filed on %s Tariff fee of $50.00 received: yes",
		"Notice of appearance on behalf of the Respondent with proof of service filed on %s",
		"Memorandum of argument on behalf of the Applicant contained within the Applicant's record with proof of service upon the Respondent by email on %s filed on %s",
		"Letter from the Tribunal dated %s enclosing the decision and written reasons received on %s",
		"Notice of motion on behalf of the Applicant in writing to be dealt with in the Toronto local office for a stay of removal with proof of service filed on %s",
		"Order dated %s rendered by The Honourable Justice Placeholder Matter considered without personal appearance The Court's decision is with regard to motion doc. 4 Result: dismissed",
		"Order rendered by The Honourable Justice Inkwell at Ottawa on %s granting the application for leave Decision endorsed on the record on doc 1 entered in J. & O. Book, volume 900",
		"Acknowledgment of Receipt received from both parties with respect to the order of the Court placed on file on %s",
	}
	return Source{Sequence: 1, Numbers: func(_ context.Context, take func(Item) error) error {
		for i := range numbers {
			id := contract.CaseID{Series: "IMM", Year: fmt.Sprintf("%02d", i/25000+1), Number: i%25000 + 1}
			day := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(i/25000, 0, i%365)
			r := contract.Record{Version: contract.RecordVersion, CaseID: id, Flags: []string{},
				FetchedAt: day.AddDate(1, 0, 0),
				Source:    "https://court.test/files?number=" + id.String(), Header: contract.Header{
					StyleOfCause: "NAME" + strconv.Itoa(i) + ", GIVEN v. THE MINISTER OF CITIZENSHIP AND IMMIGRATION",
					NatureEN:     "Imm - Appl. for leave & jud. review - IRB - Refugee",
					NatureFR:     "Imm - Dem. d'autorisation & contrôle jud. - CISR - Réfugié",
					FiledOn:      day.Format(time.DateOnly), Division: "T", ClassEN: "Applications",
					ClassFR: "Dossiers",
				}}
			for n := range 13 {
				at := day.AddDate(0, 0, 9*n)
				text := strings.ReplaceAll(texts[(i+n)%len(texts)], "%s", at.Format("02-Jan-2006"))
				r.Docket = append(r.Docket, contract.DocketEntry{EntryNumber: n + 1, DocumentNumber: n / 2,
					EnteredOn: at.Format(time.DateOnly),
					OfficeEN:  "Toronto", OfficeFR: "Toronto", Text: text + " by clerk " + strconv.Itoa(i*13+n),
					CanPublish: contract.No, LanguageCode: "E"})
			}
			r.Entries = len(r.Docket)
			item := Item{Coverage{CaseID: id, Outcome: contract.Success, At: r.FetchedAt, Attempts: 1,
				RunID: "run-" + contract.RunID(id.Year)}, r.FileContent()}
			if err := take(item); err != nil {
				return err
			}
		}
		return nil
	}}
}

// peakMemory returns the largest resident set of this process in MB; 0 where there is no /proc.
func peakMemory(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Log(err)
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	return fcttest.Number(t, strings.Fields(after)[0]) / 1024
}

// Many records do not take more memory than some. The figures of the whole are in docs/figures.md.
func TestSize(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	numbers := 220_000
	for _, o := range []Options{{Format: FormatParquet}, {Format: FormatSQLite}, {Format: FormatXLSX}} {
		t.Run(o.Format, func(t *testing.T) {
			o.Rules, o.Out = testRules(t), filepath.Join(t.TempDir(), "all."+o.Format)
			debug.FreeOSMemory()
			start := time.Now()
			result, err := o.Run(t.Context(), yearsOfRecords(numbers))
			if err != nil || result.Rows[TableCases] != numbers {
				t.Fatal(result, err)
			}
			info, err := os.Stat(o.Out)
			if err != nil {
				t.Fatal(err)
			}
			peak := peakMemory(t)
			t.Logf("%s: %d records in %s, %d MB of memory, file of %d MB", o.Format, numbers,
				time.Since(start).Round(time.Second), peak, info.Size()>>20)
			if peak > 250 {
				t.Errorf("%d MB of memory, want at most 250", peak)
			}
		})
	}
}
