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

const (
	// maxFile is the maximum size of a settings file in bytes.
	maxFile = 1 << 20
	// maxKeys is how many keys a settings file may have, several times as many as there are: each is
	// searched for in the whole file.
	maxKeys = 256
)

// fromFile reads a settings file. An error concerns the file as a whole.
func (t table) fromFile(path string) ([]input, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var values map[string]any
	meta, err := toml.Decode(string(data), &values)
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(values) > maxKeys {
		return nil, fmt.Errorf("%s: %d keys: want a file of settings, at most %d", path, len(values), maxKeys)
	}
	var list []input
	seen := make(map[string]bool)
	for _, key := range meta.Keys() {
		name := key[0] // for a table, only the keys inside may be listed
		if seen[name] {
			continue
		}
		seen[name] = true
		list = append(list, t.fromTOML(name, fmt.Sprintf("%s:%d", path, keyLine(string(data), name)), values[name]))
	}
	return list, nil
}

// keyLine returns the line of a valid TOML file on which a top-level name first occurs. The decoder
// reports positions in errors alone: after another definition of the name, this one is an error.
func keyLine(text, name string) int {
	text = toml.Key{name}.String() + " = 0\n" + strings.TrimPrefix(text, "\ufeff")
	_, err := toml.Decode(text, &map[string]any{})
	twice, _ := errors.AsType[toml.ParseError](err)
	return twice.Position.Line - 1
}

// fileError reports where a file is not TOML.
func fileError(path string, err error) error {
	if at, found := errors.AsType[toml.ParseError](err); found {
		return fmt.Errorf("%s:%d: not TOML: %s", path, at.Position.Line, oneLine(at.Message))
	}
	return fmt.Errorf("%s: not TOML: %w", path, err)
}

// fromTOML reads a setting from a value of the file.
func (t table) fromTOML(name, origin string, value any) input {
	text, kind := textOf(value)
	s := t.byName[name]
	var g input
	if s == nil {
		g = t.unknownSetting(name, origin, text)
	} else {
		g = t.parseText(name, origin, text)
	}
	if kind != isText {
		g.shown = fmt.Sprintf("%.80s", t.withoutSecrets(name, text))
	}
	switch {
	case kind == isTable:
		g.value, g.problem = nil, "want lines of key = value, without tables"
	case g.problem == "" && !s.accepts(kind):
		g.value, g.problem = nil, s.wantInFile()
	}
	return g
}

// wantInFile describes the required form of a value in the file.
func (s *setting) wantInFile() string {
	if s.accepts(isInt) || s.accepts(isBool) {
		return "want " + s.validator.text
	}
	return "want text between quotes: " + s.validator.text
}

// kind is the type of a value in the file, as far as it matters for settings.
type kind int

const (
	isText kind = iota
	isInt
	isFloat
	isBool
	isTable
	isOther
)

func textOf(value any) (string, kind) {
	switch v := value.(type) {
	case string:
		return v, isText
	case int64:
		return strconv.FormatInt(v, 10), isInt
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), isFloat
	case bool:
		return strconv.FormatBool(v), isBool
	case map[string]any, []map[string]any:
		return "a table", isTable
	case []any:
		return "a list", isOther
	default:
		return strings.TrimSpace(fmt.Sprint(v)), isOther
	}
}

// accepts reports whether a value of this kind is allowed for the setting in a file: a number in
// quotes is not a number. A year may be written without quotes.
func (s *setting) accepts(k kind) bool {
	if s.name == "year" && k == isInt {
		return true
	}
	var c Config
	switch s.field(&c).Interface().(type) {
	case string:
		return k == isText
	case bool:
		return k == isBool
	case int:
		return k == isInt || k == isText && s.validator.allowsNone
	case float64:
		return k == isInt || k == isFloat
	case Bytes:
		return k == isInt || k == isText
	default:
		return k == isInt || k == isFloat || k == isText
	}
}

// readFile reads a regular file of text. It checks the kind of the file first and opens it without
// blocking: a pipe without a writer would block forever.
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
	defer func() { _ = file.Close() }() // opened only for reading
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
