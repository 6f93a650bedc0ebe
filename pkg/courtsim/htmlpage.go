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

// maxForm is the largest form of a POST, in bytes.
const maxForm = 1 << 20

// servePage serves the HTML page: GET returns the empty page, POST returns the result of a form.
func (c *Simulator) servePage(w http.ResponseWriter, r *http.Request, l *labels) {
	switch r.Method {
	case http.MethodGet:
		c.serveExchange(w, r, request{call: pageCall}, func(b []byte, _ contract.CaseID, _ *faultKind) reply {
			return c.renderPage(b, &view{L: l, Tokens: c.sessions.start(w, r), Division: "t"})
		})
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "not a valid form", http.StatusBadRequest)
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
	op, known := callForForm(form)
	q := request{id, op}
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
			c.fillView(v, op, about)
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

// requestedPage returns the page number of a form, which is 1 by default.
func requestedPage(form url.Values) int {
	page, err := plainNumber(form.Get("__EVENTARGUMENT"))
	if err != nil {
		return 1
	}
	return max(1, page)
}

// fillView adds the result of a form to its page. The zero id finds nothing.
func (c *Simulator) fillView(v *view, op call, id contract.CaseID) {
	found := c.Exists(id) && c.inDivision(op, id, v.Division)
	number := strings.TrimSpace(v.Number)
	if id != (contract.CaseID{}) {
		number = id.String()
	}
	switch op {
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

func (c *Simulator) renderPage(b []byte, v *view) reply {
	out := bytes.NewBuffer(b)
	if err := c.pages.template.Execute(out, v); err != nil { // send no partial page
		return reply{http.StatusInternalServerError, asHTML, []byte("filling in the page: " + err.Error())}
	}
	return reply{contentType: asHTML, body: out.Bytes()}
}

// pageRows is how many rows one page of a table shows.
const pageRows = 10

// view is the data of an HTML page. At most one of Found, Entries and Parties is set.
type view struct {
	L        *labels
	Tokens   tokens
	Division string
	Number   string
	Found    *searchView
	Entries  *entriesView
	Parties  *partiesView
}

// searchView is one page of search results. Previous and Next are 0 if there is no such page.
type searchView struct {
	Rows                 []searchRow
	Info                 string
	Pages                []int
	Page, Previous, Next int

	all   []searchRow
	total int // as shown on the page
}

type searchRow struct{ Number, Style, Nature string }

// entriesView is the dialog with a case's recorded entries; Values is empty if the case does not
// exist.
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

// partiesView is the dialog with a case's parties.
type partiesView struct {
	Title string
	Rows  []partyRow
}

type partyRow struct{ Name, Firm, Contact string }

// selectPage selects one page of the results; a number after the last page selects the last one.
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

// changeTexts changes every text of a page. field is number, day, document or text; row counts from
// 0 in each table and is 0 in the header.
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

// searchRows returns the results for a number: its case, and sometimes a longer number with the
// same prefix.
func (c *Simulator) searchRows(l *labels, id contract.CaseID) []searchRow {
	rows := []searchRow{c.searchRow(l, id)}
	if other, found := c.prefixMatch(id); found {
		rows = append(rows, c.searchRow(l, other))
	}
	return rows
}

func (c *Simulator) searchRow(l *labels, id contract.CaseID) searchRow {
	f := c.newFile(id)
	return searchRow{Number: id.String(), Style: f.style, Nature: l.in(f.nature.bilingual)}
}

func (c *Simulator) entriesView(l *labels, number string, id contract.CaseID, found bool) *entriesView {
	v := &entriesView{Title: fmt.Sprintf(l.EntriesTitle, number)}
	if !found {
		return v
	}
	f := c.newFile(id)
	v.Values = []labelledValue{
		{l.Type, l.in(f.kind.Class)}, {l.Action, l.in(f.kind.Track)}, {l.Nature, l.in(f.nature.bilingual)}, {l.Office, l.in(*f.office)},
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

// labels are the texts of the page in one language.
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

// pages holds the page template and its texts in two languages.
type pages struct {
	template *template.Template
	en, fr   labels
}

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
	tmpl, err := template.New("page").Parse(pageFile)
	if err != nil {
		return nil, err
	}
	return &pages{template: tmpl, en: languages.EN, fr: languages.FR}, nil
}

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

// pick returns the text in the page's language.
func (l *labels) pick(en, fr string) string {
	if l.Lang == "fr" {
		return fr
	}
	return en
}

// in returns the name in the page's language.
func (l *labels) in(c bilingual) string { return l.pick(c.EN, c.FR) }
