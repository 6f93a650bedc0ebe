package reporter

import (
	"encoding/json"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// nextCommand is the command that goes on with a run that ended before it was complete; empty when there is nothing to go on with. Next is the
// lowest number that is left. A stop for no-records is a new batch from there on: the same one would count the same no-records again.
func (w *worker) nextCommand(status contract.Status, next int) string {
	from := 0
	switch {
	case status == contract.Completed || status == contract.Errored:
		return ""
	case status == contract.SafeStop && next > w.manifest.Range.End:
		return ""
	case status == contract.SafeStop && (w.manifest.SafeStopFails == 0 || w.tally.FailStreak < w.manifest.SafeStopFails):
		from = next
	}
	if w.Command != nil {
		return w.Command(from)
	}
	return startCommand(w.manifest, from, w.tally.Vanished != nil)
}

// startCommand is the command that starts the batch of a run again over NATS, from a number on when that is not 0. A run that nobody goes on
// with, or from elsewhere, needs another id.
func startCommand(m contract.Manifest, from int, superseded bool) string {
	spec := make(map[string]any)
	// A manifest of a version that did not keep the command says what it can.
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
	if err != nil { // texts, numbers and truth values alone
		return ""
	}
	return "nats pub batch.start " + sanitize.Quote(string(body))
}

// countRemaining counts the numbers of the range that the run still has to settle, and returns the lowest one; End+1 when there is none. While
// the upper bound is searched for the range may yet become shorter.
func countRemaining(manifest contract.Manifest, settled outcomes, collected map[int]contract.Collected) (count, next int) {
	next = manifest.Range.End + 1
	for number := manifest.Range.End; number >= manifest.Range.Start; number-- {
		value, found := collected[number]
		skipped := found && manifest.Skips(number, value) && value.RunID != manifest.RunID
		if settled.get(number) == "" && !skipped {
			count, next = count+1, number
		}
	}
	return count, next
}
