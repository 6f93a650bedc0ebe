package fetcher_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher"
)

// overwritingSite overwrites released bodies at once. A client does so with the next response.
type overwritingSite struct{ *site.Client }

func (s overwritingSite) Release(exchanges []contract.Exchange) {
	overwriteBodies(exchanges)
	s.Client.Release(exchanges)
}

func overwriteBodies(exchanges []contract.Exchange) {
	for _, x := range exchanges {
		for i := range x.Body[:cap(x.Body)] {
			x.Body[:cap(x.Body)][i] = 0xff
		}
	}
}

// docketOf returns a docket that no other case has, from 100 bytes to 30 KiB long.
func docketOf(id contract.CaseID) []byte {
	row := fmt.Sprintf(`{"COURT_NO":"%s","RE_NO":1,"RECORDED_ENTRY":"Order of %s"}`, id, id)
	return []byte(`{"Count":1,"data":[` + row + strings.Repeat(","+row, id.Number*7%400) + `]}`)
}

func TestStoredAnswersKeepReleasedBodies(t *testing.T) {
	t.Parallel()
	const jobs = 400
	court := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := contract.ParseCaseID(r.FormValue("courtnumber"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(docketOf(id))
	}))
	defer court.Close()
	profile, err := site.Load("fct-cf")
	if err != nil {
		t.Fatal(err)
	}
	client, err := site.NewClient(site.Options{Profile: profile, Origin: court.URL, UserAgent: "fct-scraper/test",
		RequestTimeout: time.Minute, JobTimeout: time.Minute, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f := newFixture(t, jobs)
	stop := f.startFetcher(func(o *fetcher.Options) { o.Site, o.Concurrency = overwritingSite{client}, 32 })
	f.waitUntil(func() bool {
		numbers, _ := f.answers()
		return len(numbers) == jobs
	})
	stop()
	f.readAnswers(1, func(pack contract.AnswerPack) {
		for _, answer := range pack.Answers {
			if x := answer.Exchanges; len(x) != 1 || !bytes.Equal(x[0].Body, docketOf(answer.CaseID)) {
				t.Errorf("%s: the stored body is not the docket of the case: %.100q", answer.CaseID, x[0].Body)
			}
		}
	})
}
