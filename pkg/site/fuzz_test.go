package site_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// FuzzRead: for any responses to two calls the reading keeps its promises and is reproducible.
func FuzzRead(f *testing.F) {
	for _, c := range goldenCases(f) {
		var first, second contract.Exchange
		if len(c.exchanges) > 0 {
			first = c.exchanges[0]
		}
		if len(c.exchanges) > 1 {
			second = c.exchanges[1]
		}
		f.Add(c.id.Number, first.Status, first.ContentType, first.Body, second.Call == "parties", second.Status, second.Body)
	}
	for _, c := range slices.Concat(catalogue(f, "responses.txt"), catalogue(f, "pages.txt"), catalogue(f, "blocks.txt")) {
		if len(c.response.Body) > 10_000 {
			continue // it is long because it is deep, and only takes longer
		}
		f.Add(13, c.response.Status, c.response.ContentType, c.response.Body, false, http.StatusOK, []byte(emptyBody))
		f.Add(13, http.StatusOK, "", []byte(emptyBody), false, c.response.Status, c.response.Body)
	}
	p := load(f, "fct-cf")
	f.Fuzz(func(t *testing.T, number, status int, contentType string, docket []byte, parties bool, second int, body []byte) {
		id, err := contract.NewCaseID("IMM", number, "25")
		if err != nil {
			id = caseID(t, "IMM-13-25")
		}
		exchanges := []contract.Exchange{
			{Call: "docket", Status: status, ContentType: contentType, StartedAt: exchangeStart, Body: docket},
			{Call: "header", Status: second, StartedAt: exchangeStart, Body: body},
		}
		if parties {
			exchanges[1].Call = "parties"
		}
		checkReading(t, p, id, exchanges[:1])
		checkReading(t, p, id, exchanges)
		checkReading(t, p, id, exchanges[1:])
	})
}

// FuzzReadPages is FuzzRead for HTML pages.
func FuzzReadPages(f *testing.F) {
	for _, c := range casesIn(f, "pages") {
		var bodies [2]contract.Exchange
		for _, x := range c.exchanges {
			if x.Call == "search" {
				bodies[0] = x
			} else {
				bodies[1] = x
			}
		}
		f.Add(bodies[0].Status, bodies[0].ContentType, bodies[0].Body, bodies[1].Call, bodies[1].Status, bodies[1].Body)
	}
	p, id := load(f, "fct-cf-html"), caseID(f, "IMM-13-25")
	f.Fuzz(func(t *testing.T, status int, contentType string, search []byte, call string, second int, body []byte) {
		exchanges := []contract.Exchange{
			{Call: "search", Status: status, ContentType: contentType, StartedAt: exchangeStart, Body: search},
			{Call: call, Status: second, StartedAt: exchangeStart, Body: body},
		}
		checkReading(t, p, id, exchanges[:1])
		checkReading(t, p, id, exchanges)
		checkReading(t, p, id, append(exchanges, contract.Exchange{Call: "docket", Status: status, StartedAt: exchangeStart, Body: search}))
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, c := range goldenCases(f) {
		for _, x := range c.exchanges {
			f.Add(x.RetryAfter)
		}
	}
	f.Add(exchangeStart.Add(time.Hour).Format(time.RFC850))
	f.Add(exchangeStart.Add(time.Hour).Format(time.ANSIC))
	f.Fuzz(func(t *testing.T, value string) {
		wait := site.RetryAfter(value, exchangeStart, 0)
		if wait < 0 || wait > site.MaxWait {
			t.Errorf("%q: %s", value, wait)
		}
		if at, err := http.ParseTime(strings.TrimSpace(value)); err == nil && at.After(exchangeStart) && wait == 0 {
			t.Errorf("%q: no wait, though it is later", value)
		}
		if twice := site.RetryAfter(value+", 60", exchangeStart, 0); twice < wait || twice < time.Minute {
			t.Errorf("%q: %s, but %s with a minute beside it", value, wait, twice)
		}
		if wait > 0 && !strings.ContainsAny(value, "123456789") {
			t.Errorf("%q: %s out of no digit", value, wait)
		}
	})
}

func FuzzDay(f *testing.F) {
	for _, seed := range []string{
		"/Date(1735912800000)/", "/Date(1735912800000-0500)/", "/Date(-86400000+0000)/", "/Date(1-2-3)/", "/Date(+1)/", "/Date(-)/", "/Date(",
		"2025-01-03", "2025-01-03T00:00:00", "2025-01-03T00:00:00.5Z", "2025-01-03T23:00:00-05:00", "0000-00-00", "2023-02-29", "",
	} {
		f.Add(seed)
	}
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, written string) {
		day, err := site.ParseDay(written, zone)
		if err != nil {
			if day != "" {
				t.Errorf("%q: %q with error %v", written, day, err)
			}
			return
		}
		if at, err := time.Parse(time.DateOnly, day); err != nil || at.Year() < 1875 || at.Year() > 2200 {
			t.Errorf("%q: %q is no day of a court", written, day)
		}
		if again, err := site.ParseDay(day, zone); err != nil || again != day {
			t.Errorf("%q read again is %q, %v", day, again, err)
		}
	})
}

func FuzzCaseNumber(f *testing.F) {
	for _, seed := range []string{"IMM-13-25", " imm-0013-25 ", "T-1-00", "ımm-13-25", "IMM-99999-25", "IMM-100000-25", "IMM-0-25", "A--1-25", "IMM-1-2025", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, written string) {
		id, ok := site.NormalizeCaseID(written)
		if !ok {
			if _, err := contract.ParseCaseID(written); err == nil {
				t.Errorf("%q is a case id and was refused", written)
			}
			return
		}
		if again, err := contract.ParseCaseID(id.String()); err != nil || again != id {
			t.Errorf("%q became %v, which is no case id: %v", written, id, err)
		}
		squeezed := strings.ReplaceAll(strings.Join(strings.Fields(written), ""), "-0", "-")
		if len(squeezed) > 0 && !strings.EqualFold(squeezed[:1], id.Series[:1]) {
			t.Errorf("%q became %v", written, id)
		}
	})
}

// FuzzProfile: a profile is rejected with ErrProfile, or reads responses without a panic and keeps
// the promises that hold for every profile.
func FuzzProfile(f *testing.F) {
	for _, name := range site.BuiltIn() {
		f.Add(profileText(f, name))
	}
	f.Add([]byte("name = \"mine\"\nlike = \"fct-cf\"\norigin = \"https://court.invalid\""))
	f.Add([]byte("name = \"mine\"\nlike = \"fct-cf\"\nca_file = \"court.pem\""))
	f.Add([]byte("\xef\xbb\xbf[[call]]\r\nrows = \"count(//a)\"\r\ncount = \"string-length()\""))
	page := pageOf(f, "record-en", "docket")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := site.Parse(data)
		if err != nil {
			wantProfileError(t, err)
			return
		}
		id := caseID(t, "IMM-13-25")
		for _, body := range []string{ownBody, emptyBody, partiesBody, blockBody, `[{"a":[1]}]`, page} {
			exchange := contract.Exchange{Call: "docket", Status: 200, StartedAt: exchangeStart, Body: []byte(body)}
			reading := p.Read(id, []contract.Exchange{exchange})
			if (reading.Record != nil) != (reading.Verdict == contract.VerdictSuccess) {
				t.Errorf("verdict %s with record %v", reading.Verdict, reading.Record)
			}
		}
	})
}
