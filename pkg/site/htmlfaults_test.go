package site_test

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/site"
)

// TestFaultsOfThePage: in whatever way the court misbehaves with its page, a case that exists is never said not to, one that
// does not is never made a record, and a record is never that of another case. Some numbers are spared, and with them mostly
// the page with the hidden inputs, which belongs to none.
func TestFaultsOfThePage(t *testing.T) {
	t.Parallel()
	p := load(t, "fct-cf-html")
	for _, kind := range courtsim.FaultKinds() {
		if kind == "softblock" { // a lie that is well-formed shows in the row of answers, not in one
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fault := courtsim.Fault{Kind: kind, Share: 0.6, Times: courtsim.Forever}
			court, clients := newSimulator(t, courtsim.Options{Seed: 3, Max: 20, Gaps: []contract.Range{{Start: 4, End: 6}}, Faults: []courtsim.Fault{fault}}, true, p)
			c, err := site.NewClient(site.Options{
				Profile: p, Origin: clients[0].Origin, RequestTimeout: 500 * time.Millisecond, JobTimeout: 5 * time.Second, MaxBody: 1 << 20, Parties: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			for number := 1; number <= 8; number++ {
				id := contract.CaseID{Series: "IMM", Number: number, Year: "25"}
				reading := readAttempt(t, c, id)
				wrong := contract.VerdictNoRecord
				if !court.Exists(id) {
					wrong = contract.VerdictSuccess
				}
				if reading.Verdict == wrong || reading.Record != nil && reading.Record.CaseID != id {
					t.Errorf("%s is read %s by %s: %+v", id, reading.Verdict, reading.Rule, reading.Record)
				}
			}
		})
	}
}
