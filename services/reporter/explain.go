package reporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/files"

	"github.com/nats-io/nats.go/jetstream"
)

// Explain returns the history of a number. It changes nothing. exists reports whether a file exists
// in the output folder, by its name relative to that folder. A ledger that cannot be decoded is
// ledger.ErrMismatch.
func Explain(ctx context.Context, b *bus.Bus, id contract.CaseID, exists func(name string) bool) (History, error) {
	e := explainer{bus: b, exists: exists, history: History{
		CaseID: id, Runs: []RunHistory{}, LeftOutBy: []contract.RunID{}, Blocks: []SiteBlock{},
	}}
	if err := e.open(ctx); err != nil {
		return History{}, fmt.Errorf("explaining %s: %w", id, err)
	}
	for _, step := range []func(context.Context) error{e.readKeys, e.readRuns, e.readBlocks} {
		if err := step(ctx); err != nil {
			return History{}, fmt.Errorf("explaining %s: %w", id, err)
		}
	}
	e.findRecord()
	return e.history, nil
}

// explainer collects a number's history.
type explainer struct {
	bus     *bus.Bus
	exists  func(name string) bool
	history History
	buckets
}

func (e *explainer) open(ctx context.Context) error {
	var err error
	if e.buckets, err = openBuckets(ctx, e.bus); err != nil {
		return err
	}
	return nil
}

// readKeys reads the number's keys.
func (e *explainer) readKeys(ctx context.Context) error {
	var err error
	if e.history.Collected, err = valueOf[contract.Collected](ctx, e.collected, e.history.CaseID.Key()); err != nil {
		return err
	}
	e.history.Failed, err = valueOf[contract.Collected](ctx, e.failed, e.history.CaseID.Key())
	return err
}

// valueOf returns the value of a key; nil when there is none.
func valueOf[T any](ctx context.Context, kv jetstream.KeyValue, key string) (*T, error) {
	value, err := runs.Get[T](ctx, kv, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

// readRuns reads what each run of the number's series and year did for the number.
func (e *explainer) readRuns(ctx context.Context) error {
	manifests, err := e.manifests(ctx)
	if err != nil {
		return err
	}
	for _, manifest := range manifests {
		if err := e.readRun(ctx, manifest); err != nil {
			return fmt.Errorf("reading run %s: %w", manifest.RunID, err)
		}
	}
	e.history.Asked = len(e.history.Runs) > 0
	return nil
}

// manifests returns the runs of the number's series and year, the oldest first.
func (e *explainer) manifests(ctx context.Context) ([]contract.Manifest, error) {
	found, err := runs.Manifests(ctx, e.bus)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(m contract.Manifest) bool {
		return m.Case(e.history.CaseID.Number) != e.history.CaseID
	})
	slices.SortFunc(found, func(a, b contract.Manifest) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.RunID, b.RunID))
	})
	return found, nil
}

// readBlocks reads the blocks of sites that this number caused, or because of which it is pending.
func (e *explainer) readBlocks(ctx context.Context) error {
	waiting := make(map[string]bool)
	for _, run := range e.history.Runs {
		waiting[run.Site] = waiting[run.Site] || run.Outcome == ""
	}
	keys := bus.Keys{Bucket: contract.BucketSites, Filters: []string{contract.BlockKey("*")}}
	err := e.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		block, err := runs.Decode[contract.SiteBlock](entry.Key(), entry.Value())
		if err != nil {
			return nil
		}
		site, _, _ := strings.Cut(entry.Key(), ".")
		if block.CaseID == e.history.CaseID || waiting[site] {
			e.history.Blocks = append(e.history.Blocks, SiteBlock{Site: site, SiteBlock: block})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the blocks of sites: %w", err)
	}
	slices.SortFunc(e.history.Blocks, func(a, b SiteBlock) int { return a.At.Compare(b.At) })
	return nil
}

// findRecord sets where the record is stored, if a run ever collected one.
func (e *explainer) findRecord() {
	brought := e.history.Collected != nil && e.history.Collected.Outcome == contract.Success
	for _, run := range e.history.Runs {
		brought = brought || run.Outcome == contract.Success
	}
	if brought {
		file := e.storedFile(files.CaseName(e.history.CaseID))
		e.history.Record = &file
	}
}

func (e *explainer) storedFile(name string) StoredFile {
	return StoredFile{Path: name, There: e.exists(name)}
}
