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

func newFoundView(l *labels, rows []foundRow, page int) *foundView {
	count := len(rows)
	last := max(1, (count+pageRows-1)/pageRows)
	page = min(page, last)
	from, to := (page-1)*pageRows, min(page*pageRows, count)
	v := &foundView{Rows: rows[from:to], Page: page, Previous: page - 1, Info: fmt.Sprintf(l.Showing, min(from+1, count), to, count)}
	for n := 1; n <= last; n++ {
		v.Pages = append(v.Pages, n)
	}
	if page < last {
		v.Next = page + 1
	}
	return v
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
