package reporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// absence is an unconfirmed no-record: the site has shown no record since it was answered, so it may have stopped
// showing any.
type absence struct {
	CaseID  contract.CaseID `json:"case_id"`
	Attempt int             `json:"attempt"`
	Status  int             `json:"status,omitempty"`
	Started time.Time       `json:"started"`
	Seconds float64         `json:"seconds"`
	Ended   time.Time       `json:"ended"`
	// Sequence is its message in the ledger.
	Sequence uint64 `json:"sequence,omitempty"`
}

// gone says that files which are known to exist are not shown any more: what the site has said since the last proof of
// life is worth nothing.
type gone struct {
	CaseIDs []contract.CaseID `json:"case_ids"`
	// Row is how many no-records were counted and then taken back.
	Row int `json:"row"`
	// Doubt says that no file has vanished: the site blocked us right behind the no-records.
	Doubt bool `json:"doubt,omitempty"`
}

// witnesses is how many files a canary asks for at most. A file may be taken away by the court; two that vanish at the
// same time are the site's doing.
const witnesses = 2

// longest bounds tally.Row, which is rewritten with every checkpoint; overflow keeps the others in two bits each. A row
// grows so long only in a year in which no record is known at all.
const longest = 2000

// overflow holds the unconfirmed no-records for which tally.Row has no room. A proof confirms all of them or none.
type overflow struct {
	Numbers outcomes `json:"numbers"`
	Count   int      `json:"count"`
	// CaseID is one of them; the others differ from it by their numbers.
	CaseID contract.CaseID `json:"case_id"`
	// Started is the earliest start of an attempt, Ended the latest end, Sequence the latest message in the ledger.
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Sequence uint64    `json:"sequence"`
}

// add takes in the oldest no-record of a row.
func (o *overflow) add(a absence) {
	if o.Count == 0 || a.Started.Before(o.Started) {
		o.Started = a.Started
	}
	o.Numbers.set(a.CaseID.Number, contract.NoRecord)
	o.CaseID, o.Ended, o.Sequence = a.CaseID, latest(o.Ended, a.Ended), max(o.Sequence, a.Sequence)
	o.Count++
}

// unconfirmed is how many no-records were followed by no record of the site and no good canary.
func (t *tally) unconfirmed() int { return len(t.Row) + t.Overflow.Count }

// doubtful are the numbers of the unconfirmed no-records.
func (t *tally) doubtful() map[int]bool {
	numbers := make(map[int]bool, t.unconfirmed())
	for _, a := range t.Row {
		numbers[a.CaseID.Number] = true
	}
	for number := range t.Overflow.Numbers.highest() + 1 {
		if t.Overflow.Numbers.get(number) != "" {
			numbers[number] = true
		}
	}
	return numbers
}

// missing notes an unconfirmed no-record.
func (t *tally) missing(entry contract.Entry) {
	t.Quiet++
	a := absence{
		CaseID: entry.CaseID, Attempt: entry.Attempt, Started: entry.StartedAt, Seconds: entry.Seconds, Ended: entry.EndedAt(), Sequence: t.Sequence,
	}
	if n := len(entry.Requests); n > 0 {
		a.Status = entry.Requests[n-1].Status
	}
	t.Row = append(t.Row, a)
	if len(t.Row) > longest {
		t.Overflow.add(t.Row[0])
		t.Row = slices.Delete(t.Row, 0, 1)
	}
}

// found notes a success, and returns the no-records that it confirms. It can serve as a canary. One that was copied from
// another run says nothing of the site: it may have been asked for long ago.
func (t *tally) found(entry contract.Entry) (confirmed []counted) {
	t.Known = append([]int{entry.CaseID.Number}, t.Known[:min(len(t.Known), witnesses-1)]...)
	if len(entry.Requests) == 0 {
		return nil
	}
	t.Quiet, t.Canaries = 0, 0
	return t.alive(entry.StartedAt, 0)
}

// alive confirms the no-records that had been answered when a request started that brought a record, and those up to the message
// after, which whoever had the request made has read before. It returns them. Those that come later in the ledger are left to a later
// proof, whatever their times say: so clocks that differ or are set back decide nothing but what was under way at the same time.
func (t *tally) alive(started time.Time, after uint64) (confirmed []counted) {
	confirm := func(id contract.CaseID, at time.Time) {
		entry := contract.Entry{CaseID: id, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord, StartedAt: at}
		confirmed = append(confirmed, counted{Entry: entry, kind: confirmation})
	}
	t.Row = slices.DeleteFunc(t.Row, func(a absence) bool {
		before := !a.Ended.After(started) || a.Sequence > 0 && a.Sequence <= after
		if before {
			confirm(a.CaseID, a.Started)
		}
		return before
	})
	if o := t.Overflow; o.Count > 0 && (!o.Ended.After(started) || o.Sequence <= after) {
		id := o.CaseID
		for number := range o.Numbers.highest() + 1 {
			if o.Numbers.get(number) != "" {
				id.Number = number
				confirm(id, o.Started)
			}
		}
		t.Overflow = overflow{}
	}
	return confirmed
}

// hear folds a canary and returns what it adds to the files.
func (t *tally) hear(canary []contract.Entry, after uint64) []counted {
	var fresh []counted
	verdict, started := contract.CanaryVerdict(canary)
	for _, entry := range canary {
		t.request(entry)
		t.Checks += len(entry.Requests)
		if verdict == contract.VerdictNoRecord && entry.Rule != contract.RuleUnconfirmed || entry.Verdict == contract.VerdictBlocked {
			entry.Verdict = contract.VerdictBlocked // which keeps its raw answer
			fresh = append(fresh, counted{Entry: entry, kind: evidence})
		}
	}
	switch {
	case verdict == contract.VerdictSuccess:
		fresh = append(fresh, t.alive(started, after)...)
		t.Canaries++
		t.Quiet = len(t.Row)
	case verdict == contract.VerdictNoRecord && t.Gone == nil:
		fresh = append(fresh, t.takeBack(canary)...)
	}
	return fresh
}

// takeBack makes every no-record void that nothing vouches for: its number is as good as never asked for.
func (t *tally) takeBack(canary []contract.Entry) []counted {
	t.Gone = &gone{Row: len(t.Row), Doubt: canary[0].Rule == contract.RuleUnconfirmed}
	for _, entry := range canary {
		t.Gone.CaseIDs = append(t.Gone.CaseIDs, entry.CaseID)
	}
	var taken []counted
	for _, a := range t.Row {
		t.NoRecord--
		t.Outcomes.set(a.CaseID.Number, "")
		t.void(a.CaseID.Number)
		taken = append(taken, counted{kind: amendment, Entry: contract.Entry{
			CaseID: a.CaseID, Attempt: a.Attempt, Verdict: contract.VerdictBlocked, Notes: []string{t.Gone.note()},
			StartedAt: a.Started, Seconds: a.Seconds, Requests: []contract.Exchange{{Status: a.Status}},
		}})
	}
	t.Row = nil
	return taken
}

// doubted is a no-record that came after the site was seen not to show what it has: a block.
func (t *tally) doubted(entry contract.Entry) contract.Entry {
	entry.Verdict, entry.Outcome = contract.VerdictBlocked, ""
	entry.Notes = append(slices.Clip(entry.Notes), t.Gone.note())
	return entry
}

// void closes a number whose no-record counts for nothing; what the ledger says of it again counts for nothing either.
func (t *tally) void(number int) {
	if t.Void == nil {
		t.Void = map[int]bool{}
	}
	t.Void[number] = true
	delete(t.Open, number)
}

// note is what the attempts file says of a no-record that was taken back.
func (g *gone) note() string {
	return "taken back: the site no longer shows " + g.names() + ", known to exist"
}

func (g *gone) names() string {
	names := make([]string, len(g.CaseIDs))
	for i, id := range g.CaseIDs {
		names[i] = id.String()
	}
	return strings.Join(names, " and ")
}

// block is what is said of the block when its halt says nothing.
func (g *gone) block() string {
	return fmt.Sprintf("blocked by the site at %s (%s)", g.CaseIDs[len(g.CaseIDs)-1], contract.RuleCanary)
}

// reason is why the run ends; block is what its halt says of the block.
func (t *tally) reason(block string) string {
	if t.Gone.Doubt {
		return fmt.Sprintf("%s: right behind a row of no-records; %s taken back", block, sanitize.Plural(len(t.Void), "no-record"))
	}
	return fmt.Sprintf("%s: it no longer shows %s, known to exist; %s taken back", block, t.Gone.names(), sanitize.Plural(len(t.Void), "no-record"))
}
