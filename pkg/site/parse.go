package site

import (
	"errors"
	"fmt"
	"time"

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
	Agree     bool              `toml:"agree"`
	Tokens    *fileTokens       `toml:"tokens"`
	Headers   map[string]string `toml:"headers"`
	Calls     []fileCall        `toml:"call"`
	Blocks    []fileBlock       `toml:"block"`
}

type fileCall struct {
	Name   string            `toml:"name"`
	When   when              `toml:"when"`
	Gives  gives             `toml:"gives"`
	Proves bool              `toml:"proves"`
	Method string            `toml:"method"`
	Path   string            `toml:"path"`
	Query  map[string]string `toml:"query"`
	Form   map[string]string `toml:"form"`
	Format string            `toml:"format"`
	Count  string            `toml:"count"`
	Rows   string            `toml:"rows"`
	Number string            `toml:"number"`
	Header map[string]string `toml:"header"`
	Entry  map[string]string `toml:"entry"`
	Party  map[string]string `toml:"party"`
	Page   *filePage         `toml:"page"`
}

// filePage is what an HTML answer needs beside the keys that JSON has too.
type filePage struct {
	End     string     `toml:"end"`
	Within  string     `toml:"within"`
	Title   string     `toml:"title"`
	Titles  []string   `toml:"titles"`
	Table   string     `toml:"table"`
	Columns [][]string `toml:"columns"`
	None    []string   `toml:"none"`
	Shown   string     `toml:"shown"`
	Counts  []string   `toml:"counts"`
	Next    string     `toml:"next"`
}

type fileTokens struct {
	Path   string      `toml:"path"`
	End    string      `toml:"end"`
	Inputs string      `toml:"inputs"`
	Stale  []fileBlock `toml:"stale"`
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
	p, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return p, nil
}

func parse(data []byte) (*Profile, error) {
	if len(data) > maxProfile {
		return nil, fmt.Errorf("larger than the %d bytes that are allowed", maxProfile)
	}
	var f file
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		return nil, err
	}
	var unknown []error
	for _, key := range meta.Undecoded() {
		unknown = append(unknown, fmt.Errorf("unknown key %.60q", key.String()))
	}
	read := f.profile
	if f.Like != "" {
		read = f.likeness
	}
	p, err := read()
	return p, errors.Join(append(unknown, err)...)
}

// likeness is a built-in profile under another name, at another origin.
func (f file) likeness() (*Profile, error) {
	base, err := Load(f.Like)
	if err != nil {
		return nil, fmt.Errorf("like: %w", err)
	}
	if f.TimeZone != "" || f.Division != "" || f.Divisions != nil || f.Proof != 0 || f.Agree || f.Tokens != nil || f.Headers != nil || f.Calls != nil || f.Blocks != nil {
		return nil, errors.New("like: allowed beside it are name and origin")
	}
	base.Name, base.Origin = f.Name, f.Origin
	return base, errors.Join(f.checkNames()...)
}

// profile is what a file that stands for itself says.
func (f file) profile() (*Profile, error) {
	p := &Profile{Name: f.Name, Origin: f.Origin, division: f.Division, divisions: f.Divisions, headers: f.Headers, proof: f.Proof, agree: f.Agree}
	problems := f.check()
	var err error
	if p.tokens, err = f.Tokens.compile(); err != nil {
		problems = append(problems, fmt.Errorf("tokens: %w", err))
	}
	if p.zone, err = time.LoadLocation(f.TimeZone); err != nil || f.TimeZone == "" || f.TimeZone == "Local" {
		problems = append(problems, fmt.Errorf("time_zone %.40q: allowed is a name such as America/Toronto", f.TimeZone))
	}
	for _, c := range f.Calls {
		compiled, err := c.compile(p.tokens)
		if err != nil {
			problems = append(problems, fmt.Errorf("call %.40q: %w", c.Name, err))
		}
		p.calls = append(p.calls, compiled)
	}
	for _, b := range f.Blocks {
		p.blocks = append(p.blocks, blockRule{name: b.Name, status: b.Status, text: inSmallLetters(b.Text)})
	}
	return p, errors.Join(problems...)
}
