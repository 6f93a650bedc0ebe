package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"fct-scraper/pkg/contract"
)

// parseText reads a setting from the text of a variable or a flag.
func (t table) parseText(name, origin, text string) input {
	s := t.byName[name]
	g := input{setting: s, name: name, origin: origin, shown: t.quoteValue(name, text)}
	full, err := t.expand(s, text)
	if err == nil {
		g.value, err = s.parse(full)
	}
	if err != nil {
		g.problem = err.Error()
	}
	return g
}

// expand completes what people abbreviate: the home folder at the start of a path, and the century
// of a year.
func (t table) expand(s *setting, text string) (string, error) {
	switch {
	case s.isPath:
		return expandHome(text, t.home)
	case s.name == "year":
		if digits, err := contract.ParseYear(text); err == nil {
			return digits, nil
		}
	}
	return text, nil
}

// quoteValue is a foreign value in a message: short, without control characters and secrets.
func (t table) quoteValue(name, text string) string {
	return fmt.Sprintf("%.80q", t.withoutSecrets(name, text))
}

// Shown is the value of a key or flag in a message: quoted, short, and without secrets.
func Shown(name, text string) string { return newTable().quoteValue(name, text) }

// Problem returns what is wrong with a setting's text that another one of the same source
// overrides; empty if nothing is.
func Problem(name, origin, text string, environ []string) string {
	t := newTable()
	t.home = homeOf(environ)
	g := t.parseText(name, origin, text)
	if g.problem == "" {
		return ""
	}
	return g.message()
}

// oneLine is a foreign name in a message: every problem is one line.
func oneLine(text string) string {
	if len(text) <= 200 && text != "" && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	return fmt.Sprintf("%.80q", text)
}

func (t table) unknownSetting(name, origin, text string) input {
	problem := "not a setting; want one of those that config init writes"
	like := Nearest(name, slices.Sorted(maps.Keys(t.byName)))
	if like != "" {
		problem = "not a setting; did you mean " + like + "?"
	}
	return input{name: name, origin: origin, shown: t.quoteValue(name, text), problem: problem, suggestion: t.byName[like]}
}

// variables are the values by name of an environment in the form of os.Environ.
func variables(environ []string) map[string]string {
	values := make(map[string]string)
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	return values
}

// fromEnviron reads the variables of settings; an empty one counts as unset. NATS_URL and similar
// variables are weaker than their FCT_ namesakes.
func (t table) fromEnviron(environ []string) []input {
	values := variables(environ)
	var list []input
	for _, s := range t.list {
		own := values[variable(s.name)]
		if text := values[s.natsVariable]; s.natsVariable != "" && text != "" && own == "" {
			list = append(list, t.parseText(s.name, "$"+s.natsVariable, text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		rest, ours := strings.CutPrefix(name, "FCT_")
		text := values[name]
		if !ours || text == "" {
			continue
		}
		key := strings.ToLower(rest)
		if t.byName[key] == nil || variable(key) != name {
			list = append(list, t.unknownSetting(key, "$"+name, text))
			continue
		}
		list = append(list, t.parseText(key, "$"+name, text))
	}
	return list
}

// fromFlags reads flags by their keys.
func (t table) fromFlags(flags map[string]string) []input {
	var list []input
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		origin := "--" + flagName(key)
		if t.byName[key] == nil {
			list = append(list, t.unknownSetting(key, origin, flags[key]))
			continue
		}
		list = append(list, t.parseText(key, origin, flags[key]))
	}
	return list
}

// fromArguments reads the arguments of a command that are settings.
func (t table) fromArguments(arguments map[string]string) []input {
	var list []input
	for _, key := range slices.Sorted(maps.Keys(arguments)) {
		list = append(list, t.parseText(key, "argument", arguments[key]))
	}
	return list
}

var errHome = errors.New("want HOME set to the home folder, or a path without ~")

// expandHome replaces ~ at the start of a path, alone or before a separator, by the home folder.
func expandHome(path, home string) (string, error) {
	rest, found := strings.CutPrefix(path, "~")
	switch {
	case !found, rest != "" && !os.IsPathSeparator(rest[0]):
		return path, nil
	case home == "":
		return "", errHome
	}
	return filepath.Join(home, rest), nil
}

// ExpandHome replaces ~ at the start of a path, alone or before a separator, by the home folder of
// the environment. It fails if there is none.
func ExpandHome(path string, environ []string) (string, error) {
	full, err := expandHome(path, homeOf(environ))
	if err != nil {
		return "", fmt.Errorf("%.80q: %w", path, err)
	}
	return full, nil
}

// homeOf is the home folder of the environment, by the variables of Unix and Windows; empty if
// none.
func homeOf(environ []string) string {
	values := variables(environ)
	return cmp.Or(values["HOME"], values["USERPROFILE"])
}
