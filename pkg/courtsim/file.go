package courtsim

import (
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// file is what the court knows of a case as a whole.
type file struct {
	id       contract.CaseID
	division string
	kind     *proceeding
	nature   *bilingual
	office   *bilingual
	french   bool
	style    string
	parties  []party
	ships    []string
	filed    time.Time
	// offset says that the court writes this file's days with their offset.
	offset bool
	// plainDays says that the docket's days are written YYYY-MM-DDT00:00:00, not in Unix time.
	plainDays bool
}

// party is one party and its counsel; firm and contact are empty for somebody who speaks for himself.
type party struct{ name, firm, contact string }

// newFile is the file of a case, whether it exists or not.
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

// divisionOf is the division that keeps a series: the appeal division or the trial division.
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

// filingTime grows with the number over the days of the year, evenly; nothing is filed on a weekend.
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

// workingDay is the next day, or the last one with a step of -1, that is no weekend; day itself if it is none.
func workingDay(day time.Time, step int) time.Time {
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, step)
	}
	return day
}

// fullYear is the year that two digits mean: the court's numbers go back to 1971.
func fullYear(yy string) int {
	year := 2000 + int(yy[0]-'0')*10 + int(yy[1]-'0')
	if year > 2070 {
		year -= 100
	}
	return year
}
