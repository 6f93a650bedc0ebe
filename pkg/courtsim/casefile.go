package courtsim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// file is the invented data of a case.
type file struct {
	id       contract.CaseID
	division string
	kind     *proceeding
	nature   *nature
	office   *bilingual
	french   bool
	style    string
	parties  []party
	ships    []string
	filed    time.Time
	// offset writes the file's dates with their offset.
	offset bool
	// plainDays writes the docket's days as YYYY-MM-DDT00:00:00 instead of Unix time.
	plainDays bool
}

// party is a party and its counsel; firm and contact are empty for a self-represented party.
type party struct{ name, firm, contact string }

// newFile returns the file of a case, whether the case exists or not.
func (c *Simulator) newFile(id contract.CaseID) file {
	d := c.randomFor(saltFile, id)
	f := file{id: id, division: divisionOf(id.Series), kind: c.vocabulary.kindOf(id.Series)}
	f.nature = pick(&d, f.kind.Natures)
	f.office = pick(&d, c.vocabulary.Offices)
	f.french = d.chance(0.2)
	f.filed = c.filingTime(&d, id)
	f.offset = d.chance(0.25)
	f.plainDays = d.chance(0.9)
	for range d.between(1, 3) {
		f.parties = append(f.parties, c.newApplicant(&d))
	}
	against := *pick(&d, f.kind.Against)
	f.parties = append(f.parties, party{against, c.vocabulary.CrownFirm, c.newPerson(&d)})
	f.style = styleOfCause(f.parties[:len(f.parties)-1], against)
	if f.kind.Type.Code == "T" && d.chance(0.2) {
		f.ships = []string{*pick(&d, c.vocabulary.Ship), ""}
	}
	return f
}

func divisionOf(series string) string {
	if series == "A" {
		return "A"
	}
	return "T"
}

func (c *Simulator) newPerson(d *random) string {
	return *pick(d, c.vocabulary.Given) + " " + *pick(d, c.vocabulary.Family)
}

func (c *Simulator) newApplicant(d *random) party {
	p := party{name: strings.ToUpper(*pick(d, c.vocabulary.Family)) + ", " + *pick(d, c.vocabulary.Given)}
	if d.chance(0.85) {
		p.firm, p.contact = *pick(d, c.vocabulary.Firm), c.newPerson(d)
	}
	return p
}

func styleOfCause(applicants []party, against string) string {
	name := strings.ToUpper(applicants[0].name)
	if len(applicants) > 1 {
		name += " ET AL"
	}
	return name + " v. " + against
}

// filingTime spreads the numbers evenly over the days of the year, without weekends.
func (c *Simulator) filingTime(d *random, id contract.CaseID) time.Time {
	first := time.Date(fullYear(id.Year), time.January, 1, 0, 0, 0, 0, c.zone)
	last := first.AddDate(1, 0, -1)
	if today := c.opts.Today.In(c.zone); !c.opts.Today.IsZero() && today.Year() == first.Year() {
		last = first.AddDate(0, 0, today.YearDay()-1)
	}
	share := float64(id.Number-1) / float64(max(c.highest, id.Number))
	day := workingDay(first.AddDate(0, 0, int(share*float64(last.YearDay()))), 1)
	if day.After(last) {
		day = workingDay(last, -1)
	}
	return day.Add(time.Duration(d.between(9*3600, 17*3600)) * time.Second)
}

// workingDay returns day, or the nearest day in the direction of step that is not on a weekend.
func workingDay(day time.Time, step int) time.Time {
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, step)
	}
	return day
}

// fullYear expands a two-digit year; the court's numbers start in 1971.
func fullYear(yy string) int {
	year := 2000 + int(yy[0]-'0')*10 + int(yy[1]-'0')
	if year > 2070 {
		year -= 100
	}
	return year
}

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

// documentID returns the number of the entry's public document; empty if there is none.
func (e *entry) documentID(f file) string {
	if !e.public {
		return ""
	}
	return strconv.Itoa(f.id.Number*100 + e.number)
}

// Shares of rare cases or entries.
const (
	headerOnlyShare   = 0.005 // cases without any recorded entry
	prefixShare       = 0.03  // of responses, if the longer number exists: one in ten
	duplicateShare    = 0.01  // dockets with a duplicate row
	confidentialShare = 0.01  // entries
	emptyTextShare    = 0.005 // entries
)

// headerOnly reports whether the case exists without recorded entries. The highest number always
// has a docket, because a search reads its filing day.
func (c *Simulator) headerOnly(id contract.CaseID) bool {
	d := c.randomFor(saltHeaderOnly, id)
	return id.Number != c.highest && d.chance(headerOnlyShare)
}

// newDocket returns the recorded entries of a case in the order of the site's response: usually
// newest first. The last step of its course comes last. Entries after Options.Today are not made yet.
func (c *Simulator) newDocket(f file) []entry {
	d := c.randomFor(saltDocket, f.id)
	steps := pickCourse(&d, f.kind.Courses).steps
	others := otherEntries(&d)
	w := entryWriter{c, &d, f, pick(&d, c.vocabulary.Posts), 0}
	entries := make([]entry, 0, len(steps)+others+1)
	at, documents := f.filed, 0
	gap := min(21, 400/(len(steps)+others)) // days; a long docket takes hardly longer than others
	for len(steps)+others > 0 {
		var words *entryPhrase
		if len(entries) > 0 && others > 0 && (len(steps) < 2 || d.below(len(steps)+others) < others) {
			words = pick(&d, c.vocabulary.Between)
			others--
		} else {
			words, steps = steps[0], steps[1:]
		}
		if len(entries) > 0 {
			at = at.AddDate(0, 0, words.Wait+d.between(0, gap))
		}
		if len(entries) > 0 && !c.opts.Today.IsZero() && at.After(c.opts.Today) {
			break
		}
		e := w.entry(words, at)
		e.number = len(entries) + 1
		if words.Document {
			documents++
			e.document = documents
			e.public = !e.confidential && d.chance(0.1)
		}
		if words.Motion {
			w.motion = documents
		}
		entries = append(entries, e)
	}
	if d.chance(duplicateShare) {
		entries = append(entries, entries[len(entries)-1])
	}
	if d.chance(0.7) {
		slices.Reverse(entries)
	}
	return entries
}

func pickCourse(d *random, courses []course) *course {
	total := 0
	for i := range courses {
		total += courses[i].Weight
	}
	at := d.below(total)
	for i := range courses {
		if at -= courses[i].Weight; at < 0 {
			return &courses[i]
		}
	}
	return &courses[len(courses)-1]
}

// otherEntries returns the number of entries between the steps of a course: usually at most 10.
func otherEntries(d *random) int {
	if d.chance(0.1) {
		return d.between(11, 50)
	}
	return d.between(0, 10)
}

func (e *entryPhrase) in(french bool) phrase {
	if french {
		return e.FR
	}
	return e.EN
}

// entryWriter writes the entries of one docket.
type entryWriter struct {
	c    *Simulator
	d    *random
	f    file
	post *bilingual
	// motion is the document number of the latest motion.
	motion int
}

// entry fills a phrase for a day.
func (w *entryWriter) entry(words *entryPhrase, at time.Time) entry {
	e := entry{at: at, office: w.f.office, french: w.f.french}
	if !w.d.chance(emptyTextShare) {
		e.text = string(w.fill(make([]byte, 0, 256), words.in(w.f.french), at))
	}
	e.confidential = w.d.chance(confidentialShare)
	if w.d.chance(0.05) {
		e.note = "Entered by " + *pick(w.d, w.c.vocabulary.Family)
	}
	e.command = w.d.chance(0.3)
	return e
}

func (w *entryWriter) fill(text []byte, p phrase, at time.Time) []byte {
	in := func(term *bilingual) string {
		if w.f.french {
			return term.FR
		}
		return term.EN
	}
	for i, part := range p {
		if i%2 == 0 {
			text = append(text, part...)
			continue
		}
		switch part {
		case "day":
			text = appendDay(text, at, w.f.french)
		case "judge":
			text = append(text, *pick(w.d, w.c.vocabulary.Judge)...)
		case "lawyer":
			text = append(text, w.c.newPerson(w.d)...)
		case "city":
			text = append(text, in(pick(w.d, w.c.vocabulary.Offices))...)
		case "post":
			text = append(text, in(w.post)...)
		case "tribunal":
			if w.f.french {
				text = w.fill(text, w.f.nature.Tribunal.FR, at)
			} else {
				text = w.fill(text, w.f.nature.Tribunal.EN, at)
			}
		case "motion":
			text = strconv.AppendInt(text, int64(w.motion), 10)
		default: // copies: other slots were refused when the words were read
			text = strconv.AppendInt(text, int64(w.d.between(1, 4)), 10)
		}
	}
	return text
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
