package reporter

import (
	"context"
	"encoding/json"
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go"
)

// apply folds a batch and makes it durable, in this order: files, lines, keys, checkpoint. After a
// crash between two steps the same batch is folded again from the old checkpoint; every step is
// idempotent. A safe stop is written before all of them, so that it takes effect quickly.
func (w *worker) apply(ctx context.Context, batch []ledger.Message) error {
	fresh := w.fold(batch)
	steps := []struct {
		name string
		do   func() error
	}{
		{"halt", func() error { return w.safeStop(ctx) }},
		{"files", func() error { return w.writeFiles(fresh) }},
		{"keys", func() error { return w.writeKeys(ctx, fresh) }},
		{"checkpoint", func() error { return w.save(ctx) }},
	}
	for _, step := range steps {
		if err := w.beforeStep(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	for _, entry := range fresh {
		if entry.EndsJob() {
			w.Logger.Info("batch.job.end", "run_id", w.manifest.RunID, "case_id", entry.CaseID,
				"outcome", entry.Outcome, "attempts", entry.Attempts, "duration_seconds", entry.JobSeconds)
		}
	}
	return w.beforeStep("end")
}

// beforeStep is called before each step of a batch. It fails when the lease is lost.
func (w *worker) beforeStep(name string) error {
	if err := w.stepHook(name); err != nil {
		return err
	}
	return w.lease.check()
}

// fold folds a batch into the tally and returns the entries that were new.
func (w *worker) fold(batch []ledger.Message) []fold.Counted {
	var fresh []fold.Counted
	for _, m := range batch {
		fresh = append(fresh, w.tally.AddMessage(m, w.manifest.SafeStopFails)...)
	}
	return fresh
}

// writeFiles writes records and raw answers, then the lines of the attempts file. The lines are
// durable before the checkpoint records their end.
func (w *worker) writeFiles(fresh []fold.Counted) error {
	if len(fresh) == 0 {
		return nil
	}
	d, err := files.Derive(w.manifest, fresh, func(contract.CaseID) bool { return true })
	if err != nil {
		return err
	}
	if err := w.Store.WithFence(w.lease.check).WriteAll(d.Files); err != nil {
		return err
	}
	if err := w.beforeStep("lines"); err != nil {
		return err
	}
	if err := w.attemptsFile.Append(d.Lines); err != nil {
		return err
	}
	return w.attemptsFile.Sync()
}

// writeKeys writes the buckets collected, which later runs skip, and failed, which they fetch
// first. A no-record gets its key when it is confirmed.
func (w *worker) writeKeys(ctx context.Context, fresh []fold.Counted) error {
	var collected, failed []*nats.Msg
	for _, entry := range fresh {
		number := entry.CaseID.Number
		switch {
		case !entry.WritesKey():
		case entry.Outcome == contract.Failed:
			msg, err := keyMessage(contract.BucketFailed, w.manifest, entry)
			if err != nil {
				return err
			}
			failed = append(failed, msg)
			w.failedKeys[number] = true
		default:
			msg, err := keyMessage(contract.BucketCollected, w.manifest, entry)
			if err != nil {
				return err
			}
			collected = append(collected, msg)
			if w.failedKeys[number] {
				failed = append(failed, deletion(contract.BucketFailed, entry.CaseID))
				delete(w.failedKeys, number)
			}
		}
	}
	if err := w.Bus.PublishBatch(ctx, collected); err != nil {
		return fmt.Errorf("writing the bucket collected: %w", err)
	}
	if err := w.beforeStep("failed"); err != nil {
		return err
	}
	if err := w.Bus.PublishBatch(ctx, failed); err != nil {
		return fmt.Errorf("writing the bucket failed: %w", err)
	}
	return nil
}

// deleteUnconfirmedKeys deletes the run's own keys of unconfirmed no-records, which earlier
// versions wrote at once.
func (w *worker) deleteUnconfirmedKeys(ctx context.Context, collected map[int]contract.Collected) error {
	var keys []*nats.Msg
	for number := range w.tally.UnconfirmedNumbers() {
		if value, found := collected[number]; found && value.RunID == w.manifest.RunID &&
			value.Outcome == contract.NoRecord {
			keys = append(keys, deletion(contract.BucketCollected, w.manifest.Case(number)))
		}
	}
	if err := w.Bus.PublishBatch(ctx, keys); err != nil {
		return fmt.Errorf("removing the keys of unconfirmed no-records: %w", err)
	}
	return nil
}

// keyMessage returns the message that puts a key into a bucket, so that one batch can carry many.
func keyMessage(bucket string, m contract.Manifest, entry fold.Counted) (*nats.Msg, error) {
	value := contract.Collected{Outcome: entry.Outcome, Site: m.Site, RunID: m.RunID, At: entry.StartedAt.UTC(),
		FiledOn: entry.FiledOn}
	if record, found := files.CaseFile(entry.Entry); found {
		value.Size = len(record.Data)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", entry.CaseID, err)
	}
	return &nats.Msg{Subject: "$KV." + bucket + "." + entry.CaseID.Key(), Data: data}, nil
}

// deletion returns the message that deletes a key.
func deletion(bucket string, id contract.CaseID) *nats.Msg {
	return &nats.Msg{
		Subject: "$KV." + bucket + "." + id.Key(),
		Header:  nats.Header{"KV-Operation": []string{"DEL"}},
	}
}
