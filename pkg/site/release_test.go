package site_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fct-scraper/pkg/contract"
)

// longDocket returns a docket that no other case has; every third is longer than the buffers that are
// kept.
func longDocket(id contract.CaseID) string {
	row := fmt.Sprintf(`{"COURT_NO":"%s","RE_NO":1,"RECORDED_ENTRY":"Order of %s"}`, id, id)
	times := id.Number % 100
	if id.Number%3 == 0 {
		times = 6000
	}
	return `{"Count":1,"data":[` + row + strings.Repeat(","+row, times) + `]}`
}

// A client that used the memory of a body too early would mix up cases.
func TestRelease_BodiesStayApart(t *testing.T) {
	t.Parallel()
	court := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
		id, err := contract.ParseCaseID(r.FormValue("courtnumber"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		bodyHandler(longDocket(id))(w, r)
	}})
	client := newClient(t, court.URL, nil)
	fetch := func(number int) {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
		exchanges, err := client.Fetch(t.Context(), id, noPause)
		if err != nil || len(exchanges) != 1 || string(exchanges[0].Body) != longDocket(id) {
			t.Errorf("%s: not its docket: %v", id, err)
			return
		}
		// An earlier user that still read a body would read this.
		body := exchanges[0].Body
		copy(body, bytes.Repeat([]byte{0xff}, len(body)))
		client.Release(exchanges)
		if exchanges[0].Body != nil {
			t.Errorf("%s: it still has its body", id)
		}
		client.Release(exchanges) // a second time
	}
	var fetching sync.WaitGroup
	for worker := range 8 {
		fetching.Go(func() {
			for i := range 15 {
				fetch(worker*15 + i + 1)
			}
		})
	}
	fetching.Wait()
}

// The body of robots.txt stays with its rules.
func TestRelease_KeepsRobots(t *testing.T) {
	t.Parallel()
	const text = "User-agent: *\nDisallow: /private\n"
	court := startSite(t, map[string]http.HandlerFunc{"/robots.txt": bodyHandler(text), "docket": bodyHandler(ownBody)})
	client := newClient(t, court.URL, nil)
	rules, err := client.Robots(t.Context(), noPause)
	if err != nil {
		t.Fatal(err)
	}
	client.Release(append([]contract.Exchange{}, rules.Requests...))
	for range 20 {
		client.Release(fetchCase(t, client))
	}
	if got := string(rules.Requests[0].Body); got != text {
		t.Errorf("robots.txt became %q", got)
	}
}
