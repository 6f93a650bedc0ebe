//go:build soak

package e2e_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go/jetstream"
)

// alter makes streams and the consumer of answers as another version may have made them.
func alter(ctx context.Context, js jetstream.JetStream, change func(*jetstream.StreamConfig), names ...string) error {
	for _, name := range names {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateStream(ctx, config); err != nil {
			return err
		}
	}
	consumer, err := js.Consumer(ctx, contract.StreamAnswers, "classifier")
	if err != nil {
		return err
	}
	config := consumer.CachedInfo().Config
	config.AckWait, config.Description = time.Hour, "as it was"
	_, err = js.UpdateConsumer(ctx, contract.StreamAnswers, config)
	return err
}

// older is a store as an earlier version would have left it.
func older(config *jetstream.StreamConfig) {
	config.Description, config.Duplicates, config.AllowAtomicPublish = "as it was", 10*time.Second, false
	config.MaxMsgsPerSubject = max(-1, config.MaxMsgsPerSubject-1)
}

// inStore works on the store of a place while no process does.
func (p place) inStore(work func(context.Context, jetstream.JetStream) error) {
	p.t.Helper()
	server, err := natsd.StartOn(filepath.Join(p.dir, "data"), "")
	if err != nil {
		p.t.Fatal(err)
	}
	nc, err := server.Connect()
	if err != nil {
		p.t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		err = work(p.t.Context(), js)
	}
	nc.Close()
	if closed := server.Close(); err != nil || closed != nil {
		p.t.Fatal(err, closed)
	}
}

func TestBatch_StoreOfEarlierVersion(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers = 400
	sim := startSim(t, "--max", "400", "--missing", "0.1", "--seed", "51")
	p := newPlace(t, sim, "--end", "400", "--delay-min", "2ms", "--delay-max", "4ms", "--log-level", "info", "--progress", "none")
	cmd := p.start(nil)
	sim.await(numbers / 3)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it was to be
	p.inStore(func(ctx context.Context, js jetstream.JetStream) error {
		return alter(ctx, js, older, contract.StreamOutcomes, contract.StreamAnswers, contract.StreamEvents, "KV_"+contract.BucketRuns)
	})
	report := p.finish(0)
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 51, Max: numbers, Missing: 0.1}), outcomes, numbers)
	p.checkRecords(outcomes)
	if n := again(sim.asked()); report.Total != numbers || n > 8+report.CanaryRequests {
		t.Errorf("total %d, %d numbers asked for again", report.Total, n)
	}
	// What would drop something is refused, and left as it is.
	p.inStore(func(ctx context.Context, js jetstream.JetStream) error {
		return alter(ctx, js, func(config *jetstream.StreamConfig) { config.MaxAge = 1000 * 24 * time.Hour }, contract.StreamEvents)
	})
	var said bytes.Buffer
	again := exec.Command("fct-scraper", p.args...)
	again.Stderr = &said
	_ = again.Run() // the code says it
	if code := again.ProcessState.ExitCode(); code != codeBroker || !strings.Contains(said.String(), "max_age: have") || !strings.Contains(said.String(), "data_dir") {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}
