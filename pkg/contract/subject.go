package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ChunkSize is how many neighbouring numbers share one subject of answers and outcomes. Packing by blocks of
// 256 keeps the server's memory at 17 bytes a number instead of 240 (one subject a number).
const ChunkSize = 256

// Chunk is the block that a number lies in.
func Chunk(number int) int { return number / ChunkSize }

// The streams and buckets; their definitions lie in streams/ as JSON.
const (
	StreamBatch    = "FCT_BATCH"    // commands of operators
	StreamJobs     = "FCT_JOBS"     // one message a number of a run; redelivery is the retry
	StreamAnswers  = "FCT_ANSWERS"  // answers not classified yet; a work queue
	StreamOutcomes = "FCT_OUTCOMES" // the ledger: attempts and outcomes, packed by block, kept
	StreamEvents   = "FCT_EVENTS"   // started, progress, finished; commands that were refused
	StreamPace     = "FCT_PACE"     // the turn and the slots of each site

	BucketCollected = "collected" // CaseID.Key -> Collected: what need not be asked again
	BucketFailed    = "failed"    // CaseID.Key -> Collected: what a later run asks for first
	BucketRuns      = "runs"      // manifests, states, halts, checkpoints of runs
	BucketFetchers  = "fetchers"  // who works on which run just now; entries expire
	BucketHeld      = "held"      // what each fetcher asks for just now, and how often fetchers died of it
	BucketSites     = "sites"     // blocks and troubles of sites
)

// The subjects of commands.
const (
	SubjectStart    = "batch.start"
	SubjectStop     = "batch.stop"
	SubjectRejected = "batch.rejected"
)

// RunID names a run; it is safe as a part of a subject, of a key and of a file name.
type RunID string

// runIDForm is the form the contract gives for run ids.
var runIDForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ParseRunID checks text against the form of run ids.
func ParseRunID(text string) (RunID, error) {
	if !runIDForm.MatchString(text) {
		return "", fmt.Errorf("run_id %.80q: allowed is %s", text, runIDForm)
	}
	return RunID(text), nil
}

// UnmarshalText refuses what is not a run id.
func (r *RunID) UnmarshalText(text []byte) error {
	id, err := ParseRunID(string(text))
	*r = id
	return err
}

// JobSubject is where the job of one number lies.
func (r RunID) JobSubject(number int) string { return "job." + string(r) + "." + strconv.Itoa(number) }

// JobFilter matches all jobs of the run.
func (r RunID) JobFilter() string { return "job." + string(r) + ".*" }

// AnswerSubject is where answers of a block wait for the classifier.
func (r RunID) AnswerSubject(block int) string {
	return "answer." + string(r) + "." + strconv.Itoa(block)
}

// AnswerFilter matches all answers of the run.
func (r RunID) AnswerFilter() string { return "answer." + string(r) + ".*" }

// OutcomeSubject is where the ledger keeps the attempts and outcomes of a block.
func (r RunID) OutcomeSubject(block int) string {
	return "outcome." + string(r) + "." + strconv.Itoa(block)
}

// PlannedSubject is where the generator states that all jobs of the run are published.
func (r RunID) PlannedSubject() string { return "outcome." + string(r) + ".planned" }

// OutcomeFilter matches the run's whole ledger, Planned and the canaries included.
func (r RunID) OutcomeFilter() string { return "outcome." + string(r) + ".*" }

// EventSubject is where an event of the run is told; name is started, progress, waiting or finished.
func (r RunID) EventSubject(name string) string { return "batch.event." + string(r) + "." + name }

// ConsumerName is the durable consumer that the fetchers of the run share.
func (r RunID) ConsumerName() string { return "run-" + string(r) }

// ManifestKey is where the bucket of runs holds the Manifest.
func (r RunID) ManifestKey() string { return string(r) + ".manifest" }

// StateKey is where the bucket of runs holds the State.
func (r RunID) StateKey() string { return string(r) + ".state" }

// HaltKey is where the bucket of runs holds the Halt.
func (r RunID) HaltKey() string { return string(r) + ".halt" }

// CheckpointKey is where the bucket of runs holds the reporter's fold.
func (r RunID) CheckpointKey() string { return string(r) + ".checkpoint" }

// FetcherKey says in the bucket of fetchers that the fetcher works on the run, and holds its Holding in the bucket held.
func (r RunID) FetcherKey(fetcher string) string { return string(r) + "." + fetcher }

// HolderKey says in the bucket of fetchers that the fetcher still holds messages of a consumer of FCT_PACE of which
// something was removed. No run has such an id.
func HolderKey(consumer, fetcher string) string { return "_" + consumer + "." + fetcher }

// ReporterKey says in the bucket of fetchers that a reporter works on the run.
func (r RunID) ReporterKey() string { return "reporter.of." + string(r) }

// CommandKey is where the answer to the command with this stream sequence is kept.
func CommandKey(sequence uint64) string { return "command." + strconv.FormatUint(sequence, 10) }

// BatchKey is where it is kept which run a batch became last, by the batch's identity: of two generators that start the same
// batch at the same time one is the first.
func BatchKey(identity string) string { return "batch." + identity }

// CommandFilter matches the answers to all commands.
const CommandFilter = "command.*"

// BlockKey is where a block of a site is kept; site is a profile's name as CheckSiteName allows.
func BlockKey(site string) string { return site + ".block" }

// SlowdownKey is where it is kept how far a site's trouble slows everybody down.
func SlowdownKey(site string) string { return site + ".slowdown" }

// IsKey says whether a key has a form that the writers of a bucket give its keys; readers leave other keys alone.
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
			return first == "batch" || run && slices.Contains([]string{"manifest", "state", "halt", "checkpoint"}, rest[0])
		}
	case BucketFetchers:
		return (run || strings.HasPrefix(first, "_")) && len(rest) == 1 || key == RunID(rest[len(rest)-1]).ReporterKey()
	case BucketSites:
		return len(rest) == 1 && first != "" && (key == BlockKey(first) || key == SlowdownKey(first))
	default:
		return true
	}
}

// TurnSubject is where the one turn of a site lies: who holds it may start the next request.
func TurnSubject(site string) string { return "turn." + site }

// SlotSubject is where a slot of a site lies, from 1 on: who holds one may have a case in flight.
func SlotSubject(site string, slot int) string { return "slot." + site + "." + strconv.Itoa(slot) }

// SlotFilter matches all slots of a site.
func SlotFilter(site string) string { return "slot." + site + ".*" }
