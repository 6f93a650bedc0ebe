package reporter

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// settings are the effective settings of the run: those of the process that planned it, and of what requests depend on those of the
// fetchers that sent them. Where fetchers differ a setting is the list of their values.
func (w *worker) settings(ctx context.Context) (map[string]any, error) {
	all := maps.Clone(w.manifest.Config)
	values := make(map[string][]any)
	keys := bus.Keys{Bucket: contract.BucketHeld, Filters: []string{w.manifest.RunID.FetcherKey("*")}}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		held, err := runs.Decode[contract.InFlightRecord](entry.Key(), entry.Value())
		if err != nil { // of a newer version, or damaged: it counts for nothing, as it does for the fetchers
			return nil
		}
		for key, value := range held.Settings {
			if !slices.ContainsFunc(values[key], func(v any) bool { return reflect.DeepEqual(v, value) }) {
				values[key] = append(values[key], value)
			}
		}
		return nil
	})
	for key, each := range values {
		if all == nil {
			all = make(map[string]any)
		}
		if all[key] = any(each); len(each) == 1 {
			all[key] = each[0]
		}
	}
	return all, err
}
