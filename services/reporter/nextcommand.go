package reporter

import (
	"encoding/json"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/reporter/fold"
)

// nextCommand returns the command that continues a run that ended early; empty when there is
// nothing left. next is the lowest remaining number. After a stop for no-records it is a new batch
// that starts there: the same batch would count the same no-records again.
func (w *worker) nextCommand(status contract.Status, next int) string {
	from := 0
	switch {
	case status == contract.Completed || status == contract.Errored:
		return ""
	case status == contract.SafeStop && next > w.manifest.Range.End:
		return ""
	case status == contract.SafeStop && (w.manifest.SafeStopFails == 0 ||
		w.tally.FailStreak < w.manifest.SafeStopFails):
		from = next
	}
	if w.Command != nil {
		return w.Command(from)
	}
	return startCommand(w.manifest, from, w.tally.Vanished != nil)
}

// startCommand returns the command that starts a run's batch over NATS, at number from unless that
// is 0. A superseded run, or another start, needs another run id.
func startCommand(m contract.Manifest, from int, superseded bool) string {
	spec := make(map[string]any)
	// A manifest of an early version has no command: the spec then has only what the manifest has.
	_ = json.Unmarshal(m.Command, &spec)
	spec["prefix"], spec["year"] = m.Prefix, m.Year
	if from > 0 || superseded {
		delete(spec, "run_id")
	}
	if from > 0 {
		number := func(key string, otherwise float64) float64 {
			for _, settings := range []map[string]any{spec, m.Config} {
				if n, given := settings[key].(float64); given {
					return n
				}
			}
			return otherwise
		}
		if most := number("max_cases", 0); most > 0 {
			spec["max_cases"] = most - float64(from) + number("start", 1)
		}
		spec["start"] = from
	}
	body, err := json.Marshal(spec)
	if err != nil { // cannot happen: the spec has only JSON values
		return ""
	}
	return "nats pub batch.start " + sanitize.Quote(string(body))
}

// countRemaining counts the numbers of the range that are not settled, and returns the lowest one;
// End+1 when there is none. During a search the range may still become shorter.
func countRemaining(
	manifest contract.Manifest, settled fold.Outcomes, collected map[int]contract.Collected,
) (count, next int) {
	next = manifest.Range.End + 1
	for number := manifest.Range.End; number >= manifest.Range.Start; number-- {
		value, found := collected[number]
		skipped := found && manifest.Skips(number, value) && value.RunID != manifest.RunID
		if settled.Get(number) == "" && !skipped {
			count, next = count+1, number
		}
	}
	return count, next
}
