// Package site asks a court and reads what it answers, by a profile: a TOML file that says which calls are made, how
// their answers look, where each field is, and what a block looks like. Nothing about a court is in the code.
package site

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// ErrProfile marks every error of a site profile.
var ErrProfile = errors.New("site profile not usable")

// Profile says how one court is asked and read. It does not change after it was loaded.
type Profile struct {
	// Name is the key of the site in buckets; it is safe as a part of a key.
	Name string
	// Origin is scheme and host, without a path; empty when whoever uses the profile has to say it.
	Origin     string
	zone       *time.Location
	division   string
	divisions  map[string]string
	headers    map[string]string
	proofCalls int
	// agree says that a record needs all the calls that are made always, and none of them empty.
	agree  bool
	tokens *tokenRules // nil when the site has no hidden inputs
	calls  []call
	blocks []blockRule
	// authorities are who may vouch for the site; nil are the system's alone.
	authorities *x509.CertPool
}

// callCondition says whether a call is made.
type callCondition string

const (
	whenAlways  callCondition = "always"  // the first thing asked
	whenUnseen  callCondition = "unseen"  // no call before it showed the case
	whenParties callCondition = "parties" // the case has been seen, and its parties are wanted
)

// rowKind says what one row of a call's answer is.
type rowKind string

const (
	entryRows  rowKind = "entry"
	headerRows rowKind = "header"
	partyRows  rowKind = "party"
)

// call is one request of an attempt and how its answer is read.
type call struct {
	name  string
	when  callCondition
	gives rowKind
	// proves says that an empty answer is the site's own word that there is no such case.
	proves bool
	method string
	path   string
	query  [][2]string
	// otherQuery is the second form of the query, for a site that may answer only one of the two; nil when there is one form.
	otherQuery [][2]string
	// form is what is posted beside the hidden inputs.
	form [][2]string
	// page is how an HTML answer is read; nil for JSON.
	page       *pageReader
	count      *jsontree.Path // nil when the answer does not count its rows
	rows       *jsontree.Path
	caseNumber *jsontree.Path // nil when the rows do not say whose they are
	// casePrefix is how a row of a case begins to be one where the number is a plain member: "COURT_NO":" and then the case id.
	casePrefix string
	// division is where a row's division is; nil when it does not say.
	division *jsontree.Path
	header   []mapping
	entry    []mapping
	party    []mapping
}

// provingCall is the call whose empty answer is proof by itself; nil when there is none.
func (p *Profile) provingCall() *call {
	for i := range p.calls {
		if p.calls[i].proves {
			return &p.calls[i]
		}
	}
	return nil
}

// mapping says where a field of the record is in a row.
type mapping struct {
	field string
	path  *jsontree.Path
}

// blockRule says how a block looks.
type blockRule struct {
	name   string
	status []int
	header []string
	texts  [][]byte // in small letters
}

// callByName is the call of that name; nil when there is none.
func (p *Profile) callByName(name string) *call {
	for i := range p.calls {
		if p.calls[i].name == name {
			return &p.calls[i]
		}
	}
	return nil
}

// callURL is what a call asks for a case, by its query or by the other form of that.
func (p *Profile) callURL(origin string, c *call, id contract.CaseID, other bool) string {
	query := c.query
	if other {
		query = c.otherQuery
	}
	var target strings.Builder
	target.WriteString(origin + p.expand(c.path, origin, id))
	for i, pair := range query {
		separator := "&"
		if i == 0 {
			separator = "?"
		}
		target.WriteString(separator + url.QueryEscape(pair[0]) + "=" + url.QueryEscape(p.expand(pair[1], origin, id)))
	}
	return target.String()
}

// pagePlaceholder stands in a form for the number of the page that is asked for: nothing for the first.
const pagePlaceholder = "{page}"

// formBody is the form of a call: the hidden inputs, and over them what the profile says.
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

// placeholders are the words in braces that a profile's paths, queries, forms and headers may hold.
func placeholders() []string {
	return []string{"{origin}", "{case_id}", "{division}", "{series}", "{year}"}
}

// expand puts what they stand for in the place of the placeholders.
func (p *Profile) expand(text, origin string, id contract.CaseID) string {
	if !strings.Contains(text, "{") {
		return text
	}
	division := p.division
	if own, found := p.divisions[id.Series]; found {
		division = own
	}
	for i, value := range []string{origin, id.String(), division, id.Series, id.Year} {
		text = strings.ReplaceAll(text, placeholders()[i], value)
	}
	return text
}
