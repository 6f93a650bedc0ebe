package runtime

import (
	"context"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"golang.org/x/sync/errgroup"
)

// TestWalk_StartToReport runs the services with a batch and without one. scripts/walk.sh compares
// which code the two execute.
func TestWalk_StartToReport(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	for name, withBatch := range map[string]bool{"idle": false, "batch": true} {
		t.Run(name, func(t *testing.T) {
			p := newFixture(t, courtsim.Options{Seed: 3, Max: 300, Missing: 0.1},
				map[string]string{"end": "300", "probe": "true"})
			a, closeApp := p.open(t.Context(), nil)
			defer closeApp()
			ctx, cancel := context.WithCancel(t.Context())
			group, working := errgroup.WithContext(ctx)
			if err := a.startServices(working, group, Services()); err != nil {
				t.Fatal(err)
			}
			if withBatch {
				run, err := a.startBatch(working)
				if err != nil {
					t.Fatal(err)
				}
				state, err := runs.Await(working, a.broker.Bus, run.StateKey(),
					func(s contract.State) bool { return s.Status != contract.Running })
				if err != nil || state.Status != contract.Completed {
					t.Fatalf("%s: %v", state.Status, err)
				}
			}
			cancel()
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
