package explain

import (
	"encoding/json"
	"testing"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

// fixture is a broker with one run.
type fixture struct {
	t        *testing.T
	bus      *bus.Bus
	manifest contract.Manifest
}

// newFixture creates a running run of the numbers 1 to 5 with maxRetries.
func newFixture(t *testing.T, maxRetries int) fixture {
	t.Helper()
	f := fixture{t: t, bus: fcttest.Broker(t), manifest: contract.Manifest{
		Version: contract.MessageVersion, RunID: "run", Prefix: "IMM", Year: "25", Site: "court",
		Range: contract.Range{Start: 1, End: 5}, CreatedAt: fcttest.StartTime(),
		RunSettings: contract.RunSettings{MaxRetries: maxRetries},
	}}
	f.putRun()
	return f
}

// putRun writes the manifest and the state running.
func (f fixture) putRun() {
	f.t.Helper()
	f.put(contract.BucketRuns, f.manifest.RunID.ManifestKey(), f.manifest)
	f.put(contract.BucketRuns, f.manifest.RunID.StateKey(), contract.State{Status: contract.Running,
		At: fcttest.StartTime(), Round: 1})
}

func (f fixture) put(bucket, key string, value any) {
	f.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish("$KV."+bucket+"."+key, data)
}

func (f fixture) publish(subject string, data []byte) {
	f.t.Helper()
	if _, err := f.bus.Publish(f.t.Context(), &nats.Msg{Subject: subject, Data: data}); err != nil {
		f.t.Fatal(err)
	}
}

// publishEach publishes each entry as a message of the ledger.
func (f fixture) publishEach(entries ...contract.Entry) {
	f.t.Helper()
	for _, entry := range entries {
		data, err := ledger.Encode(contract.EntryPack{Version: contract.MessageVersion, RunID: f.manifest.RunID,
			Entries: []contract.Entry{entry}})
		if err != nil {
			f.t.Fatal(err)
		}
		f.publish(f.manifest.RunID.OutcomeSubject(contract.Chunk(entry.CaseID.Number)), data)
	}
}

// publishPlanned publishes that all jobs of the run are published.
func (f fixture) publishPlanned() {
	f.t.Helper()
	data, err := json.Marshal(contract.Planned{Version: contract.MessageVersion, Range: f.manifest.Range, Jobs: 5})
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(f.manifest.RunID.PlannedSubject(), data)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
