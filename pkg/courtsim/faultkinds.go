package courtsim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// faultKind is one way to misbehave. At most one of serve, changeBody and changeRows is set. With
// none of them the simulator produces the wrong response itself, see serveExchange.
type faultKind struct {
	name, about string
	// block marks responses that tell the client to stop.
	block bool
	// serve sends the response, given the correct one.
	serve func(w http.ResponseWriter, r *http.Request, correct reply)
	// changeBody turns the correct response into another one.
	changeBody func(correct reply) reply
	// changeRows changes the rows of a JSON response. changePage does the same for an HTML page;
	// without it HTML pages are correct.
	changeRows func(c *Simulator, id contract.CaseID, rows *jsonRows)
	changePage func(c *Simulator, id contract.CaseID, v *view)
}

// Kinds that the simulator produces itself.
const (
	kindWrong     = "wrong"
	kindSoftBlock = "softblock"
)

// allKinds returns all kinds of faults, in the order of the help text.
func allKinds() []faultKind {
	return slices.Concat(statusKinds(), blockKinds(), wireKinds(), sizeKinds(), redirectKinds(), bodyKinds(), charsetKinds(), []faultKind{
		{name: kindWrong, about: "the well-formed response of another case: the next that exists"},
		{name: kindSoftBlock, about: "the well-formed response of a case that does not exist"},
	}, rowKinds(), fieldKinds())
}

// FaultKinds returns the names of all kinds of faults; FaultHelp describes them.
func FaultKinds() []string { return kindNames(func(faultKind) bool { return true }) }

// BlockKinds returns the names of the kinds that are blocks.
func BlockKinds() []string { return kindNames(func(k faultKind) bool { return k.block }) }

func kindNames(wanted func(faultKind) bool) (names []string) {
	for _, kind := range allKinds() {
		if wanted(kind) {
			names = append(names, kind.name)
		}
	}
	return names
}

// FaultHelp describes each kind of fault in one line.
func FaultHelp() string {
	var b strings.Builder
	for _, kind := range allKinds() {
		b.WriteString("  " + kind.name + strings.Repeat(" ", max(1, 17-len(kind.name))) + kind.about)
		if kind.block {
			b.WriteString(" (a block)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func kindsByName() map[string]*faultKind {
	known := make(map[string]*faultKind)
	for _, kind := range allKinds() {
		known[kind.name] = &kind
	}
	return known
}

func (k *faultKind) send(w http.ResponseWriter, r *http.Request, correct reply) {
	switch {
	case k.serve != nil:
		k.serve(w, r, correct)
	case k.changeBody != nil:
		k.changeBody(correct).send(w)
	default: // it is wrong already
		correct.send(w)
	}
}

const (
	errorPage = "<html><head><title>Error</title></head><body><h1>Server Error in '/' Application.</h1></body></html>"
	sorryPage = "<html><head><title>Error</title></head><body><h2>Sorry, an error occurred while processing your request.</h2></body></html>"
	wafPage   = "<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. " +
		"Please consult with your administrator.<br><br>Your support ID is: 9128374655647382910</body></html>"
	captchaPage   = `<html><body><form id="challenge-form"><div class="h-captcha"></div>Please verify you are human.</form></body></html>`
	challengePage = `<html><head><title>Just a moment...</title></head><body><noscript>Enable JavaScript and cookies to continue</noscript>` +
		`<script src="/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1"></script></body></html>`
)

func statusKinds() []faultKind {
	kinds := []faultKind{
		{name: "503", about: "status 503 with Retry-After: 1 and an error page", serve: statusHandler(http.StatusServiceUnavailable, errorPage, fixedRetryAfter("1"))},
		{name: "204", about: "status 204, which has no body", serve: func(w http.ResponseWriter, _ *http.Request, _ reply) { w.WriteHeader(http.StatusNoContent) }},
	}
	for _, status := range []int{500, 502, 504, 404, 418, 299, 999} {
		name := strconv.Itoa(status)
		kinds = append(kinds, faultKind{name: name, about: "status " + name + " with an error page", serve: statusHandler(status, errorPage, nil)})
	}
	return kinds
}

func blockKinds() []faultKind {
	const forbidden, often = "<html><body><h1>403 - Forbidden: Access is denied.</h1></body></html>", "<html><body>Too many requests.</body></html>"
	kinds := []faultKind{
		{name: "403", about: "status 403", serve: statusHandler(http.StatusForbidden, forbidden, nil)},
		{name: "403-after", about: "status 403 with Retry-After: 120", serve: statusHandler(http.StatusForbidden, forbidden, fixedRetryAfter("120"))},
		{name: "429", about: "status 429 with Retry-After: 120", serve: statusHandler(http.StatusTooManyRequests, often, fixedRetryAfter("120"))},
		{name: "429-bare", about: "status 429 without Retry-After", serve: statusHandler(http.StatusTooManyRequests, often, nil)},
		{name: "429-date", about: "status 429, Retry-After: the date in 120 seconds", serve: statusHandler(http.StatusTooManyRequests, often, func() string {
			return time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat)
		})},
		{name: "429-past", about: "status 429, Retry-After: a date of 1970", serve: statusHandler(http.StatusTooManyRequests, often, fixedRetryAfter("Thu, 01 Jan 1970 00:00:00 GMT"))},
		{name: "429-absurd", about: "status 429, Retry-After: 99999999999", serve: statusHandler(http.StatusTooManyRequests, often, fixedRetryAfter("99999999999"))},
		{name: "429-negative", about: "status 429, Retry-After: -1", serve: statusHandler(http.StatusTooManyRequests, often, fixedRetryAfter("-1"))},
		{name: "429-words", about: "status 429, Retry-After: soon", serve: statusHandler(http.StatusTooManyRequests, often, fixedRetryAfter("soon"))},
		{name: "waf", about: `the page "Request Rejected" under status 200`, changeBody: fixedReply(asHTML, wafPage)},
		{name: "waf-json", about: "that page, labelled JSON", changeBody: fixedReply(asJSON, wafPage)},
		{name: "captcha", about: "a captcha page under status 200, labelled JSON", changeBody: fixedReply(asJSON, captchaPage)},
		{name: "challenge", about: "a captcha page under status 200", changeBody: fixedReply(asHTML, captchaPage)},
		{name: "challenge-503", about: "a JavaScript challenge under status 503", serve: statusHandler(http.StatusServiceUnavailable, challengePage, nil)},
	}
	for i := range kinds {
		kinds[i].block = true
	}
	return kinds
}

func fixedRetryAfter(text string) func() string { return func() string { return text } }

// statusHandler answers with a status and a page, and with Retry-After if after is not nil.
func statusHandler(status int, page string, after func() string) func(http.ResponseWriter, *http.Request, reply) {
	return func(w http.ResponseWriter, _ *http.Request, _ reply) {
		if after != nil {
			w.Header().Set("Retry-After", after())
		}
		sendStatus(w, status, asHTML, []byte(page))
	}
}

// fixedReply returns a fixed response with status 200.
func fixedReply(contentType, text string) func(reply) reply {
	return func(reply) reply { return reply{0, contentType, []byte(text)} }
}
