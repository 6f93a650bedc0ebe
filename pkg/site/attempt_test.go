package site_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// TestFetch_Calls checks which calls each kind of case takes: none takes more than it needs.
func TestFetch_Calls(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		docket, header, people http.HandlerFunc
		parties                bool
		calls                  []string
		verdict                contract.Verdict
	}{
		"record": {bodyHandler(ownBody), nil, nil, false, []string{"docket"}, contract.VerdictSuccess},
		"record and parties": {bodyHandler(ownBody), nil, bodyHandler(partiesBody), true,
			[]string{"docket", "parties"}, contract.VerdictSuccess},
		"no record": {bodyHandler(emptyBody), bodyHandler(emptyBody), nil, false,
			[]string{"docket", "header"}, contract.VerdictNoRecord},
		"no record, parties": {bodyHandler(emptyBody), bodyHandler(emptyBody), bodyHandler(partiesBody), true,
			[]string{"docket", "header"}, contract.VerdictNoRecord},
		"header only": {bodyHandler(emptyBody), bodyHandler(ownBody), nil, false,
			[]string{"docket", "header", "docket"}, contract.VerdictSuccess},
		"header only, people": {bodyHandler(emptyBody), bodyHandler(ownBody), bodyHandler(partiesBody), true,
			[]string{"docket", "header", "docket", "parties"}, contract.VerdictSuccess},
		"prefix matches": {bodyHandler(otherBody), bodyHandler(otherBody), nil, false,
			[]string{"docket", "header"}, contract.VerdictNoRecord},
		"mixed up": {bodyHandler(unrelatedBody), nil, nil, false, []string{"docket"},
			contract.VerdictTransient},
		"trouble": {statusHandler(500, "no"), nil, nil, true, []string{"docket"},
			contract.VerdictTransient},
		"trouble at the end": {bodyHandler(ownBody), nil, statusHandler(500, "no"), true,
			[]string{"docket", "parties"}, contract.VerdictTransient},
		"cut off": {bodyHandler(ownBody[:len(ownBody)-1]), nil, bodyHandler(partiesBody), true,
			[]string{"docket"}, contract.VerdictTransient},
		"error page": {bodyHandler("<html>"), nil, nil, false, []string{"docket"}, contract.VerdictTransient},
		"blocked":    {statusHandler(403, ""), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded":    {bodyHandler(blockBody), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded later": {bodyHandler(emptyBody), bodyHandler(blockBody), nil, false,
			[]string{"docket", "header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header,
				"parties": test.people})
			c := newClient(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			exchanges := fetchCase(t, c)
			if diff := cmp.Diff(test.calls, server.madeCalls()); diff != "" {
				t.Errorf("calls that reached the server (-want +got):\n%s", diff)
			}
			if len(exchanges) != len(test.calls) {
				t.Errorf("%d exchanges for %d calls", len(exchanges), len(test.calls))
			}
			wantReading(t, c, exchanges, test.verdict, "")
		})
	}
}

// TestFetch_Before: before is called ahead of each request, and its gap is recorded.
func TestFetch_Before(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody),
		"header": bodyHandler(emptyBody)})
	c := newClient(t, server.URL, nil)
	var made []int
	exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		made = append(made, len(server.madeCalls()))
		return time.Duration(len(made)) * time.Second, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{0, 1}, made); diff != "" {
		t.Errorf("requests at the server at each call of before (-want +got):\n%s", diff)
	}
	if len(exchanges) != 2 || exchanges[0].GapSeconds != 1 || exchanges[1].GapSeconds != 2 {
		t.Errorf("exchanges %+v, want gaps of 1 and 2 seconds", exchanges)
	}
}

// TestFetch_BeforeFails: an error of before ends the attempt without another request.
func TestFetch_BeforeFails(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody),
		"header": bodyHandler(emptyBody)})
	c := newClient(t, server.URL, nil)
	halted := errors.New("halted")
	requests := 0
	exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		if requests++; requests > 1 {
			return 0, halted
		}
		return 0, nil
	})
	if !errors.Is(err, halted) || len(exchanges) != 1 || len(server.madeCalls()) != 1 {
		t.Errorf("error %v, %d exchanges, %d requests; want the pace's error after 1 and 1", err, len(exchanges),
			len(server.madeCalls()))
	}
}

// TestFetch_CanceledWhileWaiting: no request is sent after the context has ended, even if before
// returns no error.
func TestFetch_CanceledWhileWaiting(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody)})
	c := newClient(t, server.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	exchanges, err := c.Fetch(ctx, caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		cancel()
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) || len(exchanges) != 0 || len(server.madeCalls()) != 0 {
		t.Errorf("error %v, %d exchanges, %d requests; want %v and none", err, len(exchanges),
			len(server.madeCalls()), context.Canceled)
	}
}

// TestFetchProofFirst_Calls: the proving call is made first, and is enough for a case that does not
// exist.
func TestFetchProofFirst_Calls(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		docket, header, people http.HandlerFunc
		parties                bool
		calls                  []string
		verdict                contract.Verdict
	}{
		"no record":      {nil, bodyHandler(emptyBody), nil, true, []string{"header"}, contract.VerdictNoRecord},
		"prefix matches": {nil, bodyHandler(otherBody), nil, false, []string{"header"}, contract.VerdictNoRecord},
		"record": {bodyHandler(ownBody), bodyHandler(ownBody), nil, false, []string{"header", "docket"},
			contract.VerdictSuccess},
		"record and parties": {bodyHandler(ownBody), bodyHandler(ownBody), bodyHandler(partiesBody), true,
			[]string{"header", "docket", "parties"}, contract.VerdictSuccess},
		"header only": {bodyHandler(emptyBody), bodyHandler(ownBody), nil, false,
			[]string{"header", "docket", "docket"}, contract.VerdictSuccess},
		"trouble": {nil, statusHandler(500, "no"), nil, false, []string{"header"},
			contract.VerdictTransient},
		"trouble at the end": {statusHandler(500, "no"), bodyHandler(ownBody), nil, false,
			[]string{"header", "docket"}, contract.VerdictTransient},
		"mixed up": {nil, bodyHandler(unrelatedBody), nil, false, []string{"header"},
			contract.VerdictTransient},
		"blocked": {nil, statusHandler(403, ""), nil, false, []string{"header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header,
				"parties": test.people})
			c := newClient(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			exchanges, err := c.FetchProofFirst(t.Context(), caseID(t, "IMM-13-25"), noPause)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.calls, server.madeCalls()); diff != "" {
				t.Errorf("calls that reached the server (-want +got):\n%s", diff)
			}
			wantReading(t, c, exchanges, test.verdict, "")
		})
	}
}

// TestFetch_Header: with the header, the call for it is made once, whatever the order of the calls.
func TestFetch_Header(t *testing.T) {
	t.Parallel()
	header := strings.Replace(ownBody, `"RE_NO"`, `"OFF_CD":"TOR","RE_NO"`, 1)
	for name, test := range map[string]struct {
		docket, header http.HandlerFunc
		parties, first bool
		calls          []string
		verdict        contract.Verdict
		flags          []string
	}{
		"record": {bodyHandler(ownBody), bodyHandler(header), false, false, []string{"docket", "header"},
			contract.VerdictSuccess, []string{}},
		"record and parties": {bodyHandler(ownBody), bodyHandler(header), true, false,
			[]string{"docket", "header", "parties"}, contract.VerdictSuccess, []string{}},
		"record, proof first": {bodyHandler(ownBody), bodyHandler(header), false, true, []string{"header", "docket"},
			contract.VerdictSuccess, []string{}},
		"header only": {bodyHandler(emptyBody), bodyHandler(header), false, false,
			[]string{"docket", "header", "docket"}, contract.VerdictSuccess, []string{"header-only"}},
		"no record": {bodyHandler(emptyBody), bodyHandler(emptyBody), false, false,
			[]string{"docket", "header"}, contract.VerdictNoRecord, nil},
		"not listed": {bodyHandler(ownBody), bodyHandler(emptyBody), false, false,
			[]string{"docket", "header"}, contract.VerdictSuccess, []string{"not-listed"}},
		"bad docket": {bodyHandler(`{"data":[{"COURT_NO":"IMM-13-25"`), nil, false, false,
			[]string{"docket"}, contract.VerdictTransient, nil},
		"trouble at the end": {bodyHandler(ownBody), statusHandler(500, "no"), false, false,
			[]string{"docket", "header"}, contract.VerdictTransient, nil},
		"blocked at the end": {bodyHandler(ownBody), statusHandler(403, ""), false, false,
			[]string{"docket", "header"}, contract.VerdictBlocked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{
				"docket": test.docket, "header": test.header, "parties": bodyHandler(partiesBody),
			})
			c := newClient(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			fetch := c.Fetch
			if test.first {
				fetch = c.FetchProofFirst
			}
			id := caseID(t, "IMM-13-25")
			exchanges, err := fetch(site.WithHeader(t.Context()), id, noPause)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.calls, server.madeCalls()); diff != "" {
				t.Errorf("calls that reached the server (-want +got):\n%s", diff)
			}
			wantReading(t, c, exchanges, test.verdict, "")
			record := c.Profile.Read(id, exchanges).Record
			if test.flags == nil {
				return
			}
			if listed := name != "not listed"; (record.OfficeCode == "TOR") != listed {
				t.Errorf("office code %q", record.OfficeCode)
			}
			if diff := cmp.Diff(test.flags, record.Flags); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
		})
	}
}

// docketSite lists every case but returns a docket only for some values of division. The channel
// receives the requested values.
func docketSite(t *testing.T, gives func(division, number string) bool) (*fakeSite, chan string) {
	t.Helper()
	requests := make(chan string, 100)
	row := func(number string) string { return strings.ReplaceAll(ownBody, "IMM-13-25", number) }
	return startSite(t, map[string]http.HandlerFunc{
		"docket": func(w http.ResponseWriter, r *http.Request) {
			division, number := r.URL.Query().Get("division"), r.URL.Query().Get("courtnumber")
			requests <- division
			if gives(division, number) {
				_, _ = io.WriteString(w, row(number))
			} else {
				_, _ = io.WriteString(w, emptyBody)
			}
		},
		"header": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, row(r.URL.Query().Get("courtnumber")))
		},
		"parties": bodyHandler(partiesBody),
	}), requests
}

func drain(requests chan string) (all []string) {
	for len(requests) > 0 {
		all = append(all, <-requests)
	}
	return all
}

// TestQueryForms: a docket is requested with the case id as division, and with the letter if the
// case exists without a docket. The form that returned a docket comes first from then on, and is
// believed if a docket is empty.
func TestQueryForms(t *testing.T) {
	t.Parallel()
	number := func(division, number string) bool { return division == number }
	letter := func(division, _ string) bool { return division == "t" || division == "a" }
	for name, test := range map[string]struct {
		gives    func(division, number string) bool
		cases    []string
		requests []string
		// entries are those of the last case.
		entries  int
		doubtful bool
	}{
		"number": {number, []string{"IMM-1-25", "IMM-2-25"}, []string{"IMM-1-25", "IMM-2-25"}, 1, false},
		"letter": {letter, []string{"IMM-1-25", "IMM-2-25", "IMM-3-25"},
			[]string{"IMM-1-25", "t", "t", "t"}, 1, false},
		"letter, doubtful": {letter, []string{"IMM-1-25", "IMM-2-25"}, []string{"IMM-1-25", "t", "t"}, 1, true},
		"letters of a series": {letter, []string{"IMM-1-25", "A-1-25", "A-2-25"},
			[]string{"IMM-1-25", "t", "A-1-25", "a", "a"}, 1, false},
		"both": {func(string, string) bool { return true }, []string{"IMM-1-25", "IMM-2-25"},
			[]string{"IMM-1-25", "IMM-2-25"}, 1, false},
		"neither": {func(string, string) bool { return false }, []string{"IMM-1-25", "IMM-2-25"},
			[]string{"IMM-1-25", "t", "IMM-2-25", "t"}, 0, false},
		"an empty docket": {func(d, n string) bool { return d == n && n != "IMM-2-25" },
			[]string{"IMM-1-25", "IMM-2-25"}, []string{"IMM-1-25", "IMM-2-25"}, 0, false},
		"an empty one, letter": {func(d, n string) bool { return d == "t" && n != "IMM-2-25" },
			[]string{"IMM-1-25", "IMM-2-25"}, []string{"IMM-1-25", "t", "t"}, 0, false},
		"an empty one, first": {func(d, n string) bool { return d == "t" && n != "IMM-1-25" },
			[]string{"IMM-1-25", "IMM-2-25"}, []string{"IMM-1-25", "t", "IMM-2-25", "t"}, 1, false},
	} {
		for _, parties := range []bool{false, true} {
			server, requests := docketSite(t, test.gives)
			c := newClient(t, server.URL, func(o *site.Options) { o.Parties = parties })
			var reading contract.Classification
			for _, text := range test.cases {
				ask := c.Fetch
				if test.doubtful {
					ask = c.FetchProofFirst
				}
				exchanges, err := ask(t.Context(), caseID(t, text), noPause)
				if err != nil {
					t.Fatal(err)
				}
				checkReading(t, c.Profile, caseID(t, text), exchanges)
				if reading = c.Profile.Read(caseID(t, text), exchanges); reading.Verdict != contract.VerdictSuccess {
					t.Errorf("%s: %s is read %s, %q", name, text, reading.Verdict, reading.Error)
				}
			}
			if diff := cmp.Diff(test.requests, drain(requests)); diff != "" {
				t.Errorf("%s, parties %t: requested divisions (-want +got):\n%s", name, parties, diff)
			}
			if reading.Record == nil || reading.Record.Entries != test.entries || parties &&
				len(reading.Record.Parties) != 1 {
				t.Errorf("%s, parties %t: record %+v, want %d entries", name, parties, reading.Record, test.entries)
			}
		}
	}
}

// TestQueryForms_Notes: a note tells that the docket came from the other form.
func TestQueryForms_Notes(t *testing.T) {
	t.Parallel()
	server, _ := docketSite(t, func(division, _ string) bool { return division == "t" })
	c := newClient(t, server.URL, nil)
	exchanges := fetchCase(t, c)
	if len(exchanges) != 3 {
		t.Fatalf("%d exchanges", len(exchanges))
	}
	if diff := cmp.Diff([]string{`other-query: "docket"`},
		c.Profile.Read(caseID(t, "IMM-13-25"), exchanges).Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestQueryForms_Failures: a failure or a block in the other form is the result of the attempt. A
// case that does not exist is not requested in the other form.
func TestQueryForms_Failures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		other, header http.HandlerFunc
		verdict       contract.Verdict
		requests      int
	}{
		"trouble":           {statusHandler(500, "no"), bodyHandler(ownBody), contract.VerdictTransient, 3},
		"block":             {bodyHandler(blockBody), bodyHandler(ownBody), contract.VerdictBlocked, 3},
		"strangers":         {bodyHandler(unrelatedBody), bodyHandler(ownBody), contract.VerdictTransient, 3},
		"no such case":      {bodyHandler(ownBody), bodyHandler(emptyBody), contract.VerdictNoRecord, 2},
		"header in trouble": {bodyHandler(ownBody), statusHandler(500, "no"), contract.VerdictTransient, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"header": test.header,
				"docket": func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("division") == "t" {
						test.other(w, r)
					} else {
						bodyHandler(emptyBody)(w, r)
					}
				}})
			c := newClient(t, server.URL, nil)
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, test.verdict, "")
			if len(exchanges) != test.requests {
				t.Errorf("%d requests, want %d", len(exchanges), test.requests)
			}
		})
	}
}
