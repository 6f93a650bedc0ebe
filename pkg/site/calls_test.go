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
		"record":              {says(ours), nil, nil, false, []string{"docket"}, contract.VerdictSuccess},
		"record and parties":  {says(ours), nil, says(people), true, []string{"docket", "parties"}, contract.VerdictSuccess},
		"no record":           {says(nothing), says(nothing), nil, false, []string{"docket", "header"}, contract.VerdictNoRecord},
		"no record, parties":  {says(nothing), says(nothing), says(people), true, []string{"docket", "header"}, contract.VerdictNoRecord},
		"header only":         {says(nothing), says(ours), nil, false, []string{"docket", "header", "docket"}, contract.VerdictSuccess},
		"header only, people": {says(nothing), says(ours), says(people), true, []string{"docket", "header", "docket", "parties"}, contract.VerdictSuccess},
		"prefix matches":      {says(others), says(others), nil, false, []string{"docket", "header"}, contract.VerdictNoRecord},
		"mixed up":            {says(strange), nil, nil, false, []string{"docket"}, contract.VerdictTransient},
		"trouble":             {status(500, "no"), nil, nil, true, []string{"docket"}, contract.VerdictTransient},
		"trouble at the end":  {says(ours), nil, status(500, "no"), true, []string{"docket", "parties"}, contract.VerdictTransient},
		"cut off":             {says(ours[:len(ours)-1]), nil, says(people), true, []string{"docket"}, contract.VerdictTransient},
		"error page":          {says("<html>"), nil, nil, false, []string{"docket"}, contract.VerdictTransient},
		"blocked":             {status(403, ""), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded":             {says(guard), nil, nil, true, []string{"docket"}, contract.VerdictBlocked},
		"guarded later":       {says(nothing), says(guard), nil, false, []string{"docket", "header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header, "parties": test.people})
			c := client(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			exchanges := asks(t, c)
			if diff := cmp.Diff(test.calls, server.made()); diff != "" {
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
	server := start(t, map[string]http.HandlerFunc{"docket": says(nothing), "header": says(nothing)})
	c := client(t, server.URL, nil)
	var made []int
	exchanges, err := c.Ask(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		made = append(made, len(server.made()))
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
	server := start(t, map[string]http.HandlerFunc{"docket": says(nothing), "header": says(nothing)})
	c := client(t, server.URL, nil)
	halted := errors.New("halted")
	asked := 0
	exchanges, err := c.Ask(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		if asked++; asked > 1 {
			return 0, halted
		}
		return 0, nil
	})
	if !errors.Is(err, halted) || len(exchanges) != 1 || len(server.made()) != 1 {
		t.Errorf("error %v, %d exchanges, %d requests; want the pace's error after 1 and 1", err, len(exchanges), len(server.made()))
	}
}

// TestCancelledInTheWait: no request leaves once the context has ended, even if the pace lets it go.
func TestCancelledInTheWait(t *testing.T) {
	t.Parallel()
	server := start(t, map[string]http.HandlerFunc{"docket": says(nothing)})
	c := client(t, server.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	exchanges, err := c.Ask(ctx, caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
		cancel()
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) || len(exchanges) != 0 || len(server.made()) != 0 {
		t.Errorf("error %v, %d exchanges, %d requests; want %v and none", err, len(exchanges), len(server.made()), context.Canceled)
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
		"no record":          {nil, says(nothing), nil, true, []string{"header"}, contract.VerdictNoRecord},
		"prefix matches":     {nil, says(others), nil, false, []string{"header"}, contract.VerdictNoRecord},
		"record":             {says(ours), says(ours), nil, false, []string{"header", "docket"}, contract.VerdictSuccess},
		"record and parties": {says(ours), says(ours), says(people), true, []string{"header", "docket", "parties"}, contract.VerdictSuccess},
		"header only":        {says(nothing), says(ours), nil, false, []string{"header", "docket", "docket"}, contract.VerdictSuccess},
		"trouble":            {nil, status(500, "no"), nil, false, []string{"header"}, contract.VerdictTransient},
		"trouble at the end": {status(500, "no"), says(ours), nil, false, []string{"header", "docket"}, contract.VerdictTransient},
		"mixed up":           {nil, says(strange), nil, false, []string{"header"}, contract.VerdictTransient},
		"blocked":            {nil, status(403, ""), nil, false, []string{"header"}, contract.VerdictBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, map[string]http.HandlerFunc{"docket": test.docket, "header": test.header, "parties": test.people})
			c := client(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			exchanges, err := c.AskDoubtful(t.Context(), caseID(t, "IMM-13-25"), atOnce)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.calls, server.made()); diff != "" {
				t.Errorf("calls that reached the server (-want +got):\n%s", diff)
			}
			wantReading(t, c, exchanges, test.verdict, "")
		})
	}
}
