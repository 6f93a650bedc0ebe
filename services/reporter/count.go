package reporter

import (
	"context"

	"fct-scraper/pkg/contract"
)

// Counts are how many numbers of a run have which outcome.
type Counts struct {
	Succeeded, NoRecord, Failed int
	// Planned is how many numbers the run asks for, 0 while that is not known.
	Planned int
}

// Count says how far a run has come by its ledger, whether or not somebody works on it: from the checkpoint, and what was stored since. It
// writes nothing. What cannot be understood of the ledger is ErrLedger. Of the options it needs Bus and Logger.
func Count(ctx context.Context, options Options, m contract.Manifest) (counts Counts, err error) {
	w := &worker{Service: New(options), manifest: m, ledger: ledger{bus: options.Bus, manifest: m}}
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return counts, err
	}
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return counts, err
	}
	t := point.Tally
	last, err := w.ledger.last(ctx)
	if err == nil {
		err = w.ledger.readFrom(ctx, t.Sequence, last, func(m message) error {
			t.take(m, w.manifest.SafeStopFails)
			return nil
		})
	}
	counts = Counts{Succeeded: t.Succeeded, NoRecord: t.NoRecord, Failed: t.Failed}
	if t.Planned != nil {
		counts.Planned = t.Planned.Jobs
	}
	return counts, err
}
