package site_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// TestCalls keeps which calls each kind of case takes: no kind takes one more than it needs.
func TestCalls(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		docket, header, people http.HandlerFunc
		parties                bool
		calls                  []string
		verdict                contract.Verdict
	}{
		"record":              {bodyHandler(ownBody), nil, nil, false, []string{"docket"}, contract.VerdictSuccess},
		"record and parties":  {bodyHandler(ownBody), nil, bodyHandler(partiesBody), true, []string{"docket", "parties"}, contract.VerdictSuccess},
		"no record":           {bodyHandler(emptyBody), bodyHandler(emptyBody), nil, false, []string{"docket", "header"}, contract.VerdictNoRecord},
		"no record, parties":  {bodyHandler(emptyBody), bodyHandler(emptyBody), bodyHandler(partiesBody), true, []string{"docket", "header"}, contract.VerdictNoRecord},
		"header only":         {bodyHandler(emptyBody), bodyHandler(ownBody), nil, false, []string{"docket", "header", "docket"}, contract.VerdictSuccess},
		"header only, people": {bodyHandler(emptyBody), bodyHandler(ownBody), bodyHandler(partiesBody), true, []string{"docket", "header", "docket", "parties"}, contract.VerdictSuccess},
		"prefix matches":      {bodyHandler(otherBody), bodyHandler(otherBody), nil, false, []string{"docket", "header"}, contract.VerdictNoRecord},
		"mixed up":            {bodyHandler(unrelatedBody), nil, nil, false, []string{"docket"}, contract.VerdictTransient},
		"trouble":             {statusHandler(500, "no"), nil, nil, true, []string{"docket"}, contract.VerdictTransient},
		"trouble at the end":  {bodyHandler(ownBody), nil, statusHandler(500, "no"), true, []string{"docket", "parties"}, contract.VerdictTransient},
		"cut off":             {bodyHandler(ownBody[:len(ownBody)-1]), nil, bodyHandler(partiesBody), true, []string{"docket"}, contract.VerdictTransient},
		"error page":          {bodyHandler("<html>"), nil, nil, false, []string{"docket"}, contract.VerdictTransient},
		"blocked":             {statusHandler(403, ""), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded":             {bodyHandler(blockBody), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded later":       {bodyHandler(emptyBody), bodyHandler(blockBody), nil, false, []string{"docket", "header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header, "parties": test.people})
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

// TestBefore: the pace is asked ahead of each request, and what it says is kept.
func TestBefore(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody), "header": bodyHandler(emptyBody)})
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
		t.Errorf("requests at the server when the pace was asked (-want +got):\n%s", diff)
	}
	if len(exchanges) != 2 || exchanges[0].GapSeconds != 1 || exchanges[1].GapSeconds != 2 {
		t.Errorf("exchanges %+v, want gaps of 1 and 2 seconds", exchanges)
	}
}

// TestBeforeSaysNo: an error of the pace ends the attempt; no request leaves after it.
func TestBeforeSaysNo(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody), "header": bodyHandler(emptyBody)})
	c := newClient(t, server.URL, nil)
	halted := errors.New("halted")
	asked := 0
	exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		if asked++; asked > 1 {
			return 0, halted
		}
		return 0, nil
	})
	if !errors.Is(err, halted) || len(exchanges) != 1 || len(server.madeCalls()) != 1 {
		t.Errorf("error %v, %d exchanges, %d requests; want the pace's error after 1 and 1", err, len(exchanges), len(server.madeCalls()))
	}
}

// TestCancelledInTheWait: no request leaves once the context has ended, even if the pace lets it go.
func TestCancelledInTheWait(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(emptyBody)})
	c := newClient(t, server.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	exchanges, err := c.Fetch(ctx, caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		cancel()
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) || len(exchanges) != 0 || len(server.madeCalls()) != 0 {
		t.Errorf("error %v, %d exchanges, %d requests; want %v and none", err, len(exchanges), len(server.madeCalls()), context.Canceled)
	}
}

// TestCallsOfDoubtfulCases: the proof that there is no such case is asked for first, and is enough.
func TestCallsOfDoubtfulCases(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		docket, header, people http.HandlerFunc
		parties                bool
		calls                  []string
		verdict                contract.Verdict
	}{
		"no record":          {nil, bodyHandler(emptyBody), nil, true, []string{"header"}, contract.VerdictNoRecord},
		"prefix matches":     {nil, bodyHandler(otherBody), nil, false, []string{"header"}, contract.VerdictNoRecord},
		"record":             {bodyHandler(ownBody), bodyHandler(ownBody), nil, false, []string{"header", "docket"}, contract.VerdictSuccess},
		"record and parties": {bodyHandler(ownBody), bodyHandler(ownBody), bodyHandler(partiesBody), true, []string{"header", "docket", "parties"}, contract.VerdictSuccess},
		"header only":        {bodyHandler(emptyBody), bodyHandler(ownBody), nil, false, []string{"header", "docket", "docket"}, contract.VerdictSuccess},
		"trouble":            {nil, statusHandler(500, "no"), nil, false, []string{"header"}, contract.VerdictTransient},
		"trouble at the end": {statusHandler(500, "no"), bodyHandler(ownBody), nil, false, []string{"header", "docket"}, contract.VerdictTransient},
		"mixed up":           {nil, bodyHandler(unrelatedBody), nil, false, []string{"header"}, contract.VerdictTransient},
		"blocked":            {nil, statusHandler(403, ""), nil, false, []string{"header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header, "parties": test.people})
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
