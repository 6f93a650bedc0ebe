package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Line is one setting as people read it.
type Line struct {
	Key string
	// Value is as it would stand in the file; secrets are masked.
	Value string
	// Origin is "default", "config.toml:5", "$FCT_YEAR" or "--year".
	Origin string
}

// Lines are all settings in the table's order.
func (s *Settings) Lines() []Line {
	var lines []Line
	for _, setting := range newTable().list {
		lines = append(lines, Line{Key: setting.name, Value: s.toml(setting), Origin: s.origins[setting.name]})
	}
	return lines
}

// Effective are all settings for manifests and reports: text, numbers and truth values. Secrets are masked, and a setting
// without a value is nil.
func (s *Settings) Effective() map[string]any {
	all := make(map[string]any)
	for _, setting := range newTable().list {
		value := field(&s.Config, setting.name).Interface()
		switch v := value.(type) {
		case string:
			value = setting.masked(v)
		case Duration, Bytes, Hours:
			value = fmt.Sprint(v)
		case int:
			if setting.limit.none && v == 0 {
				value = nil
			}
		}
		all[setting.name] = value
	}
	return all
}

// Some are the settings of those keys, as Effective has them.
func (s *Settings) Some(keys ...string) map[string]any {
	some := s.Effective()
	maps.DeleteFunc(some, func(key string, _ any) bool { return !slices.Contains(keys, key) })
	return some
}

// masked is a good value without the credentials in it.
func (s *setting) masked(value string) string {
	switch {
	case s.isList:
		return maskList(value)
	case s.isAddress:
		return mask(value)
	}
	return value
}

// text is a setting's value in words, secrets included.
func (s *Settings) text(key string) string { return fmt.Sprint(field(&s.Config, key).Interface()) }

// toml is a setting's value as it would stand in the file.
func (s *Settings) toml(setting *setting) string {
	switch v := field(&s.Config, setting.name).Interface().(type) {
	case string:
		return strconv.Quote(setting.masked(v))
	case Duration, Bytes, Hours:
		return strconv.Quote(fmt.Sprint(v))
	case int:
		if setting.limit.none && v == 0 {
			return `"none"`
		}
		return strconv.Itoa(v)
	default:
		return fmt.Sprint(v)
	}
}

// Key is what people are told about one setting.
type Key struct {
	Name string
	// Flag is without the dashes before it, Env the variable.
	Flag, Env string
	Aliases   []string
	// Default is as text, empty when there is none.
	Default string
	// Allowed says the values that are, Help what they do.
	Allowed, Help string
	// Kind is the type of the value: bool, int, float, duration, size, hours, path or string. Of a bool the flag alone means true.
	Kind string
}

// Keys are all settings in the order in which people read them.
func Keys() []Key {
	var keys []Key
	for _, s := range newTable().list {
		keys = append(keys, Key{
			Name: s.name, Flag: flagName(s.name), Env: variable(s.name), Aliases: s.aliases, Default: s.fallback,
			Allowed: s.limit.text, Help: s.help, Kind: s.kind(),
		})
	}
	return keys
}

// kind is the type of a setting's value as people are told it.
func (s *setting) kind() string {
	var c Config
	switch field(&c, s.name).Interface().(type) {
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case Duration:
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

// Example is a file of settings with every key in it, commented out, at its default.
func Example() []byte {
	var text strings.Builder
	text.WriteString("# Settings of fct-scraper. A line without its # is in force; flags and FCT_ variables are stronger.\n")
	settings := &Settings{}
	for _, s := range newTable().list {
		value := `""`
		if v, err := s.parse(s.fallback); err == nil {
			field(&settings.Config, s.name).Set(valueOf(v))
			value = settings.toml(s)
		}
		fmt.Fprintf(&text, "\n# %s: %s.\n#%s = %s\n", s.help, s.limit.text, s.name, value)
	}
	return []byte(text.String())
}
