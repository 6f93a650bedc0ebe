package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is how large a file of settings may be, in bytes.
const maxFile = 1 << 20

// fromFile reads a file of settings. Its error is about the file as a whole.
func (t table) fromFile(path string) ([]given, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var values map[string]any
	meta, err := toml.Decode(string(data), &values)
	if err != nil {
		return nil, fileError(path, err)
	}
	lines := keyLines(data)
	var list []given
	seen := make(map[string]bool)
	for _, key := range meta.Keys() {
		name := key[0] // of a table, it may be that only what is in it is a key
		if seen[name] {
			continue
		}
		seen[name] = true
		origin := path
		if line := lines[name]; line > 0 {
			origin += ":" + strconv.Itoa(line)
		}
		list = append(list, t.fromTOML(name, origin, values[name]))
	}
	return list, nil
}

// fileError says where a file is not TOML.
func fileError(path string, err error) error {
	if at, found := errors.AsType[toml.ParseError](err); found {
		return fmt.Errorf("%s:%d: not TOML: %s", path, at.Position.Line, oneLine(at.Message))
	}
	return fmt.Errorf("%s: not TOML: %w", path, err)
}

// fromTOML makes a given setting of a value of the file.
func (t table) fromTOML(name, origin string, value any) given {
	text, kind := textOf(value)
	s := t.named[name]
	var g given
	if s == nil {
		g = t.unknown(name, origin, text)
	} else {
		g = t.text(name, origin, text)
	}
	if kind != isText {
		g.shown = fmt.Sprintf("%.80s", t.safe(name, text))
	}
	switch {
	case kind == isTable:
		g.value, g.problem = nil, "want lines of key = value, without tables"
	case g.problem == "" && !s.takes(kind):
		g.value, g.problem = nil, s.inFile()
	}
	return g
}

// inFile says what is wanted of a value that the file holds as something else.
func (s *setting) inFile() string {
	if s.takes(isWhole) || s.takes(isYesNo) {
		return "want " + s.limit.text
	}
	return "want text between quotes: " + s.limit.text
}

// kind is what a value of the file is, as far as settings tell apart.
type kind int

const (
	isText kind = iota
	isWhole
	isNumber
	isYesNo
	isTable
	isOther
)

func textOf(value any) (string, kind) {
	switch v := value.(type) {
	case string:
		return v, isText
	case int64:
		return strconv.FormatInt(v, 10), isWhole
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), isNumber
	case bool:
		return strconv.FormatBool(v), isYesNo
	case map[string]any, []map[string]any:
		return "a table", isTable
	case []any:
		return "a list", isOther
	default:
		return strings.TrimSpace(fmt.Sprint(v)), isOther
	}
}

// takes says whether a value of this kind may stand for the setting in a file: a number between quotes is no number. A year, of which
// the program keeps the text, may stand without quotes.
func (s *setting) takes(k kind) bool {
	if s.name == "year" && k == isWhole {
		return true
	}
	var c Config
	switch field(&c, s.name).Interface().(type) {
	case string:
		return k == isText
	case bool:
		return k == isYesNo
	case int:
		return k == isWhole || k == isText && s.limit.none
	case float64:
		return k == isWhole || k == isNumber
	case Bytes:
		return k == isWhole || k == isText
	default:
		return k == isWhole || k == isNumber || k == isText
	}
}

// readFile reads a regular file of text. It asks what the file is before it opens it, and opens it without waiting: a
// pipe that nobody writes into would hold the program for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a file", describe(info.Mode()))
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("larger than %v: want a file of settings", Bytes(maxFile))
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return nil, errors.New("not text in UTF-8: want a file of settings")
	}
	return data, nil
}

func describe(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeDevice != 0:
		return "a device"
	default:
		return "not a regular file"
	}
}
