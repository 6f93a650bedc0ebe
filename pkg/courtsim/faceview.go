package courtsim

import (
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
)

// pageRows is how many rows one page of a table shows.
const pageRows = 10

// view is what a page of the HTML face is filled with; of Found, Entries and Parties at most one is there.
type view struct {
	L        *labels
	Tokens   tokens
	Division string
	Number   string
	Found    *searchView
	Entries  *entriesView
	Parties  *partiesView
}

// searchView is one page of what was found. Previous and Next are 0 where there is no such page.
type searchView struct {
	Rows                 []searchRow
	Info                 string
	Pages                []int
	Page, Previous, Next int

	all   []searchRow
	total int // as the page says it
}

type searchRow struct{ Number, Style, Nature string }

// entriesView is the dialog with a file's recorded entries; Values is empty for a case that does not exist.
type entriesView struct {
	Title  string
	Values []labelledValue
	Rows   []entryRow
}

type labelledValue struct{ Label, Value string }

type entryRow struct {
	ID                          int
	Day, Office, Text, Document string
}

// partiesView is the dialog with a file's parties.
type partiesView struct {
	Title string
	Rows  []partyRow
}

type partyRow struct{ Name, Firm, Contact string }

// selectPage cuts out one page of what was found; there is a last one, and behind it there is none.
func (v *searchView) selectPage(page int, l *labels) {
	count := len(v.all)
	last := max(1, (count+pageRows-1)/pageRows)
	v.Page = min(page, last)
	from, to := (v.Page-1)*pageRows, min(v.Page*pageRows, count)
	v.Rows, v.Previous, v.Info = v.all[from:to], v.Page-1, fmt.Sprintf(l.Showing, min(from+1, v.total), min(to, v.total), v.total)
	for n := 1; n <= last; n++ {
		v.Pages = append(v.Pages, n)
	}
	if v.Page < last {
		v.Next = v.Page + 1
	}
}

// changeTexts changes every text of a page by what it is: number, day, document or any other text. row counts from 0 in each
// table; the header has 0.
func (v *view) changeTexts(change func(row int, field, text string) string) {
	if v.Found != nil {
		for i := range v.Found.all {
			r := &v.Found.all[i]
			r.Number, r.Style, r.Nature = change(i, "number", r.Number), change(i, "text", r.Style), change(i, "text", r.Nature)
		}
	}
	if v.Entries != nil {
		for i := range v.Entries.Values {
			value, field := &v.Entries.Values[i], "text"
			if value.Label == v.L.Filed {
				field = "day"
			}
			value.Value = change(0, field, value.Value)
		}
		for i := range v.Entries.Rows {
			r := &v.Entries.Rows[i]
			r.Day, r.Office = change(i, "day", r.Day), change(i, "text", r.Office)
			r.Text, r.Document = change(i, "text", r.Text), change(i, "document", r.Document)
		}
	}
	if v.Parties != nil {
		for i := range v.Parties.Rows {
			r := &v.Parties.Rows[i]
			r.Name, r.Firm, r.Contact = change(i, "text", r.Name), change(i, "text", r.Firm), change(i, "text", r.Contact)
		}
	}
}

// searchRows are what a search for a number finds: its case, and the longer one that comes along now and then.
func (c *Simulator) searchRows(l *labels, id contract.CaseID) []searchRow {
	rows := []searchRow{c.searchRow(l, id)}
	if other, found := c.prefixMatch(id); found {
		rows = append(rows, c.searchRow(l, other))
	}
	return rows
}

func (c *Simulator) searchRow(l *labels, id contract.CaseID) searchRow {
	f := c.newFile(id)
	return searchRow{Number: id.String(), Style: f.style, Nature: l.in(*f.nature)}
}

func (c *Simulator) entriesView(l *labels, number string, id contract.CaseID, found bool) *entriesView {
	v := &entriesView{Title: fmt.Sprintf(l.EntriesTitle, number)}
	if !found {
		return v
	}
	f := c.newFile(id)
	v.Values = []labelledValue{
		{l.Type, l.in(f.kind.Class)}, {l.Action, l.in(f.kind.Track)}, {l.Nature, l.in(*f.nature)}, {l.Office, l.in(*f.office)},
		{l.Language, l.in(languageOf(f.french))}, {l.Filed, f.filed.Format(time.DateOnly)},
	}
	if c.headerOnly(id) {
		return v
	}
	for _, e := range c.newDocket(f) {
		v.Rows = append(v.Rows, entryRow{e.number, e.at.Format(time.DateOnly), l.in(*e.office), e.text, e.documentID(f)})
	}
	return v
}

func (c *Simulator) partiesView(l *labels, number string, id contract.CaseID, found bool) *partiesView {
	v := &partiesView{Title: fmt.Sprintf(l.PartiesTitle, number)}
	if found {
		for _, p := range c.newFile(id).parties {
			v.Rows = append(v.Rows, partyRow{p.name, p.firm, p.contact})
		}
	}
	return v
}
