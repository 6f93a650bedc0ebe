// Package snapshot reads what a store holds of every number, exactly as it was at one message of the
// ledger, while runs go on.
package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"
)

// Snapshot is the state of a store at one message of the ledger. It holds some 100 bytes a number;
// the records stay in the store.
type Snapshot struct {
	// Sequence is the last message that the snapshot has; 0 for an empty ledger.
	Sequence uint64
	// Runs are the runs with messages up to there, in the order of their first message.
	Runs []contract.RunID

	bus     *bus.Bus
	readers map[contract.RunID]*runReader
	series  map[seriesYear][]number // by number
}

// seriesYear is a series of one year.
type seriesYear struct{ series, year string }

func (s seriesYear) compare(o seriesYear) int {
	return cmp.Or(cmp.Compare(s.series, o.series), cmp.Compare(contract.FullYear(s.year), contract.FullYear(o.year)))
}

// number is what all runs say about one number.
type number struct {
	outcome     contract.Outcome
	unconfirmed bool
	requested   bool
	at          int64 // Unix nanoseconds
	attempts    int
	sequence    uint64 // of the outcome
	run         *runReader
	// record and recordRun say where the newest record is; 0 if there is none.
	record    uint64
	recordRun *runReader
	error     string
}

// runReader folds the ledger of one run.
type runReader struct {
	ledger.Reader
	tally   fold.Tally
	numbers map[int]*runNumber
}

// runNumber is what one run says about a number.
type runNumber struct {
	attempts int
	at       time.Time
	sequence uint64 // of the outcome; 0 without one
	error    string
}

// Take reads the ledger up to its newest message. A message that cannot be read is ledger.ErrMismatch.
func Take(ctx context.Context, b *bus.Bus) (*Snapshot, error) { return TakeAt(ctx, b, 0) }

// TakeAt reads the ledger up to a message that an earlier snapshot had as its last; 0 is the newest.
// Its errors are those of Take.
func TakeAt(ctx context.Context, b *bus.Bus, last uint64) (*Snapshot, error) {
	s := &Snapshot{Sequence: last, bus: b, readers: map[contract.RunID]*runReader{}, series: map[seriesYear][]number{}}
	all := contract.RunID("*").OutcomeFilter()
	if last == 0 {
		var err error
		if s.Sequence, err = b.LastSequence(ctx, contract.StreamOutcomes, all); err != nil || s.Sequence == 0 {
			return s, err
		}
	}
	// The manifest of a run is stored before its first message, so these are all that are needed.
	manifests, err := runs.Manifests(ctx, b)
	if err != nil {
		return nil, err
	}
	for _, m := range manifests {
		s.readers[m.RunID] = &runReader{Reader: ledger.Reader{Bus: b, Manifest: m}, numbers: map[int]*runNumber{}}
	}
	err = b.ReadRange(ctx, contract.StreamOutcomes, all, 0, s.Sequence, s.fold)
	if err != nil {
		return nil, err
	}
	for _, run := range s.Runs {
		s.merge(s.readers[run])
	}
	return s, nil
}

// fold adds one message.
func (s *Snapshot) fold(msg bus.Message) error {
	_, rest, _ := strings.Cut(msg.Subject, ".")
	name, _, _ := strings.Cut(rest, ".")
	run := contract.RunID(name)
	r := s.readers[run]
	if r == nil {
		return fmt.Errorf("%w: message %d is of run %.80q, which has no manifest", ledger.ErrMismatch, msg.Sequence,
			name)
	}
	if r.tally.Sequence == 0 {
		s.Runs = append(s.Runs, run)
	}
	m, err := r.Decode(msg)
	if err != nil {
		return err
	}
	for _, entry := range m.Entries { // the records are read by these subjects
		if msg.Subject != run.OutcomeSubject(contract.Chunk(entry.CaseID.Number)) {
			return fmt.Errorf("%w: message %d on %s has %s, which belongs on another subject", ledger.ErrMismatch,
				msg.Sequence, msg.Subject,
				entry.CaseID)
		}
	}
	for _, counted := range r.tally.AddMessage(m, 0) {
		r.add(counted, msg.Sequence)
	}
	return nil
}

// add notes one counted entry. Of a voided no-record the fold keeps no outcome.
func (r *runReader) add(c fold.Counted, sequence uint64) {
	if !c.WritesLine() || c.CaseID != r.Manifest.Case(c.CaseID.Number) {
		return
	}
	n := r.numbers[c.CaseID.Number]
	if n == nil {
		n = &runNumber{}
		r.numbers[c.CaseID.Number] = n
	}
	n.attempts, n.at = max(n.attempts, c.Attempts), c.Timestamp
	if c.EndsJob() {
		n.sequence = sequence
		if c.Outcome == contract.Failed {
			n.error = c.Error
		}
	}
}

// merge adds what a run says to what older runs said.
func (s *Snapshot) merge(r *runReader) {
	key := seriesYear{r.Manifest.Prefix, r.Manifest.Year}
	list := s.series[key]
	if len(r.numbers) > 0 {
		if highest := slices.Max(slices.Collect(maps.Keys(r.numbers))); highest >= len(list) {
			list = append(list, make([]number, highest+1-len(list))...)
		}
	}
	unconfirmed := r.tally.UnconfirmedNumbers()
	for at, one := range r.numbers {
		n := &list[at]
		n.requested = true
		n.attempts += one.attempts
		outcome := r.tally.Outcomes.Get(at)
		if outcome == "" || one.sequence == 0 {
			if n.outcome == "" {
				n.at, n.run = max(n.at, one.at.UnixNano()), r
			}
			continue
		}
		if outcome == contract.Success && one.sequence > n.record {
			n.record, n.recordRun = one.sequence, r
		}
		settled := n.outcome == contract.Success || n.outcome == contract.NoRecord && !n.unconfirmed
		weak := outcome == contract.Failed || unconfirmed[at]
		switch {
		case settled && weak, settled == !weak && one.sequence < n.sequence:
			continue
		}
		n.outcome, n.unconfirmed, n.sequence, n.run = outcome, unconfirmed[at], one.sequence, r
		n.at, n.error = one.at.UnixNano(), one.error
	}
	s.series[key] = list
	r.numbers, r.tally = nil, fold.Tally{}
}

// Source returns the numbers that selected reports as the source of an export; nil selects all.
func (s *Snapshot) Source(selected func(export.Coverage) bool) export.Source {
	return export.Source{Sequence: s.Sequence, Runs: s.Runs,
		Numbers: func(ctx context.Context, take func(export.Item) error) error {
			return s.each(ctx, selected, take)
		}}
}

// Count is how many numbers were requested.
func (s *Snapshot) Count() (count int) {
	for _, list := range s.series {
		for i := range list {
			if list[i].requested {
				count++
			}
		}
	}
	return count
}

// each passes on the selected numbers by series, year and number.
func (s *Snapshot) each(ctx context.Context, selected func(export.Coverage) bool, take func(export.Item) error) error {
	for _, key := range slices.SortedFunc(maps.Keys(s.series), seriesYear.compare) {
		list := s.series[key]
		for chunk := range contract.Chunk(len(list)-1) + 1 {
			if err := s.chunk(ctx, key, chunk, selected, take); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunk passes on the numbers of one chunk, whose messages are neighbours in the stream.
func (s *Snapshot) chunk(
	ctx context.Context, key seriesYear, chunk int, selected func(export.Coverage) bool, take func(export.Item) error,
) error {
	var items []export.Item
	wanted := map[*runReader]map[uint64]bool{}
	list := s.series[key]
	for at := chunk * contract.ChunkSize; at < min(len(list), (chunk+1)*contract.ChunkSize); at++ {
		n := &list[at]
		if !n.requested {
			continue
		}
		coverage := n.coverage(contract.CaseID{Series: key.series, Year: key.year, Number: at})
		if selected != nil && !selected(coverage) {
			continue
		}
		items = append(items, export.Item{Coverage: coverage})
		if n.record > 0 {
			if wanted[n.recordRun] == nil {
				wanted[n.recordRun] = map[uint64]bool{}
			}
			wanted[n.recordRun][n.record] = true
		}
	}
	records := make(map[int][]byte, len(items))
	for r, sequences := range wanted {
		if err := s.read(ctx, r, chunk, sequences, func(number int, sequence uint64, record []byte) {
			if n := &list[number]; n.record == sequence && n.recordRun == r &&
				records[number] == nil { // the first counts
				records[number] = record
			}
		}); err != nil {
			return err
		}
	}
	for _, item := range items {
		at := item.CaseID.Number
		if item.Record = records[at]; item.Record == nil && list[at].record > 0 {
			return fmt.Errorf("%w: message %d no longer has the record of %s", ledger.ErrMismatch, list[at].record,
				item.CaseID)
		}
		if err := take(item); err != nil {
			return err
		}
	}
	return nil
}

// read passes on the records in some messages of a run's chunk.
func (s *Snapshot) read(
	ctx context.Context, r *runReader, chunk int, sequences map[uint64]bool,
	take func(number int, sequence uint64, record []byte),
) error {
	all := slices.Sorted(maps.Keys(sequences))
	subject := r.Manifest.RunID.OutcomeSubject(chunk)
	return s.bus.ReadRange(ctx, contract.StreamOutcomes, subject, all[0]-1, all[len(all)-1], func(msg bus.Message) error {
		if !sequences[msg.Sequence] {
			return nil
		}
		m, err := r.Decode(msg)
		if err != nil {
			return err
		}
		for _, entry := range m.Entries {
			if entry.Outcome == contract.Success {
				take(entry.CaseID.Number, msg.Sequence, entry.Record)
			}
		}
		return nil
	})
}

func (n *number) coverage(id contract.CaseID) export.Coverage {
	c := export.Coverage{CaseID: id, Outcome: n.outcome, Unconfirmed: n.unconfirmed, Attempts: n.attempts,
		Error: n.error}
	if n.at != 0 {
		c.At = time.Unix(0, n.at).UTC()
	}
	if n.run != nil {
		c.RunID, c.Site = n.run.Manifest.RunID, n.run.Manifest.Site
	}
	return c
}
