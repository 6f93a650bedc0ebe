package courtsim

import (
	"slices"
	"strconv"
	"time"

	"fct-scraper/pkg/contract"
)

// entry is one recorded entry of a docket.
type entry struct {
	number       int
	document     int // 0 for none
	at           time.Time
	office       *bilingual
	text         string
	public       bool
	confidential bool
	french       bool
	note         string
	command      bool
}

// documentID is under which number everybody can get the entry's document; empty when nobody can.
func (e *entry) documentID(f file) string {
	if !e.public {
		return ""
	}
	return strconv.Itoa(f.id.Number*100 + e.number)
}

// What is rare, as shares of cases or entries.
const (
	headerOnlyShare   = 0.005 // cases without any recorded entry
	prefixShare       = 0.03  // answers that hold a row of a longer number too, if there is that number: one in ten
	duplicateShare    = 0.01  // dockets with a row that comes twice
	confidentialShare = 0.01  // entries
	emptyTextShare    = 0.005 // entries
)

// headerOnly says that the case exists and has no recorded entry. The highest number's docket is whole: its filing day is
// what a search reads.
func (c *Simulator) headerOnly(id contract.CaseID) bool {
	d := c.randomFor(saltHeaderOnly, id)
	return id.Number != c.highest && d.chance(headerOnlyShare)
}

// newDocket is the recorded entries of a case, in the order in which the court sends them: newest first mostly, which is not
// to be relied on.
func (c *Simulator) newDocket(f file) []entry {
	d := c.randomFor(saltDocket, f.id)
	size := docketLength(&d)
	entries := make([]entry, 0, size+1)
	at, documents := f.filed, 0
	for n := 1; n <= size; n++ {
		words := c.entryPhrase(&d, f, n, size)
		e := c.newEntry(&d, f, words, at)
		e.number = n
		if words.Document {
			documents++
			e.document = documents
			e.public = !e.confidential && d.chance(0.1)
		}
		entries = append(entries, e)
		at = at.AddDate(0, 0, d.between(0, 21))
	}
	if d.chance(duplicateShare) {
		entries = append(entries, entries[len(entries)-1])
	}
	if d.chance(0.7) {
		slices.Reverse(entries)
	}
	return entries
}

// newEntry is what a phrase becomes on a day.
func (c *Simulator) newEntry(d *random, f file, words *entryPhrase, at time.Time) entry {
	e := entry{at: at, office: f.office, french: f.french}
	if !d.chance(emptyTextShare) {
		e.text = c.fillPhrase(d, words.in(f.french), at, f.french)
	}
	e.confidential = d.chance(confidentialShare)
	if d.chance(0.05) {
		e.note = "Entered by " + *pick(d, c.vocabulary.Family)
	}
	e.command = d.chance(0.3)
	return e
}

// docketLength is how many entries a docket has: mostly 5 to 20, at most 60.
func docketLength(d *random) int {
	switch {
	case d.chance(0.1):
		return d.between(1, 4)
	case d.chance(0.1):
		return d.between(21, 60)
	default:
		return d.between(5, 20)
	}
}

// entryPhrase is what happens in the n-th entry of a docket.
func (c *Simulator) entryPhrase(d *random, f file, n, size int) *entryPhrase {
	switch {
	case n == 1:
		return &f.kind.Opening
	case n == size && d.chance(0.7):
		return pick(d, c.vocabulary.Closing)
	default:
		return pick(d, c.vocabulary.Middle)
	}
}

func (e *entryPhrase) in(french bool) phrase {
	if french {
		return e.FR
	}
	return e.EN
}

// fillPhrase puts words into a phrase's slots.
func (c *Simulator) fillPhrase(d *random, p phrase, at time.Time, french bool) string {
	text := make([]byte, 0, 256)
	for i, part := range p {
		if i%2 == 0 {
			text = append(text, part...)
			continue
		}
		switch part {
		case "day":
			text = appendDay(text, at, french)
		case "judge":
			text = append(text, *pick(d, c.vocabulary.Judge)...)
		case "lawyer":
			text = append(text, c.newPerson(d)...)
		case "city":
			text = append(text, pick(d, c.vocabulary.Offices).EN...)
		default: // copies: other slots were refused when the words were read
			text = strconv.AppendInt(text, int64(d.between(1, 4)), 10)
		}
	}
	return string(text)
}

func appendDay(text []byte, at time.Time, french bool) []byte {
	if french {
		months := [...]string{"janv", "févr", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc"}
		text = strconv.AppendInt(text, int64(at.Day()), 10)
		text = append(text, '-')
		text = append(text, months[at.Month()-1]...)
		return at.AppendFormat(text, "-2006")
	}
	return at.AppendFormat(text, "02-Jan-2006")
}
