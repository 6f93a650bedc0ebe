package courtsim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

func serve(t *testing.T, faults ...courtsim.Fault) (*courtsim.Court, string) {
	t.Helper()
	court := newCourt(t, courtsim.Options{Seed: 3, Max: 100, Faults: faults})
	return court, start(t, court)
}

// start serves a court until the test ends.
func start(t testing.TB, court *courtsim.Court) (origin string) {
	t.Helper()
	server, err := court.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// fetch asks over a connection of its own, for a second at most.
func fetch(t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func TestFaultsOnTheWire(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		status int
		text   string
		err    error
	}{
		"500": {status: 500}, "502": {status: 502}, "503": {status: 503}, "403": {status: 403}, "429": {status: 429},
		"timeout": {err: context.DeadlineExceeded}, "slow": {err: context.DeadlineExceeded},
		"drip":  {status: 200, err: context.DeadlineExceeded, text: `{"Count"`},
		"reset": {err: syscall.ECONNRESET}, "truncated": {status: 200, err: io.ErrUnexpectedEOF, text: `{"Count"`},
		"halfjson": {status: 200, text: `{"Count"`}, "html": {status: 200, text: "Sorry, an error"}, "empty": {status: 200},
		"waf": {status: 200, text: "support ID"}, "challenge": {status: 200, text: "captcha"},
		"wrong": {status: 200, text: `"IMM-2-25"`}, "garbage": {status: 200, text: "garbage"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			court, url := serve(t, courtsim.Fault{Kind: kind, Share: 1})
			status, text, err := fetch(t, url+path("proceedingQueriesRE", 1))
			if status != want.status || !errors.Is(err, want.err) || !strings.Contains(text, want.text) {
				t.Errorf("status %d, %.60q, %v; want %d, %q, %v", status, text, err, want.status, want.text, want.err)
			}
			if got := court.Stats().Faults[kind]; got != 1 {
				t.Errorf("%d faults counted", got)
			}
		})
	}
	if n := len(courtsim.FaultKinds()); n != 17 {
		t.Errorf("%d kinds, 17 are tried here", n)
	}
}

func TestSharesAreOfNumbersAndHeal(t *testing.T) {
	t.Parallel()
	court := newCourt(t, courtsim.Options{Seed: 8, Max: 3000, Faults: []courtsim.Fault{{Kind: "500", Share: 0.2}, {Kind: "502", Share: 0.01, Times: -1}}})
	hit, never := 0, 0
	for n := 1; n <= 3000; n++ {
		failures := 0
		for ask(court, path("proceedingQueriesRE", n)).Code != http.StatusOK && failures < 5 {
			failures++
		}
		switch {
		case failures == 5:
			never++
		case failures > 2:
			t.Errorf("number %d failed %d times, want at most twice", n, failures)
		case failures > 0:
			hit++
		}
	}
	if hit < 520 || hit > 680 || never < 15 || never > 50 {
		t.Errorf("%d of 3000 numbers were hit, %d for ever; want about 600 and 30", hit, never)
	}
}

func TestRequestsAfterABlockAreCounted(t *testing.T) {
	t.Parallel()
	court := newCourt(t, courtsim.Options{Seed: 8, Max: 30, Faults: []courtsim.Fault{{Kind: "403", Share: 1, Times: 1}}})
	for range 3 {
		ask(court, path("proceedingQueriesRE", 7))
	}
	if s := court.Stats(); s.AfterBlock != 2 || s.FirstBlock == "" || s.Faults["403"] != 1 || s.AfterBlockLastSeconds <= 0 {
		t.Errorf("%+v", s)
	}
}

func TestParseFaultAndGap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]courtsim.Fault{
		"500:0.2": {Kind: "500", Share: 0.2}, "timeout:0.01:forever": {Kind: "timeout", Share: 0.01, Times: courtsim.Forever}, "waf:1:3": {Kind: "waf", Share: 1, Times: 3},
	} {
		got, err := courtsim.ParseFault(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s gives %+v, %s, %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "500", "500:2", "500:-1", "500:NaN", "500:0.1:0", "500:0.1:x", "nonsense:0.1", "500:0.1:1:1", "500:0.1:1001"} {
		if _, err := courtsim.ParseFault(text); !errors.Is(err, courtsim.ErrOptions) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if gap, err := courtsim.ParseGap("120-170"); err != nil || gap != (contract.Range{Start: 120, End: 170}) {
		t.Errorf("%v, %v", gap, err)
	}
	for _, text := range []string{"", "5", "0-5", "9-3", "1-100000", "a-b", "-1-5", "01-5"} {
		if _, err := courtsim.ParseGap(text); !errors.Is(err, courtsim.ErrOptions) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestBadOptionsAreToldTogether(t *testing.T) {
	t.Parallel()
	_, err := courtsim.New(courtsim.Options{Max: -1, Missing: 1.5, Latency: time.Hour, Gaps: []contract.Range{{Start: 3, End: 1}}, Faults: []courtsim.Fault{{Kind: "x"}}})
	if !errors.Is(err, courtsim.ErrOptions) {
		t.Fatal(err)
	}
	for _, field := range []string{"max -1", "missing 1.5", "latency 1h0m0s", "gap 3-1", `fault kind "x"`} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %q", err, field)
		}
	}
	if _, err := newCourt(t, courtsim.Options{}).Start("0.0.0.0:0"); !errors.Is(err, courtsim.ErrOptions) {
		t.Errorf("an address that others reach: %v", err)
	}
}

func FuzzParseFault(f *testing.F) {
	for _, seed := range []string{"500:0.2", "waf:1:3", "timeout:0.01:forever", "x:y:z", "::", "500:1e-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := courtsim.ParseFault(text)
		if err != nil {
			return
		}
		if again, err := courtsim.ParseFault(fault.String()); err != nil || again != fault {
			t.Errorf("%q gives %+v, which reads back as %+v: %v", text, fault, again, err)
		}
	})
}

func FuzzParseGap(f *testing.F) {
	for _, seed := range []string{"120-170", "1-1", "9-3", "-", "1-99999", "٣-٤"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		gap, err := courtsim.ParseGap(text)
		if err == nil && (gap.Start < 1 || gap.End < gap.Start || gap.End > contract.MaxNumber) {
			t.Errorf("%q gives %+v", text, gap)
		}
	})
}
