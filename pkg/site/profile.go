// Package site asks a court and reads what it answers, by a profile: a TOML file that says which calls are made, how
// their answers look, where each field is, and what a block looks like. Nothing about a court is in the code.
package site

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a court's days are its own wherever the program runs

	"fct-scraper/pkg/contract"
)

// ErrProfile marks every error of a site profile.
var ErrProfile = errors.New("site profile not usable")

//go:embed profiles/*.toml
var builtIn embed.FS

// Profile says how one court is asked and read. It does not change after it was loaded.
type Profile struct {
	// Name is the key of the site in buckets; it is safe as a part of a key.
	Name string
	// Origin is scheme and host, without a path; empty when whoever uses the profile has to say it.
	Origin    string
	zone      *time.Location
	division  string
	divisions map[string]string
	headers   map[string]string
	proof     int
	calls     []call
	blocks    []blockRule
}

// when says whether a call is made.
type when string

const (
	always  when = "always"  // the first thing asked
	unseen  when = "unseen"  // no call before it showed the case
	parties when = "parties" // the case has been seen, and its parties are wanted
)

// gives says what one row of a call's answer is.
type gives string

const (
	givesEntry  gives = "entry"
	givesHeader gives = "header"
	givesParty  gives = "party"
)

// call is one request of an attempt and how its answer is read.
type call struct {
	name   string
	when   when
	gives  gives
	path   string
	query  [][2]string
	count  *expression
	rows   *expression
	number *expression
	header []mapping
	entry  []mapping
	party  []mapping
}

// mapping says where a field of the record is in a row.
type mapping struct {
	field string
	from  *expression
}

// blockRule says how a block looks.
type blockRule struct {
	name   string
	status []int
	text   []string
}

// BuiltIn are the names of the profiles that come with the program.
func BuiltIn() []string {
	// The folder is embedded: listing it cannot fail.
	names, _ := fs.Glob(builtIn, "profiles/*.toml")
	for i, name := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(name, "profiles/"), ".toml")
	}
	return names
}

// Load reads the built-in profile of that name. Its error wraps ErrProfile.
func Load(name string) (*Profile, error) {
	if !slices.Contains(BuiltIn(), name) {
		return nil, fmt.Errorf("%w: %.60q: allowed are %s, or a file", ErrProfile, name, strings.Join(BuiltIn(), ", "))
	}
	data, err := builtIn.ReadFile("profiles/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return Parse(data)
}

// callNamed is the call of that name; nil when there is none.
func (p *Profile) callNamed(name string) *call {
	for i := range p.calls {
		if p.calls[i].name == name {
			return &p.calls[i]
		}
	}
	return nil
}

// url is what a call asks for a case.
func (p *Profile) url(origin string, c *call, id contract.CaseID) string {
	fill := p.placeholders(origin, id)
	query := url.Values{}
	for _, pair := range c.query {
		query.Add(pair[0], fill.Replace(pair[1]))
	}
	target := origin + fill.Replace(c.path)
	if len(query) == 0 {
		return target
	}
	return target + "?" + query.Encode()
}

func (p *Profile) placeholders(origin string, id contract.CaseID) *strings.Replacer {
	division := p.division
	if own, found := p.divisions[id.Series]; found {
		division = own
	}
	return strings.NewReplacer("{origin}", origin, "{case_id}", id.String(), "{division}", division, "{series}", id.Series, "{year}", id.Year)
}

// CheckOrigin says whether text may be the origin of a site: https, or http to this machine; a host and nothing behind it.
func CheckOrigin(text string) error {
	const allowed = "allowed is https://host[:port], or http:// to this machine alone"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("origin %.100q: %s: %w", text, allowed, err)
	case u.User != nil:
		return fmt.Errorf("origin %q: %s, without credentials", u.Redacted(), allowed)
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("origin %.100q: %s", text, allowed)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	default:
		return fmt.Errorf("origin %.100q: %s", text, allowed)
	}
}
