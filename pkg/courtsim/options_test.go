package courtsim_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

func serve(t *testing.T, faults ...courtsim.Fault) (*courtsim.Simulator, string) {
	t.Helper()
	sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100, Faults: faults})
	return sim, start(t, sim)
}

// start serves a simulator until the test ends.
func start(t testing.TB, sim *courtsim.Simulator) (origin string) {
	t.Helper()
	server, err := sim.Start("127.0.0.1:0")
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

func TestFaults_ShareAndTimes(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 8, Max: 3000, Faults: []courtsim.Fault{{Kind: "500", Share: 0.2}, {Kind: "502", Share: 0.01, Times: -1}}})
	hit, never := 0, 0
	for n := 1; n <= 3000; n++ {
		failures := 0
		for get(sim, callPath("proceedingQueriesRE", n)).Code != http.StatusOK && failures < 5 {
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

func TestParseBlock(t *testing.T) {
	t.Parallel()
	if block, err := courtsim.ParseBlock("100:429-bare"); err != nil || block != (courtsim.Block{After: 100, Kind: "429-bare"}) {
		t.Errorf("%+v, %v", block, err)
	}
	for _, text := range []string{"", "5", "0:403", "-1:403", "05:403", "5:500", "5:", "x:403"} {
		if _, err := courtsim.ParseBlock(text); !errors.Is(err, courtsim.ErrOptions) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNew_ListsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := courtsim.New(courtsim.Options{Max: -1, Missing: 1.5, Latency: time.Hour, Gaps: []contract.Range{{Start: 3, End: 1}}, TokenLife: -1,
		SoftBlockAfter: -1, BlockAfter: courtsim.Block{After: 1, Kind: "500"}, Faults: []courtsim.Fault{{Kind: "x"}}})
	if !errors.Is(err, courtsim.ErrOptions) {
		t.Fatal(err)
	}
	for _, field := range []string{"max -1", "missing 1.5", "latency 1h0m0s", "gap 3-1", `fault kind "x"`, "token life -1", "soft block after -1", `block kind "500"`} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %q", err, field)
		}
	}
	if _, err := newSimulator(t, courtsim.Options{}).Start("0.0.0.0:0"); !errors.Is(err, courtsim.ErrOptions) {
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
