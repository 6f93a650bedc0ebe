package contract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ChunkSize is how many neighbouring numbers share one subject of answers and outcomes. Chunks of
// 256 keep the server's memory at 17 bytes a number instead of 240 (one subject a number).
const ChunkSize = 256

// Chunk is the chunk of a number.
func Chunk(number int) int { return number / ChunkSize }

// The streams and buckets; their definitions lie in streams/ as JSON.
const (
	StreamBatch    = "FCT_BATCH"    // commands of operators
	StreamJobs     = "FCT_JOBS"     // one message a number of a run; redelivery is the retry
	StreamAnswers  = "FCT_ANSWERS"  // answers that wait for classification; a work queue
	StreamOutcomes = "FCT_OUTCOMES" // the ledger: attempts and outcomes, packed by chunk
	StreamEvents   = "FCT_EVENTS"   // started, progress, waiting, finished; refused commands
	StreamPace     = "FCT_PACE"     // the turn and the slots of each site

	BucketCollected = "collected" // CaseID.Key -> Collected: needs no further request
	BucketFailed    = "failed"    // CaseID.Key -> Collected: a later run fetches it first
	BucketRuns      = "runs"      // manifests, states, halts, controls, planned jobs, checkpoints of runs; results of commands
	BucketFetchers  = "fetchers"  // presences of fetchers by run; they expire
	BucketHeld      = "held"      // in-flight records of fetchers by run
	BucketSites     = "sites"     // blocks and slowdowns of sites
)

// The subjects of commands.
const (
	SubjectStart    = "batch.start"
	SubjectStop     = "batch.stop"
	SubjectPause    = "batch.pause"
	SubjectResume   = "batch.resume"
	SubjectTune     = "batch.tune"
	SubjectRejected = "batch.rejected"
)

// RunID names a run; it is safe in subjects, keys and file names.
type RunID string

// runIDForm is the form the contract gives for run ids.
const runIDForm = `^[a-z0-9][a-z0-9-]{0,62}$`

// ParseRunID checks text against the form of run ids.
func ParseRunID(text string) (RunID, error) {
	if !isRunID(text) {
		return "", fmt.Errorf("run_id %.80q: allowed is %s", text, runIDForm)
	}
	return RunID(text), nil
}

// isRunID reports whether text matches runIDForm. Every stored message has a run id, and an
// expression takes ten times as long.
func isRunID(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 63
}

// UnmarshalText returns an error for what is not a run id.
func (r *RunID) UnmarshalText(text []byte) error {
	id, err := ParseRunID(string(text))
	*r = id
	return err
}

// JobSubject is the subject of the job of one number.
func (r RunID) JobSubject(number int) string { return "job." + string(r) + "." + strconv.Itoa(number) }

// JobFilter matches all jobs of the run.
func (r RunID) JobFilter() string { return "job." + string(r) + ".*" }

// AnswerSubject is the subject on which answers of a chunk wait for the classifier.
func (r RunID) AnswerSubject(chunk int) string {
	return "answer." + string(r) + "." + strconv.Itoa(chunk)
}

// AnswerFilter matches all answers of the run.
func (r RunID) AnswerFilter() string { return "answer." + string(r) + ".*" }

// OutcomeSubject is the ledger subject of the attempts and outcomes of a chunk.
func (r RunID) OutcomeSubject(chunk int) string {
	return "outcome." + string(r) + "." + strconv.Itoa(chunk)
}

// PlannedSubject is the ledger subject on which the generator states that all jobs are published.
func (r RunID) PlannedSubject() string { return "outcome." + string(r) + ".planned" }

// OutcomeFilter matches the run's complete ledger, the planned message and the canaries included.
func (r RunID) OutcomeFilter() string { return "outcome." + string(r) + ".*" }

// EventSubject is the subject of an event of the run: started, progress, waiting or finished.
func (r RunID) EventSubject(name string) string { return "batch.event." + string(r) + "." + name }

// ConsumerName is the durable consumer that the fetchers of the run share.
func (r RunID) ConsumerName() string { return "run-" + string(r) }

// ManifestKey is the key of the Manifest in the bucket runs.
func (r RunID) ManifestKey() string { return string(r) + ".manifest" }

// StateKey is the key of the State in the bucket runs.
func (r RunID) StateKey() string { return string(r) + ".state" }

// HaltKey is the key of the Halt in the bucket runs.
func (r RunID) HaltKey() string { return string(r) + ".halt" }

// ControlKey is the key of the Control in the bucket runs.
func (r RunID) ControlKey() string { return string(r) + ".control" }

// PlannedKey is the key of the Planned in the bucket runs, of jobs that may not be published yet.
func (r RunID) PlannedKey() string { return string(r) + ".planned" }

// CheckpointKey is the key of the reporter's fold in the bucket runs.
func (r RunID) CheckpointKey() string { return string(r) + ".checkpoint" }

// FetcherKey is the key of a fetcher's Presence in the bucket fetchers, and of its InFlightRecord
// in the bucket held.
func (r RunID) FetcherKey(fetcher string) string { return string(r) + "." + fetcher }

// HolderKey is a key in the bucket fetchers: the fetcher still holds messages of an FCT_PACE
// consumer that were removed from the stream. It is no run id.
func HolderKey(consumer, fetcher string) string { return "_" + consumer + "." + fetcher }

// ReporterKey is the key of the reporter's lease on the run in the bucket fetchers.
func (r RunID) ReporterKey() string { return "reporter.of." + string(r) }

// CommandKey is the key of the result of the command with this stream sequence.
func CommandKey(sequence uint64) string { return "command." + strconv.FormatUint(sequence, 10) }

// BatchKey is the key of the run that a batch became last, by the batch's identity. Of two
// generators that start the same batch concurrently only one can write it.
func BatchKey(identity string) string { return "batch." + identity }

// CommandFilter matches the results of all commands.
const CommandFilter = "command.*"

// BlockKey is the key of a site's block; site is a profile's name as CheckSiteName allows.
func BlockKey(site string) string { return site + ".block" }

// SlowdownKey is the key of a site's slowdown.
func SlowdownKey(site string) string { return site + ".slowdown" }

// IsKey reports whether a writer of the bucket creates keys of this form; readers skip other keys.
func IsKey(bucket, key string) bool {
	parts := strings.Split(key, ".")
	if len(parts) < 2 {
		return false
	}
	first, rest := parts[0], parts[1:]
	_, err := ParseRunID(first)
	run := err == nil
	switch bucket {
	case BucketCollected, BucketFailed:
		_, err := ParseKey(key)
		return err == nil
	case BucketRuns:
		switch {
		case len(rest) != 1:
			return false
		case first == "command":
			n, err := strconv.ParseUint(rest[0], 10, 64)
			return err == nil && CommandKey(n) == key
		default:
			return first == "batch" ||
				run && slices.Contains([]string{"manifest", "state", "halt", "control", "planned", "checkpoint"}, rest[0])
		}
	case BucketFetchers:
		return (run || strings.HasPrefix(first, "_")) && len(rest) == 1 || key == RunID(rest[len(rest)-1]).ReporterKey()
	case BucketSites:
		return len(rest) == 1 && first != "" && (key == BlockKey(first) || key == SlowdownKey(first))
	default:
		return true
	}
}

// TurnSubject is the subject of a site's turn: its holder may start the next request.
func TurnSubject(site string) string { return "turn." + site }

// SlotSubject is the subject of a site's slot, from 1 on: its holder may have a case in flight.
func SlotSubject(site string, slot int) string { return "slot." + site + "." + strconv.Itoa(slot) }

// SlotFilter matches all slots of a site.
func SlotFilter(site string) string { return "slot." + site + ".*" }
