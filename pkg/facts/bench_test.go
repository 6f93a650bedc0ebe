package facts_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
)

// docketOfSize returns a record whose texts have about so many bytes, in the mix of a real docket.
func docketOfSize(n, size int) *contract.Record {
	r := &contract.Record{
		Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "IMM", Number: n%contract.MaxNumber + 1,
			Year: "21"},
		Header: contract.Header{FiledOn: "2021-01-01",
			NatureEN: "Imm - Appl. for leave & jud. review - IRB - Refugee", StyleOfCause: "NOSUCH v. MCI"},
	}
	texts := []string{
		opening + " on 01-JAN-2021 Written reasons received by the Applicant Tariff fee of $50.00 received: yes",
		"Notice of appearance on behalf of the respondent filed on 05-JAN-2021 with proof of service on the applicant",
		"Solicitor's certificate of service on behalf of Primrose Whatsit confirming service of ALJR upon Respondent by email on 05-JAN-2021 filed on 05-JAN-2021",
		"Applicant's Record, number of copies received/prepared: 2, on behalf of Applicant, with proof of service, filed on 01-FEB-2021",
		"Memorandum of argument on behalf of the Respondent with proof of service upon the Applicant by email on 10-FEB-2021 filed on 10-FEB-2021",
		"Communication to the Court from the Registry dated 20-FEB-2021 re: Perfected file, sent to the Duty Judge at Ottawa",
		leaveGranted + " Considered by the Court without personal appearance entered in J. & O. Book, volume 1 page(s) 2 - 3 Copy of the order sent to all parties Transmittal Letters placed on file.",
		"Notice of Motion contained within a Motion Record on behalf of Applicant returnable at General Sitting in Toronto on 05-MAR-2021 to begin at 09:30 duration: 1h language: E for a stay of execution of the removal order scheduled for 08-MAR-2021 filed on 01-MAR-2021",
		"Affidavit of Primrose Whatsit sworn on 01-MAR-2021 on behalf of Applicant in support of motion Doc. No. 4 with Exhibits A-D attached filed on 01-MAR-2021",
		"Halifax 01-JUN-2021 BEFORE The Honourable Mr. Justice Inkwell Language: E Before the Court: Judicial Review Result of Hearing: Matter reserved held in Court Senior Usher: [name] Duration per day: 01-JUN-2021 from 09:30 to 11:00 Courtroom : Courtroom No. 1 - Halifax",
		dismissed + " Considered by the Court with personal appearance entered in J. & O. Book, volume 3 page(s) 12 - 14",
		"Accusé de réception reçu de toutes les parties par courriel concernant l'ordonnance versé au dossier le 6 juillet 2021",
	}
	for written := 0; written < size; {
		text := texts[len(r.Docket)%len(texts)]
		if rest := size - written; rest > 20000 && len(r.Docket)%len(texts) == 6 { // a long order
			text += strings.Repeat(" The Registry shall place a copy of this order on each of the files of the schedule.", 120)
		}
		written += len(text)
		r.Docket = append(r.Docket, contract.DocketEntry{EntryNumber: len(r.Docket) + 1, EnteredOn: "2021-03-04",
			OfficeEN: "Ottawa", Text: text, LanguageCode: "E"})
	}
	r.Entries = len(r.Docket)
	return r
}

// docketSizes are the sizes of 100 dockets in the distribution of a published study: a median of
// 2.5 kB, one in a hundred over 15 kB.
func docketSizes() []int {
	sizes := make([]int, 100)
	for i := range sizes {
		switch {
		case i < 50:
			sizes[i] = 800 + 34*i
		case i < 90:
			sizes[i] = 2500 + 80*(i-50)
		case i < 99:
			sizes[i] = 6000 + 900*(i-90)
		default:
			sizes[i] = 20000
		}
	}
	return sizes
}

// BenchmarkRecords derives the facts of dockets of realistic sizes, from JSON to JSON as the command
// does, and prints records a second of one processor.
func BenchmarkRecords(b *testing.B) {
	rules := load(b)
	var records [][]byte
	for i, size := range docketSizes() {
		records = append(records, marshal(b, docketOfSize(i, size)))
	}
	b.ReportAllocs()
	reader := rules.NewReader()
	n := 0
	for b.Loop() {
		derive(b, reader, records[n%len(records)])
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkSizes derives the facts of one docket of each size.
func BenchmarkSizes(b *testing.B) {
	for _, size := range []int{2500, 15000, 150000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			reader, data := load(b).NewReader(), marshal(b, docketOfSize(1, size))
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				derive(b, reader, data)
			}
		})
	}
}

func marshal(tb testing.TB, value any) []byte {
	tb.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func derive(b *testing.B, reader *facts.Reader, data []byte) {
	b.Helper()
	record, err := facts.Decode(data)
	if err != nil {
		b.Fatal(err)
	}
	if line := marshal(b, reader.Of(record)); len(line) < 100 {
		b.Fatalf("facts %s", line)
	}
}
