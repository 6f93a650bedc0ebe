package generator_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// storeCase stores one collected case and the manifest of the run that fetched it.
func (f fixture) storeCase(m contract.Manifest) {
	f.t.Helper()
	collected, err := f.b.KV(f.t.Context(), contract.BucketCollected)
	if err != nil {
		f.t.Fatal(err)
	}
	m.Version, m.RunID, m.Prefix, m.Year = contract.MessageVersion, "before", "IMM", "24"
	key, err := json.Marshal(contract.Collected{Outcome: contract.Success, RunID: m.RunID, At: time.Now()})
	if err == nil {
		_, err = collected.Put(f.t.Context(), m.Case(7).Key(), key)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	manifest, err := json.Marshal(m)
	if err == nil {
		_, err = f.kv.Put(f.t.Context(), m.RunID.ManifestKey(), manifest)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestStartRejected_StoreOfOtherSite(t *testing.T) {
	t.Parallel()
	const court, sim = "https://www.fct-cf.ca", "http://127.0.0.1:8090"
	for name, c := range map[string]struct {
		held   contract.Manifest
		origin string
		// other is the origin that the rejection names; "" if the start is accepted.
		other string
	}{
		"the same":                      {contract.Manifest{Site: "fct-cf", Origin: court}, court, ""},
		"the same, written differently": {contract.Manifest{Site: "fct-cf", Origin: court}, "https://WWW.fct-cf.ca:443", ""},
		"the simulator on another port": {contract.Manifest{Site: "sim", Origin: sim}, "http://127.0.0.1:9", ""},
		"the simulator's, then real":    {contract.Manifest{Site: "fct-cf", Origin: sim}, court, sim},
		"real, then the simulator":      {contract.Manifest{Site: "fct-cf", Origin: court}, sim, court},
		"another real one":              {contract.Manifest{Site: "fct-cf", Origin: court}, "https://other.test", court},
		"old, with base_url":            {contract.Manifest{Site: "fct-cf", Config: map[string]any{"base_url": sim}}, court, sim},
		"old, of a profile":             {contract.Manifest{Site: "fct-cf-html", Config: map[string]any{"base_url": ""}}, sim, court},
		"old, of the same profile":      {contract.Manifest{Site: "fct-cf-html", Config: map[string]any{"base_url": ""}}, court, ""},
		"old, of the own simulator":     {contract.Manifest{Site: "sim", Config: map[string]any{"base_url": ""}}, court, "http://127.0.0.1"},
		"old, untold":                   {contract.Manifest{Site: "fct-cf"}, court, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.storeCase(c.held)
			defer f.runServiceAt("fct-cf", c.origin)()
			result := f.send(contract.SubjectStart, `{"year":"25","end":3}`)
			switch {
			case c.other == "" && (result.Rejected != "" || result.RunID == ""):
				t.Errorf("refused: %+v", result)
			case c.other != "" && (!strings.Contains(result.Rejected, c.origin) || !strings.Contains(result.Rejected, c.other) || result.RunID != ""):
				t.Errorf("%+v, want a refusal that names %s and %s", result, c.origin, c.other)
			}
		})
	}
}
