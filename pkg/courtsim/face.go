package courtsim

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"fct-scraper/pkg/contract"
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
