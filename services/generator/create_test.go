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

// A generator that is killed between the two writes leaves a registered run without a manifest.
func TestStart_CreatesRegisteredRun(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	batch := defaults()
	batch.Year, batch.End = "25", 5
	if _, err := f.kv.PutString(t.Context(), contract.BatchKey(batch.Identity("sim")), "registered"); err != nil {
		t.Fatal(err)
	}
	defer f.runService()()
	const body = `{"year":"25","end":5}`
	if got := f.send(contract.SubjectStart, body); got.RunID != "registered" {
		t.Errorf("%+v, want the run that the other generator registered", got)
	}
	f.endRun("registered", contract.Completed)
	next := f.send(contract.SubjectStart, body).RunID
	entry, err := f.kv.Get(t.Context(), contract.BatchKey(batch.Identity("sim")))
	if err != nil || next == "registered" || string(entry.Value()) != string(next) {
		t.Errorf("run %s, %v; want a new run that is registered", next, err)
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
		"the same":                      {contract.Manifest{Site: "fct-cf", Origin: realSite}, realSite, ""},
		"the same, written differently": {contract.Manifest{Site: "fct-cf", Origin: realSite}, "https://WWW.fct-cf.ca:443", ""},
		"the simulator on another port": {contract.Manifest{Site: "sim", Origin: sim}, "http://127.0.0.1:9", ""},
		"the simulator's, then real":    {contract.Manifest{Site: "fct-cf", Origin: sim}, realSite, sim},
		"real, then the simulator":      {contract.Manifest{Site: "fct-cf", Origin: realSite}, sim, realSite},
		"another real site":             {contract.Manifest{Site: "fct-cf", Origin: realSite}, "https://other.test", realSite},
		"unknown":                       {contract.Manifest{Site: "fct-cf"}, realSite, ""},
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
