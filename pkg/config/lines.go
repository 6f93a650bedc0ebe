package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Line is one setting for people.
type Line struct {
	Key string
	// Value is in the form of the file; secrets are masked.
	Value string
	// Origin is "default", "config.toml:5", "$FCT_YEAR" or "--year".
	Origin string
}

// Lines returns all settings in the table's order.
func (s *Settings) Lines() []Line {
	var lines []Line
	for _, setting := range newTable().list {
		lines = append(lines, Line{Key: setting.name, Value: s.toml(setting), Origin: s.origins[setting.name]})
	}
	return lines
}

// Effective returns all settings for manifests and reports: text, numbers and booleans. Secrets are
// masked, and a setting without a value is nil.
func (s *Settings) Effective() map[string]any {
	all := make(map[string]any)
	for _, setting := range newTable().list {
		value := setting.field(&s.Config).Interface()
		switch v := value.(type) {
		case string:
			value = setting.masked(v)
		case time.Duration, Bytes, Hours:
			value = formatValue(v)
		case int:
			if setting.validator.allowsNone && v == 0 {
				value = nil
			}
		}
		all[setting.name] = value
	}
	return all
}

// Subset returns the settings of these keys in the form of Effective.
func (s *Settings) Subset(keys ...string) map[string]any {
	some := s.Effective()
	maps.DeleteFunc(some, func(key string, _ any) bool { return !slices.Contains(keys, key) })
	return some
}

// masked is a valid value without credentials.
func (s *setting) masked(value string) string {
	switch {
	case s.isList:
		return maskAddresses(value)
	case s.isAddress:
		return maskAddress(value)
	}
	return value
}

// formatValue is a setting's value in the form that parse reads.
func formatValue(value any) string {
	if d, ok := value.(time.Duration); ok {
		return FormatDuration(d)
	}
	return fmt.Sprint(value)
}

// toml is a setting's value in the form of the file.
func (s *Settings) toml(setting *setting) string {
	switch v := setting.field(&s.Config).Interface().(type) {
	case string:
		return strconv.Quote(setting.masked(v))
	case time.Duration, Bytes, Hours:
		return strconv.Quote(formatValue(v))
	case int:
		if setting.validator.allowsNone && v == 0 {
			return `"none"`
		}
		return strconv.Itoa(v)
	default:
		return fmt.Sprint(v)
	}
}

// Key describes one setting.
type Key struct {
	Name string
	// Flag is without the leading dashes, Env the variable.
	Flag, Env string
	Aliases   []string
	// Default is text, empty if there is none.
	Default string
	// Allowed describes the allowed values, Help what they do.
	Allowed, Help string
	// Kind is the type of the value: bool, int, float, duration, size, hours, path or string. A
	// bool flag without a value means true.
	Kind string
}

// Keys returns all settings in display order.
func Keys() []Key {
	var keys []Key
	for _, s := range newTable().list {
		keys = append(keys, Key{
			Name: s.name, Flag: flagName(s.name), Env: variable(s.name), Aliases: s.aliases, Default: s.fallback,
			Allowed: s.validator.text, Help: s.help, Kind: s.kind(),
		})
	}
	return keys
}

// kind is the type of a setting's value, for people.
func (s *setting) kind() string {
	var c Config
	switch s.field(&c).Interface().(type) {
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case time.Duration:
		return "duration"
	case Bytes:
		return "size"
	case Hours:
		return "hours"
	}
	if s.isPath {
		return "path"
	}
	return "string"
}

// Example is a settings file with every key, commented out, at its default.
func Example() []byte {
	var text strings.Builder
	text.WriteString("# Settings of fct-scraper. A line without its # is in force; flags and FCT_ variables are stronger.\n")
	settings := &Settings{}
	for _, s := range newTable().list {
		value := `""`
		if v, err := s.parse(s.fallback); err == nil {
			s.field(&settings.Config).Set(valueOf(v))
			value = settings.toml(s)
		}
		fmt.Fprintf(&text, "\n# %s: %s.\n#%s = %s\n", s.help, s.validator.text, s.name, value)
	}
	return []byte(text.String())
}

// keyLines returns the line of a TOML file on which each top-level name first occurs, which the
// decoder does not report. The file must be valid TOML.
func keyLines(data []byte) map[string]int {
	lines := make(map[string]int)
	text := strings.TrimPrefix(string(data), "\ufeff")
	inTable := false
	for line := 1; text != ""; {
		size := statementLength(text)
		name, found := topName(text[:size])
		isHeader := strings.HasPrefix(strings.TrimSpace(text[:size]), "[")
		if inTable = inTable || isHeader; found && (isHeader || !inTable) && lines[name] == 0 {
			lines[name] = line
		}
		line += strings.Count(text[:size], "\n")
		text = text[size:]
	}
	return lines
}

// topName is the first part of the key or header of a statement.
func topName(statement string) (string, bool) {
	var ignored map[string]any
	meta, err := toml.Decode(statement, &ignored)
	if err != nil || len(meta.Keys()) == 0 {
		return "", false
	}
	return meta.Keys()[0][0], true
}

// statementLength is the length of the first statement of text, its line end included: a line, or
// several if a string or brackets are open at its end.
func statementLength(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"', '\'':
			i += stringLength(text[i:]) - 1
		case '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				return len(text)
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// stringLength is the length of the string at the start of text, quotes included.
func stringLength(text string) int {
	quotes := text[:1]
	if long := strings.Repeat(quotes, 3); strings.HasPrefix(text, long) {
		quotes = long
	}
	i := len(quotes)
	for ; i < len(text) && !strings.HasPrefix(text[i:], quotes); i++ {
		switch {
		case text[i] == '\\' && quotes[0] == '"':
			i++ // what follows is no quote
		case text[i] == '\n' && len(quotes) == 1:
			return i // never closed
		}
	}
	i += len(quotes)
	for range 2 { // a long string may end with quotes of its own
		if len(quotes) == 3 && i < len(text) && text[i] == quotes[0] {
			i++
		}
	}
	return min(i, len(text))
}
