package courtsim

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/BurntSushi/toml"
)

// maxForm is the largest form that a post may bring.
const maxForm = 1 << 20

// servePage answers at the path of the HTML face: the page to whoever gets it, what a form asks for to whoever posts it.
func (c *Simulator) servePage(w http.ResponseWriter, r *http.Request, l *labels) {
	switch r.Method {
	case http.MethodGet:
		c.serveExchange(w, r, request{call: pageCall}, func(b []byte, _ contract.CaseID, _ *faultKind) reply {
			return c.renderPage(b, &view{L: l, Tokens: c.sessions.start(w, r), Division: "t"})
		})
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "a form was due", http.StatusBadRequest)
			return
		}
		c.servePost(w, r, l)
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (c *Simulator) servePost(w http.ResponseWriter, r *http.Request, l *labels) {
	form := r.PostForm
	id, err := contract.ParseCaseID(strings.ToUpper(strings.TrimSpace(form.Get("selectCourtNumber"))))
	made, known := callForForm(form)
	q := request{id, made}
	if err != nil || !known {
		q = request{call: pageCall}
	}
	c.serveExchange(w, r, q, func(b []byte, about contract.CaseID, kind *faultKind) reply {
		given, how := c.sessions.checkPost(r)
		if how != tokensValid {
			status, text := stalePage(how)
			return reply{status, asHTML, append(b, text...)}
		}
		v := &view{L: l, Tokens: given, Division: form.Get("tab02selectCourt"), Number: form.Get("selectCourtNumber")}
		if known {
			c.fillView(v, made, about)
			if kind != nil && kind.changePage != nil {
				kind.changePage(c, about, v)
			}
		}
		if v.Found != nil {
			v.Found.selectPage(requestedPage(form), l)
		}
		return c.renderPage(b, v)
	})
}

// callForForm is what a form asks for; false for nothing that the court knows.
func callForForm(form url.Values) (call, bool) {
	switch form.Get("__EVENTTARGET") {
	case "search":
		return searchPost, true
	case "re":
		return entriesPost, true
	case "more":
		return partiesPost, true
	default:
		return 0, false
	}
}

// requestedPage is which page of what was found a form asks for: the first when it does not say.
func requestedPage(form url.Values) int {
	page, err := plainNumber(form.Get("__EVENTARGUMENT"))
	if err != nil {
		return 1
	}
	return max(1, page)
}

// fillView puts the answer to a form into its page. id is the zero value when nothing is to be found.
func (c *Simulator) fillView(v *view, made call, id contract.CaseID) {
	found := c.Exists(id) && c.inDivision(made, id, v.Division)
	number := strings.TrimSpace(v.Number)
	if id != (contract.CaseID{}) {
		number = id.String()
	}
	switch made {
	case searchPost:
		v.Found = &searchView{}
		if found {
			v.Found.all = c.searchRows(v.L, id)
		}
		v.Found.total = len(v.Found.all)
	case entriesPost:
		v.Entries = c.entriesView(v.L, number, id, found)
	default:
		v.Parties = c.partiesView(v.L, number, id, found)
	}
}

// renderPage writes a page at the end of a buffer.
func (c *Simulator) renderPage(b []byte, v *view) reply {
	out := bytes.NewBuffer(b)
	if err := c.pages.template.Execute(out, v); err != nil { // no reader sees half a page
		return reply{http.StatusInternalServerError, asHTML, []byte("filling in the page: " + err.Error())}
	}
	return reply{contentType: asHTML, body: out.Bytes()}
}

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

//go:embed labels.toml
var labelsFile []byte

//go:embed page.html
var pageFile string

// labels are what the court's page says in one language.
type labels struct {
	Lang         string   `toml:"lang"`
	Path         string   `toml:"path"`
	Title        string   `toml:"title"`
	ByParty      string   `toml:"by_party"`
	ByNumber     string   `toml:"by_number"`
	Court        string   `toml:"court"`
	Trial        string   `toml:"trial"`
	Appeal       string   `toml:"appeal"`
	Both         string   `toml:"both"`
	Search       string   `toml:"search"`
	Number       string   `toml:"number"`
	Style        string   `toml:"style"`
	Nature       string   `toml:"nature"`
	Parties      string   `toml:"parties"`
	More         string   `toml:"more"`
	NoData       string   `toml:"no_data"`
	Showing      string   `toml:"showing"`
	Previous     string   `toml:"previous"`
	Next         string   `toml:"next"`
	EntriesTitle string   `toml:"entries_title"`
	Type         string   `toml:"type"`
	Action       string   `toml:"action"`
	Office       string   `toml:"office"`
	Language     string   `toml:"language"`
	Filed        string   `toml:"filed"`
	Legend       string   `toml:"legend"`
	LegendRow    []string `toml:"legend_row"`
	File         string   `toml:"file"`
	EntriesHead  []string `toml:"entries_head"`
	Download     string   `toml:"download"`
	PartiesTitle string   `toml:"parties_title"`
	PartiesHead  []string `toml:"parties_head"`
}

// pages are the HTML face: a template, filled in one of two languages.
type pages struct {
	template *template.Template
	en, fr   labels
}

// readPages reads the files that come with the program.
func readPages() (*pages, error) {
	var languages struct {
		EN labels `toml:"en"`
		FR labels `toml:"fr"`
	}
	meta, err := toml.Decode(string(labelsFile), &languages)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	made, err := template.New("page").Parse(pageFile)
	if err != nil {
		return nil, err
	}
	return &pages{template: made, en: languages.EN, fr: languages.FR}, nil
}

// at is what the page at a path says; nil when there is no page.
func (p *pages) at(path string) *labels {
	switch path {
	case p.en.Path:
		return &p.en
	case p.fr.Path:
		return &p.fr
	default:
		return nil
	}
}

// pick is one of two texts, by the language.
func (l *labels) pick(en, fr string) string {
	if l.Lang == "fr" {
		return fr
	}
	return en
}

// in is the name of a thing in the language.
func (l *labels) in(c bilingual) string { return l.pick(c.EN, c.FR) }
