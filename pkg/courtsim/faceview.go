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
	Found    *foundView
	Entries  *entriesView
	Parties  *partiesView
}

// foundView is one page of what was found. Previous and Next are 0 where there is no such page.
type foundView struct {
	Rows                 []foundRow
	Info                 string
	Pages                []int
	Page, Previous, Next int

	all   []foundRow
	total int // as the page says it
}

type foundRow struct{ Number, Style, Nature string }

// entriesView is the dialog with a file's recorded entries; Values is empty for a case that does not exist.
type entriesView struct {
	Title  string
	Values []labelled
	Rows   []entryLine
}

type labelled struct{ Label, Value string }

type entryLine struct {
	ID                          int
	Day, Office, Text, Document string
}

// partiesView is the dialog with a file's parties.
type partiesView struct {
	Title string
	Rows  []partyRow
}

type partyRow struct{ Name, Firm, Contact string }

// turnTo cuts out one page of what was found; there is a last one, and behind it there is none.
func (v *foundView) turnTo(page int, l *labels) {
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

// eachText changes every text of a page by what it is: number, day, document or any other text. row counts from 0 in each
// table; the header has 0.
func (v *view) eachText(change func(row int, field, text string) string) {
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

// foundRows are what a search for a number finds: its case, and the longer one that comes along now and then.
func (c *Court) foundRows(l *labels, id contract.CaseID) []foundRow {
	rows := []foundRow{c.foundRow(l, id)}
	if other, found := c.longer(id); found {
		rows = append(rows, c.foundRow(l, other))
	}
	return rows
}

func (c *Court) foundRow(l *labels, id contract.CaseID) foundRow {
	f := c.file(id)
	return foundRow{Number: id.String(), Style: f.style, Nature: l.in(*f.nature)}
}

func (c *Court) entriesView(l *labels, number string, id contract.CaseID, found bool) *entriesView {
	v := &entriesView{Title: fmt.Sprintf(l.EntriesTitle, number)}
	if !found {
		return v
	}
	f := c.file(id)
	v.Values = []labelled{
		{l.Type, l.in(f.kind.Class)}, {l.Action, l.in(f.kind.Track)}, {l.Nature, l.in(*f.nature)}, {l.Office, l.in(*f.office)},
		{l.Language, l.in(languageOf(f.french))}, {l.Filed, f.filed.Format(time.DateOnly)},
	}
	if c.headerOnly(id) {
		return v
	}
	for _, e := range c.docket(f) {
		v.Rows = append(v.Rows, entryLine{e.number, e.at.Format(time.DateOnly), l.in(*e.office), e.text, e.documentID(f)})
	}
	return v
}

func (c *Court) partiesView(l *labels, number string, id contract.CaseID, found bool) *partiesView {
	v := &partiesView{Title: fmt.Sprintf(l.PartiesTitle, number)}
	if found {
		for _, p := range c.file(id).parties {
			v.Rows = append(v.Rows, partyRow{p.name, p.firm, p.contact})
		}
	}
	return v
}
