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
	const realSite, sim = "https://www.fct-cf.ca", "http://127.0.0.1:8090"
	for name, c := range map[string]struct {
		stored contract.Manifest
		origin string
		// other is the origin that the rejection names; "" if the start is accepted.
		other string
	}{
		"the same":                       {contract.Manifest{Site: "fct-cf", Origin: realSite}, realSite, ""},
		"the same, written differently":  {contract.Manifest{Site: "fct-cf", Origin: realSite}, "https://WWW.fct-cf.ca:443", ""},
		"the simulator on another port":  {contract.Manifest{Site: "sim", Origin: sim}, "http://127.0.0.1:9", ""},
		"the simulator's, then real":     {contract.Manifest{Site: "fct-cf", Origin: sim}, realSite, sim},
		"real, then the simulator":       {contract.Manifest{Site: "fct-cf", Origin: realSite}, sim, realSite},
		"another real site":              {contract.Manifest{Site: "fct-cf", Origin: realSite}, "https://other.test", realSite},
		"old, with base_url":             {contract.Manifest{Site: "fct-cf", Config: map[string]any{"base_url": sim}}, realSite, sim},
		"old, of a profile":              {contract.Manifest{Site: "fct-cf-html", Config: map[string]any{"base_url": ""}}, sim, realSite},
		"old, of the same profile":       {contract.Manifest{Site: "fct-cf-html", Config: map[string]any{"base_url": ""}}, realSite, ""},
		"old, of the embedded simulator": {contract.Manifest{Site: "sim", Config: map[string]any{"base_url": ""}}, realSite, "http://127.0.0.1"},
		"old, unknown":                   {contract.Manifest{Site: "fct-cf"}, realSite, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.storeCase(c.stored)
			defer f.runServiceAt("fct-cf", c.origin)()
			result := f.send(contract.SubjectStart, `{"year":"25","end":3}`)
			switch {
			case c.other == "" && (result.Rejected != "" || result.RunID == ""):
				t.Errorf("rejected: %+v", result)
			case c.other != "" && (!strings.Contains(result.Rejected, c.origin) ||
				!strings.Contains(result.Rejected, c.other) || result.RunID != ""):
				t.Errorf("%+v, want a rejection that names %s and %s", result, c.origin, c.other)
			}
		})
	}
}
