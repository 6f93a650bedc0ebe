package courtsim

import (
	"net/http"
	"strconv"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// request is what a request asks: a call, and about which case; the zero case for none.
type request struct {
	id   contract.CaseID
	call call
}

// reply is an answer: what it is, written in a buffer. The zero status is 200.
type reply struct {
	status      int
	contentType string
	body        []byte
}

// serveExchange counts a request and answers it, rightly or with a fault. right writes the right answer at the end of a
// buffer, about the case that it is given; a page is told the fault, which it makes itself when it can.
func (c *Simulator) serveExchange(w http.ResponseWriter, r *http.Request, q request, right func([]byte, contract.CaseID, *faultKind) reply) {
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
	answer := right((*buffer)[:0], c.caseAbout(q.id, kind), kind)
	*buffer = answer.body
	if kind == nil {
		answer.send(w)
		return
	}
	c.stats.countFault(kind)
	if kind.changeRows != nil && !q.isHTML() {
		answer = c.changeRows(kind, q, answer)
	}
	kind.send(w, r, answer)
}

// caseAbout is the case that an answer is about.
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

// isHTML says whether the HTML face is asked.
func (q request) isHTML() bool { return q.call >= searchPost }

// faultKindFor is the fault of the turn-th request for a case, counted from 0, which is the nth of all, counted from 1; nil for
// none.
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
		return nil // there are no such rows
	}
	return kind
}

func (a reply) send(w http.ResponseWriter) {
	sendStatus(w, max(a.status, http.StatusOK), a.contentType, a.body)
}

// sendOK writes an answer whole. When the client has gone nobody is left to be told.
func sendOK(w http.ResponseWriter, contentType string, body []byte) {
	sendStatus(w, http.StatusOK, contentType, body)
}

// sendStatus says nothing about the type of an answer that has none.
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
