package courtsim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// call is one of the site's calls.
type call int

const (
	docketCall call = iota
	headerCall
	partiesCall
	fullerCall
	relatedCall
	searchPost
	entriesPost
	partiesPost
	pageCall   // for no case
	robotsCall // for no case
	callCount
)

func (c call) String() string {
	return [...]string{"docket", "header", "parties", "fuller", "related", "html-search", "html-re", "html-more", "page", "robots"}[c]
}

const (
	callPath = "/CourtFilesAndDecisions/"
	asJSON   = "application/json; charset=utf-8"
	asHTML   = "text/html; charset=utf-8"
)

func callForPath(path string) (call, bool) {
	name, found := strings.CutPrefix(path, callPath)
	if !found {
		return 0, false
	}
	for op, known := range [...]string{
		"proceedingQueriesRE", "proceedingQueriesCourtNumberList", "PublicPartiesListInfo", "proceedingQueriesAddInfo", "RelatedListInfo",
	} {
		if name == known {
			return call(op), true
		}
	}
	return 0, false
}

// ServeHTTP serves the calls, the HTML pages, robots.txt, and the control paths /__stats and
// /__truth.
func (c *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.serveControl(w, r) {
		return
	}
	if l := c.pages.at(r.URL.Path); l != nil {
		c.servePage(w, r, l)
		return
	}
	op, known := callForPath(r.URL.Path)
	if !known || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	query := r.URL.Query()
	id, err := contract.ParseCaseID(strings.ToUpper(strings.TrimSpace(query.Get("courtnumber"))))
	if err != nil { // an invalid id does not exist
		sendOK(w, asJSON, c.appendResponse(nil, op, id, ""))
		return
	}
	c.serveExchange(w, r, request{id, op}, func(b []byte, id contract.CaseID, _ *faultKind) reply {
		return reply{contentType: asJSON, body: c.appendResponse(b, op, id, query.Get("division"))}
	})
}

// serveControl serves robots.txt and the paths that the real site does not have; it returns false
// for any other path.
func (c *Simulator) serveControl(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/__stats":
		writeJSON(w, c.Stats())
	case "/__truth":
		c.serveTruth(w, r.URL.Query())
	case strayPath: // well-formed, and false if anybody believes it
		c.stats.countStray()
		sendOK(w, asJSON, []byte(`{"Count":0,"data":[]}`))
	case "/robots.txt":
		c.serveExchange(w, r, request{call: robotsCall}, func(b []byte, _ contract.CaseID, _ *faultKind) reply {
			if c.opts.Robots == "" {
				return reply{http.StatusNotFound, "text/plain; charset=utf-8", append(b, "404 page not found\n"...)}
			}
			return reply{contentType: "text/plain; charset=utf-8", body: append(b, c.opts.Robots...)}
		})
	default:
		return false
	}
	return true
}

// neighbour returns the next higher case that exists, or else the next lower one.
func (c *Simulator) neighbour(id contract.CaseID) contract.CaseID {
	for n := id.Number + 1; n <= c.highest; n++ {
		if c.exists(n) && !c.headerOnly(id.WithNumber(n)) {
			return id.WithNumber(n)
		}
	}
	for n := id.Number - 1; n > 0; n-- {
		if c.exists(n) && !c.headerOnly(id.WithNumber(n)) {
			return id.WithNumber(n)
		}
	}
	return id
}

func writeJSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sendOK(w, "application/json", body)
}

// serveTruth lists the existing numbers of a range, for tests in another process.
func (c *Simulator) serveTruth(w http.ResponseWriter, query url.Values) {
	from, err1 := strconv.Atoi(query.Get("from"))
	to, err2 := strconv.Atoi(query.Get("to"))
	if err1 != nil || err2 != nil || from < 1 || to > contract.MaxNumber {
		http.Error(w, "from, to: allowed is 1 to "+strconv.Itoa(contract.MaxNumber), http.StatusBadRequest)
		return
	}
	exist := []int{}
	for n := from; n <= to; n++ {
		if c.exists(n) {
			exist = append(exist, n)
		}
	}
	writeJSON(w, map[string][]int{"exists": exist})
}

// request is a call and its case; the zero case means none.
type request struct {
	id   contract.CaseID
	call call
}

// reply is a response in a buffer. The zero status means 200.
type reply struct {
	status      int
	contentType string
	body        []byte
}

// serveExchange counts a request and answers it, correctly or with a fault. correct appends the
// correct response about a case to a buffer; for HTML it also applies the fault, if the fault can
// change pages.
func (c *Simulator) serveExchange(
	w http.ResponseWriter, r *http.Request, q request, correct func([]byte, contract.CaseID, *faultKind) reply,
) {
	turn, nth := c.stats.begin(q)
	defer c.stats.end()
	if delay.Sleep(r.Context(), c.opts.Latency) != nil {
		return
	}
	kind := c.faultKindFor(q, turn, nth)
	if kind == nil || !kind.block {
		if continueRedirect(w, r) {
			return
		}
		if wasRedirected(r.URL) {
			kind = nil
		}
	}
	buffer := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buffer)
	response := correct((*buffer)[:0], c.caseAbout(q.id, kind), kind)
	*buffer = response.body
	if kind == nil {
		response.send(w)
		return
	}
	c.stats.countFault(kind)
	if kind.changeRows != nil && !q.isHTML() {
		response = c.changeRows(kind, q, response)
	}
	kind.send(w, r, response)
}

// caseAbout returns the case that the response is about, which some faults change.
func (c *Simulator) caseAbout(id contract.CaseID, kind *faultKind) contract.CaseID {
	switch {
	case kind != nil && kind.name == kindWrong:
		return c.neighbour(id)
	case kind != nil && kind.name == kindSoftBlock:
		return contract.CaseID{}
	default:
		return id
	}
}

func (q request) isHTML() bool { return q.call >= searchPost }

// faultKindFor returns the fault of a request, or nil. turn counts the requests for the case from
// 0, nth all requests from 1.
func (c *Simulator) faultKindFor(q request, turn, nth int) *faultKind {
	if block := c.opts.BlockAfter; block.After > 0 && nth >= block.After {
		return c.kinds[block.Kind]
	}
	if q.call == robotsCall {
		return nil
	}
	if c.opts.SoftBlockAfter > 0 && nth >= c.opts.SoftBlockAfter {
		return c.kinds[kindSoftBlock]
	}
	kind := c.kinds[c.faultFor(q.id, turn)]
	if kind != nil && kind.changeRows != nil && q.isHTML() && (kind.changePage == nil || q.call == pageCall) {
		return nil // the page has no such rows
	}
	return kind
}

func (a reply) send(w http.ResponseWriter) {
	sendStatus(w, max(a.status, http.StatusOK), a.contentType, a.body)
}

// sendOK sends a response with status 200. A write error means that the client has gone, so it is
// ignored.
func sendOK(w http.ResponseWriter, contentType string, body []byte) {
	sendStatus(w, http.StatusOK, contentType, body)
}

// sendStatus sends a response; an empty content type sends no Content-Type.
func sendStatus(w http.ResponseWriter, status int, contentType string, body []byte) {
	if contentType == "" {
		w.Header()["Content-Type"] = nil
	} else {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
