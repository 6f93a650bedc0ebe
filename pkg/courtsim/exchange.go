package courtsim

import (
	"net/http"
	"strconv"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// question is what a request asks: a call, and about which case; the zero case for none.
type question struct {
	id   contract.CaseID
	made call
}

// reply is an answer: what it is, written in a buffer. The zero status is 200.
type reply struct {
	status      int
	contentType string
	body        []byte
}

// exchange counts a request and answers it, rightly or with a fault. right writes the right answer at the end of a
// buffer, about the case that it is given; a page is told the fault, which it makes itself when it can.
func (c *Court) exchange(w http.ResponseWriter, r *http.Request, q question, right func([]byte, contract.CaseID, *faultKind) reply) {
	turn, nth := c.counts.begin(q)
	defer c.counts.end()
	if delay.Sleep(r.Context(), c.opts.Latency) != nil {
		return
	}
	kind := c.faultOf(q, turn, nth)
	if kind == nil || !kind.block {
		if hop(w, r) {
			return
		}
		if arrived(r.URL) {
			kind = nil
		}
	}
	buffer := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buffer)
	answer := right((*buffer)[:0], c.about(q.id, kind), kind)
	*buffer = answer.body
	if kind == nil {
		answer.send(w)
		return
	}
	c.counts.fault(kind)
	if kind.rows != nil && !q.onPage() {
		answer = c.spoilRows(kind, q, answer)
	}
	kind.answer(w, r, answer)
}

// about is the case that an answer is about.
func (c *Court) about(id contract.CaseID, kind *faultKind) contract.CaseID {
	switch {
	case kind != nil && kind.name == kindWrong:
		return c.neighbour(id)
	case kind != nil && kind.name == kindSoftBlock:
		return contract.CaseID{}
	default:
		return id
	}
}

// onPage says whether the HTML face is asked.
func (q question) onPage() bool { return q.made >= searchPost }

// faultOf is the fault of the turn-th request for a case, counted from 0, which is the nth of all, counted from 1; nil for
// none.
func (c *Court) faultOf(q question, turn, nth int) *faultKind {
	if block := c.opts.BlockAfter; block.After > 0 && nth >= block.After {
		return c.kinds[block.Kind]
	}
	if q.made == robotsCall {
		return nil
	}
	if c.opts.SoftBlockAfter > 0 && nth >= c.opts.SoftBlockAfter {
		return c.kinds[kindSoftBlock]
	}
	kind := c.kinds[c.drawn(q.id, turn)]
	if kind != nil && kind.rows != nil && q.onPage() && (kind.page == nil || q.made == pageCall) {
		return nil // there are no such rows
	}
	return kind
}

func (a reply) send(w http.ResponseWriter) {
	sendStatus(w, max(a.status, http.StatusOK), a.contentType, a.body)
}

// send writes an answer whole. When the client has gone nobody is left to be told.
func send(w http.ResponseWriter, contentType string, body []byte) {
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
