package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
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
		}
		if setting.isNone(&s.Config) {
			value = nil
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

// isNone reports whether the setting's value stands for none.
func (s *setting) isNone(c *Config) bool { return s.validator.allowsNone && s.field(c).IsZero() }

// masked is a valid value without credentials.
func (s *setting) masked(value string) string {
	switch {
	case s.isList:
		return maskAddresses(value)
	case s.isAddress:
		return maskAddress(value)
	case s.isSecret:
		return hideSecret(value)
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
	if setting.isNone(&s.Config) {
		return `"none"`
	}
	switch v := setting.field(&s.Config).Interface().(type) {
	case string:
		return strconv.Quote(setting.masked(v))
	case time.Duration, Bytes, Hours:
		return strconv.Quote(formatValue(v))
	case int:
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
	// OtherEnv is the variable of other NATS programs that has the same meaning, empty for none.
	OtherEnv string
	Aliases  []string
	// Default is text in the form that the summary of the settings has, empty if there is none.
	Default string
	// Allowed describes the allowed values, Help what they do.
	Allowed, Help string
	// Kind is the type of the value: bool, int, float, duration, size, hours, path, secret or string.
	// A bool flag without a value means true. A secret is never shown.
	Kind string
	// Values are the allowed words. For a path they are names that are allowed besides files. It is nil
	// if the values are not words. IsFolder reports that the path is that of a folder.
	Values   []string
	IsFolder bool
}

// KindSecret is the Kind of a secret.
const KindSecret = "secret"

// Keys returns all settings in display order.
func Keys() []Key {
	var keys []Key
	for _, s := range newTable().list {
		keys = append(keys, Key{
			Name: s.name, Flag: flagName(s.name), Env: variable(s.name), OtherEnv: s.natsVariable, Aliases: s.aliases, Default: s.shownDefault(),
			Allowed: s.validator.text, Help: s.help, Kind: s.kind(), Values: s.validator.words, IsFolder: s.isFolder,
		})
	}
	return keys
}

// shownDefault is the default in one form for each type: durations with a unit.
func (s *setting) shownDefault() string {
	if value, err := s.parse(s.fallback); err == nil && s.kind() == "duration" && s.fallback != "none" {
		return formatValue(value)
	}
	return s.fallback
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
	if s.isSecret {
		return KindSecret
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
