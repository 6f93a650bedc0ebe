package site

import (
	"cmp"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"
)

//go:embed profiles/*.toml
var builtIn embed.FS

// BuiltIn returns the names of the profiles that are part of the program.
func BuiltIn() []string {
	// The folder is embedded, so listing it cannot fail.
	names, _ := fs.Glob(builtIn, "profiles/*.toml")
	for i, name := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(name, "profiles/"), ".toml")
	}
	slices.Sort(names)
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

// LoadFile reads a profile from a regular file of at most 1 MiB. It refuses anything else at once,
// including a FIFO. Its error wraps ErrProfile and names the file.
func LoadFile(path string) (*Profile, error) {
	data, err := readRegularFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	p, err := parseFrom(filepath.Dir(path), data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// readRegularFile reads up to one byte more than a profile may have, so that Parse can detect the
// excess.
func readRegularFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO waits for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: allowed is a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxProfileSize+1))
}

// profileFile is the TOML structure of a profile file.
type profileFile struct {
	Name      string            `toml:"name"`
	Like      string            `toml:"like"`
	Origin    string            `toml:"origin"`
	CAFile    string            `toml:"ca_file"`
	TimeZone  string            `toml:"time_zone"`
	Division  string            `toml:"division"`
	Divisions map[string]string `toml:"divisions"`
	Proof     int               `toml:"proof"`
	Agree     bool              `toml:"agree"`
	Facts     string            `toml:"facts"`
	Tokens    *tokensSpec       `toml:"tokens"`
	Headers   map[string]string `toml:"headers"`
	Calls     []callSpec        `toml:"call"`
	Blocks    []blockSpec       `toml:"block"`
}

type callSpec struct {
	Name   string            `toml:"name"`
	When   callCondition     `toml:"when"`
	Gives  rowKind           `toml:"gives"`
	Proves bool              `toml:"proves"`
	Method string            `toml:"method"`
	Path   string            `toml:"path"`
	Query  map[string]string `toml:"query"`
	Other  map[string]string `toml:"other_query"`
	Form   map[string]string `toml:"form"`
	Format string            `toml:"format"`
	Count  string            `toml:"count"`
	Rows   string            `toml:"rows"`
	Number string            `toml:"number"`
	Header map[string]string `toml:"header"`
	Entry  map[string]string `toml:"entry"`
	Party  map[string]string `toml:"party"`
	Page   *pageSpec         `toml:"page"`
}

// pageSpec holds the keys that only an HTML response needs.
type pageSpec struct {
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

type tokensSpec struct {
	Path   string      `toml:"path"`
	End    string      `toml:"end"`
	Inputs string      `toml:"inputs"`
	Stale  []blockSpec `toml:"stale"`
}

type blockSpec struct {
	Name   string   `toml:"name"`
	Status []int    `toml:"status"`
	Header []string `toml:"header"`
	Text   []string `toml:"text"`
}

// maxProfileSize is the largest profile file, in bytes.
const maxProfileSize = 1 << 20

// Parse reads a profile: it compiles every XPath and rejects unknown fields. Only LoadFile accepts
// a ca_file, because its path is relative to the profile's folder. The error wraps ErrProfile and
// lists every problem.
func Parse(data []byte) (*Profile, error) { return parseFrom("", data) }

// parseFrom is Parse for a file in folder, where its ca_file is looked up.
func parseFrom(folder string, data []byte) (*Profile, error) {
	p, err := parse(folder, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return p, nil
}

func parse(folder string, data []byte) (*Profile, error) {
	if len(data) > maxProfileSize {
		return nil, fmt.Errorf("larger than the %d bytes that are allowed", maxProfileSize)
	}
	var f profileFile
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		return nil, tomlError(err)
	}
	var unknown []error
	for _, key := range meta.Undecoded() {
		unknown = append(unknown, fmt.Errorf("unknown key %.60q", key.String()))
	}
	read := f.compile
	if f.Like != "" {
		read = f.derived
	}
	p, err := read()
	problems := []error{errors.Join(unknown...), err}
	switch {
	case f.CAFile == "" || p == nil:
	case folder == "":
		problems = append(problems, fmt.Errorf("ca_file %.200q: allowed in the profile of a file alone", f.CAFile))
	default:
		p.authorities, err = readAuthorities(folder, f.CAFile)
		problems = append(problems, err)
	}
	return p, errors.Join(problems...)
}

// tomlError shortens the error of the TOML library for headers: the library quotes the value, which
// may be a token.
func tomlError(err error) error {
	at, found := errors.AsType[toml.ParseError](err)
	if found && strings.HasPrefix(at.LastKey, "headers") {
		return fmt.Errorf("toml: line %d (last key %q): allowed is a text between quotes", at.Position.Line, at.LastKey)
	}
	return err
}

// derived returns a built-in profile under another name, at another origin.
func (f profileFile) derived() (*Profile, error) {
	base, err := Load(f.Like)
	if err != nil {
		return nil, fmt.Errorf("like: %w", err)
	}
	if f.TimeZone != "" || f.Division != "" || f.Divisions != nil || f.Proof != 0 || f.Agree || f.Tokens != nil ||
		f.Headers != nil || f.Calls != nil || f.Blocks != nil {
		return nil, errors.New("like: allowed beside it are name, origin, ca_file and facts")
	}
	base.Name, base.Origin, base.Facts = f.Name, f.Origin, cmp.Or(f.Facts, base.Facts)
	return base, errors.Join(f.checkNames()...)
}

// compile returns the profile of a file that does not refer to a built-in one.
func (f profileFile) compile() (*Profile, error) {
	p := &Profile{Name: f.Name, Origin: f.Origin, Facts: f.Facts, division: f.Division, divisions: f.Divisions,
		headers: f.Headers, proofCalls: f.Proof, agree: f.Agree}
	problems := f.check()
	var err error
	if p.tokens, err = f.Tokens.compile(); err != nil {
		problems = append(problems, fmt.Errorf("tokens: %w", err))
	}
	if p.zone, err = time.LoadLocation(f.TimeZone); err != nil || f.TimeZone == "" || f.TimeZone == "Local" {
		problems = append(problems, fmt.Errorf("time_zone %.40q: allowed is a name such as America/Toronto",
			f.TimeZone))
	}
	for _, c := range f.Calls {
		compiled, err := c.compile(p.tokens)
		if err != nil {
			problems = append(problems, fmt.Errorf("call %.40q: %w", c.Name, err))
		}
		p.calls = append(p.calls, compiled)
	}
	for _, b := range f.Blocks {
		p.blocks = append(p.blocks, blockRule{name: b.Name, status: b.Status, header: b.Header,
			texts: lowerCase(b.Text)})
	}
	return p, errors.Join(problems...)
}

// readAuthorities returns the system's certificate authorities plus those of a PEM file. A relative
// path starts at the folder of the profile.
func readAuthorities(folder, path string) (*x509.CertPool, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	data, err := readRegularFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("ca_file: reading the system's authorities: %w", err)
	}
	if len(data) > maxProfileSize || !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca_file %.200q: allowed is a PEM file with certificates, of at most %d bytes", path,
			maxProfileSize)
	}
	return pool, nil
}
