package reporter

import (
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// Where several reporters write, the attempts file is written again when it does not agree; a wrong fold stays a mismatch.
func TestSeveralReportersMendTheirAttemptsFile(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	whole := crashedOn(t, cleared(t, b), len(mixed()))
	whole.planned(0)
	whole.finish()
	name := attemptsName(whole.manifest.RunID)
	want := whole.files()[name]
	for _, m := range attemptsMismatches() {
		t.Run(m.name, func(t *testing.T) {
			d := crashedOn(t, cleared(t, b), len(mixed()))
			if m.before != nil {
				m.before(d)
			}
			d.planned(0)
			options := d.options()
			options.Shared = true
			w := d.start(options, func(step string) error {
				if step == "end" && m.late != nil {
					m.late(d)
				}
				return nil
			})
			state := d.await()
			if err := w.stop(); err != nil || state.Status != contract.Completed {
				t.Fatalf("%s: %s, %v", state.Status, state.Reason, err)
			}
			if got := d.files()[name]; got != want {
				t.Errorf("the file is\n%s\nwant\n%s", got, want)
			}
		})
	}
}
