// Package site sends requests to a court's web site and reads its responses. A profile drives it: a
// TOML file that says which calls are made, how their responses look, where each field is, and how
// a block looks. The code knows nothing about a particular court.
package site

import (
	"crypto/x509"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// ErrProfile marks every error of a site profile.
var ErrProfile = errors.New("invalid site profile")

// Profile describes how one site is requested and read. What it says does not change after loading.
type Profile struct {
	// Name is the key of the site in buckets; it is safe as a part of a key.
	Name string
	// Origin is scheme and host, without a path. It is empty if the user of the profile has to
	// supply it.
	Origin string
	// Facts is the name of the rules that read facts out of the site's records; empty if there are none.
	Facts      string
	zone       *time.Location
	division   string
	divisions  map[string]string
	headers    map[string]string
	proofCalls int
	// agree requires all calls with when = "always" to show the case before there is a record.
	agree  bool
	tokens *tokenRules // nil if the site has no hidden inputs
	calls  []call
	blocks []blockRule
	// authorities are the certificate authorities trusted for the site; nil means the system's.
	authorities *x509.CertPool
	// parsers are unused *jsontree.Parser.
	parsers sync.Pool
}

// parser returns a parser for one response, which must be given back to release.
func (p *Profile) parser() *jsontree.Parser {
	if unused, ok := p.parsers.Get().(*jsontree.Parser); ok {
		return unused
	}
	return new(jsontree.Parser)
}

// release keeps a parser for another response. Nothing may use the nodes of its tree any more.
func (p *Profile) release(parser *jsontree.Parser) {
	parser.Reset()
	p.parsers.Put(parser)
}

// callCondition says when a call is made.
type callCondition string

const (
	whenAlways  callCondition = "always"  // in every attempt
	whenUnseen  callCondition = "unseen"  // if no earlier call showed the case, or its header is requested
	whenParties callCondition = "parties" // if the case was found and parties are requested
)

// rowKind says what one row of a call's response holds.
type rowKind string

const (
	entryRows  rowKind = "entry"
	headerRows rowKind = "header"
	partyRows  rowKind = "party"
)

// call is one request of an attempt and the way to read its response.
type call struct {
	name  string
	when  callCondition
	gives rowKind
	// proves marks a call whose empty response proves by itself that the case does not exist.
	proves bool
	method string
	path   string
	query  [][2]string
	// otherQuery is the alternative query, for a site that may answer only one of two forms; nil if
	// there is one form.
	otherQuery [][2]string
	// form is posted together with the hidden inputs.
	form [][2]string
	// page reads an HTML response; nil for JSON.
	page       *pageReader
	count      *jsontree.Path // nil if the response has no row count
	rows       *jsontree.Path
	caseNumber *jsontree.Path // nil if rows do not name their case
	// casePrefix is the JSON text before the case id in a row, such as "COURT_NO":". It is empty if
	// the number is not a plain member.
	casePrefix string
	// division is the path to a row's division; nil if rows have none.
	division *jsontree.Path
	header   []mapping
	entry    []mapping
	party    []mapping
}

// provingCall returns the call whose empty response is proof by itself, or nil.
func (p *Profile) provingCall() *call {
	for i := range p.calls {
		if p.calls[i].proves {
			return &p.calls[i]
		}
	}
	return nil
}

// Requests returns how many requests a case takes in one attempt: one with a record, whose docket is
// not empty, and one that does not exist. Further pages, hidden inputs and redirects come on top.
func (p *Profile) Requests(parties, header bool) (record, absent int) {
	for i := range p.calls {
		switch c := &p.calls[i]; c.when {
		case whenAlways:
			record, absent = record+1, absent+1
		case whenUnseen:
			if absent++; header && c.gives == headerRows {
				record++
			}
		case whenParties:
			if parties {
				record++
			}
		}
	}
	return record, absent
}

// mapping is a field of the record and its path in a row.
type mapping struct {
	name string
	path *jsontree.Path
	// index is the index of the field in its struct.
	index int
	// isDay: the field is a day, which is written YYYY-MM-DD.
	isDay bool
}

func newMapping(f reflect.StructField, path *jsontree.Path) mapping {
	return mapping{name: f.Tag.Get("json"), path: path, index: f.Index[0], isDay: f.Tag.Get("format") == "date"}
}

// blockRule describes how a block looks.
type blockRule struct {
	name   string
	status []int
	header []string
	texts  [][]byte // in lower case
}

func (p *Profile) callByName(name string) *call {
	for i := range p.calls {
		if p.calls[i].name == name {
			return &p.calls[i]
		}
	}
	return nil
}

// callURL returns the URL of a call for a case, with its first query or with the other one.
func (p *Profile) callURL(origin string, c *call, id contract.CaseID, other bool) string {
	query := c.query
	if other {
		query = c.otherQuery
	}
	target := make([]byte, 0, 256)
	target = append(append(target, origin...), p.expand(c.path, origin, id)...)
	for i, pair := range query {
		separator := byte('&')
		if i == 0 {
			separator = '?'
		}
		target = append(append(append(target, separator), url.QueryEscape(pair[0])...), '=')
		target = append(target, url.QueryEscape(p.expand(pair[1], origin, id))...)
	}
	return string(target)
}

// pagePlaceholder stands in a form for the requested page number; it is replaced by an empty text
// for the first page.
const pagePlaceholder = "{page}"

// formBody returns the encoded form of a call: the hidden inputs, overridden by the profile's form.
func (p *Profile) formBody(origin string, c *call, id contract.CaseID, page string, inputs [][2]string) string {
	form := make(url.Values)
	for _, input := range inputs {
		form.Set(input[0], input[1])
	}
	for _, pair := range c.form {
		form.Set(pair[0], strings.ReplaceAll(p.expand(pair[1], origin, id), pagePlaceholder, page))
	}
	return form.Encode()
}

// placeholders returns the placeholders allowed in the paths, queries, forms and headers of a
// profile.
func placeholders() []string {
	return []string{"{origin}", "{case_id}", "{division}", "{series}", "{year}"}
}

// expand replaces the placeholders in text by their values.
func (p *Profile) expand(text, origin string, id contract.CaseID) string {
	if !strings.Contains(text, "{") {
		return text
	}
	division := p.division
	if own, found := p.divisions[id.Series]; found {
		division = own
	}
	values := [...]string{origin, id.String(), division, id.Series, id.Year}
	for i, placeholder := range placeholders() {
		text = strings.ReplaceAll(text, placeholder, values[i])
	}
	return text
}
