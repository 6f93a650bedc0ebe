package site

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/BurntSushi/toml"
)

// file is the form of a profile file.
type file struct {
	Name      string            `toml:"name"`
	Like      string            `toml:"like"`
	Origin    string            `toml:"origin"`
	TimeZone  string            `toml:"time_zone"`
	Division  string            `toml:"division"`
	Divisions map[string]string `toml:"divisions"`
	Proof     int               `toml:"proof"`
	Headers   map[string]string `toml:"headers"`
	Calls     []fileCall        `toml:"call"`
	Blocks    []fileBlock       `toml:"block"`
}

type fileCall struct {
	Name   string            `toml:"name"`
	When   when              `toml:"when"`
	Gives  gives             `toml:"gives"`
	Path   string            `toml:"path"`
	Query  map[string]string `toml:"query"`
	Format string            `toml:"format"`
	Count  string            `toml:"count"`
	Rows   string            `toml:"rows"`
	Number string            `toml:"number"`
	Header map[string]string `toml:"header"`
	Entry  map[string]string `toml:"entry"`
	Party  map[string]string `toml:"party"`
}

type fileBlock struct {
	Name   string   `toml:"name"`
	Status []int    `toml:"status"`
	Text   []string `toml:"text"`
}

// maxProfile is how large a profile file may be.
const maxProfile = 1 << 20

// Parse reads a profile file: every XPath in it is compiled, every field known. Its error wraps ErrProfile and names all
// that is wrong.
func Parse(data []byte) (*Profile, error) {
	if len(data) > maxProfile {
		return nil, fmt.Errorf("%w: %d bytes: allowed are %d", ErrProfile, len(data), maxProfile)
	}
	var f file
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	var problems []error
	for _, key := range meta.Undecoded() {
		problems = append(problems, fmt.Errorf("unknown key %s", key))
	}
	if f.Like != "" {
		p, err := f.likeness()
		if err = errors.Join(append(problems, err)...); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProfile, err)
		}
		return p, nil
	}
	p := &Profile{Name: f.Name, Origin: f.Origin, division: f.Division, divisions: f.Divisions, headers: f.Headers, proof: f.Proof}
	problems = append(problems, f.check()...)
	if p.zone, err = time.LoadLocation(f.TimeZone); err != nil || f.TimeZone == "" || f.TimeZone == "Local" {
		problems = append(problems, fmt.Errorf("time_zone %.40q: allowed is a name such as America/Toronto", f.TimeZone))
	}
	for _, c := range f.Calls {
		compiled, err := c.compile()
		if err != nil {
			problems = append(problems, fmt.Errorf("call %.40q: %w", c.Name, err))
		}
		p.calls = append(p.calls, compiled)
	}
	for _, b := range f.Blocks {
		rule := blockRule{name: b.Name, status: b.Status}
		for _, text := range b.Text {
			rule.text = append(rule.text, strings.ToLower(text))
		}
		p.blocks = append(p.blocks, rule)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return p, nil
}

// likeness is a built-in profile under another name, at another origin.
func (f file) likeness() (*Profile, error) {
	base, err := Load(f.Like)
	if err != nil {
		return nil, fmt.Errorf("like: %w", err)
	}
	if f.TimeZone != "" || f.Division != "" || f.Divisions != nil || f.Proof != 0 || f.Headers != nil || f.Calls != nil || f.Blocks != nil {
		return nil, errors.New("like: allowed beside it are name and origin")
	}
	base.Name, base.Origin = f.Name, f.Origin
	return base, errors.Join(f.names()...)
}

// names checks what every profile says of itself.
func (f file) names() []error {
	var problems []error
	if f.Name == "" || len(f.Name) > 40 || strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		problems = append(problems, fmt.Errorf("name %.60q: allowed are 1 to 40 small letters, digits and dashes", f.Name))
	}
	if f.Origin != "" {
		if err := CheckOrigin(f.Origin); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func (f file) check() []error {
	problems := f.names()
	if f.Proof < 1 {
		problems = append(problems, fmt.Errorf("proof %d: allowed is 1 and more", f.Proof))
	}
	for series := range f.Divisions {
		if err := contract.CheckSeries(series); err != nil {
			problems = append(problems, fmt.Errorf("divisions: %w", err))
		}
	}
	if len(f.Calls) == 0 || f.Calls[0].When != always {
		problems = append(problems, errors.New("call: the first one is made always"))
	}
	var names []string
	for _, c := range f.Calls {
		if slices.Contains(names, c.Name) {
			problems = append(problems, fmt.Errorf("call %.40q: there twice", c.Name))
		}
		names = append(names, c.Name)
	}
	if len(f.Blocks) == 0 {
		problems = append(problems, errors.New("block: at least one rule"))
	}
	for _, b := range f.Blocks {
		if b.Name == "" || len(b.Status)+len(b.Text) == 0 || slices.Contains(b.Status, 200) || slices.Contains(b.Text, "") {
			problems = append(problems, fmt.Errorf("block %.40q: allowed is a name with status (not 200) or text", b.Name))
		}
	}
	return problems
}

func (c fileCall) compile() (call, error) {
	compiled := call{name: c.Name, when: c.When, gives: c.Gives, path: c.Path}
	var problems []error
	wrong := func(key, value, allowed string) {
		problems = append(problems, fmt.Errorf("%s %.60q: allowed is %s", key, value, allowed))
	}
	if c.Name == "" {
		wrong("name", c.Name, "a text")
	}
	if !slices.Contains([]when{always, unseen, parties}, c.When) {
		wrong("when", string(c.When), "always, unseen or parties")
	}
	if !slices.Contains([]gives{givesEntry, givesHeader, givesParty}, c.Gives) {
		wrong("gives", string(c.Gives), "entry, header or party")
	}
	if !strings.HasPrefix(c.Path, "/") || strings.HasPrefix(c.Path, "//") {
		wrong("path", c.Path, "a path from the origin on, with one slash before it")
	}
	if c.Format != "json" {
		wrong("format", c.Format, "json")
	}
	for _, key := range slices.Sorted(maps.Keys(c.Query)) {
		compiled.query = append(compiled.query, [2]string{key, c.Query[key]})
	}
	need := func(key, text string, to **expression, must bool) {
		if text == "" && !must {
			return
		}
		var err error
		if *to, err = compile(text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		}
	}
	need("rows", c.Rows, &compiled.rows, true)
	need("count", c.Count, &compiled.count, false)
	need("number", c.Number, &compiled.number, c.Gives != givesParty)
	for _, group := range []struct {
		key   string
		from  map[string]string
		to    *[]mapping
		known func(string) bool
	}{
		{"header", c.Header, &compiled.header, isHeaderField},
		{"entry", c.Entry, &compiled.entry, isEntryField},
		{"party", c.Party, &compiled.party, isPartyField},
	} {
		for _, field := range slices.Sorted(maps.Keys(group.from)) {
			if !group.known(field) {
				problems = append(problems, fmt.Errorf("unknown key %s.%.40s", group.key, field))
			}
			m := mapping{field: field}
			need(group.key+"."+field, group.from[field], &m.from, true)
			*group.to = append(*group.to, m)
		}
	}
	return compiled, errors.Join(problems...)
}

// loopback says whether a host is this machine by its very name: no look-up, so no surprise.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
