package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"fct-scraper/pkg/contract"

	"github.com/caarlos0/env/v11"
)

// text makes a given setting of the text of a variable or a flag.
func (t table) text(name, origin, text string) given {
	s := t.named[name]
	g := given{setting: s, name: name, origin: origin, shown: t.show(name, text)}
	full, err := t.full(s, text)
	if err == nil {
		g.value, err = s.parse(full)
	}
	if err != nil {
		g.problem = err.Error()
	}
	return g
}

// full is a setting's text with what people abbreviate: the home folder at the start of a path, and the century that a year may have.
func (t table) full(s *setting, text string) (string, error) {
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

// show is a value of somebody else's in a message: short, without control characters and without secrets.
func (t table) show(name, text string) string { return fmt.Sprintf("%.80q", t.safe(name, text)) }

// Shown is the value of a key or of another flag as a message shows it: quoted, short, and without secrets.
func Shown(name, text string) string { return newTable().show(name, text) }

// Problem says what is wrong with the text of a setting that another one from the same source replaces; empty when nothing is.
func Problem(name, origin, text string, environ []string) string {
	t := newTable()
	t.home = homeOf(environ)
	g := t.text(name, origin, text)
	if g.problem == "" {
		return ""
	}
	return g.line()
}

// oneLine is a name of somebody else's in a message: a problem is one line, whatever it is about.
func oneLine(text string) string {
	if len(text) <= 200 && text != "" && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	return fmt.Sprintf("%.80q", text)
}

// unknown is a name that is no setting.
func (t table) unknown(name, origin, text string) given {
	problem := "not a setting; want one of those that config init writes"
	like := Nearest(name, slices.Sorted(maps.Keys(t.named)))
	if like != "" {
		problem = "not a setting; did you mean " + like + "?"
	}
	return given{name: name, origin: origin, shown: t.show(name, text), problem: problem, meant: t.named[like]}
}

// fromEnviron reads the variables of settings; one that is empty counts as not set. NATS_URL and the like are weaker than
// their FCT_ namesakes.
func (t table) fromEnviron(environ []string) []given {
	variables := env.ToMap(environ)
	var list []given
	for _, s := range t.list {
		own := variables[variable(s.name)]
		if text := variables[s.foreign]; s.foreign != "" && text != "" && own == "" {
			list = append(list, t.text(s.name, "$"+s.foreign, text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		rest, ours := strings.CutPrefix(name, "FCT_")
		text := variables[name]
		if !ours || text == "" {
			continue
		}
		key := strings.ToLower(rest)
		if t.named[key] == nil || variable(key) != name {
			list = append(list, t.unknown(key, "$"+name, text))
			continue
		}
		list = append(list, t.text(key, "$"+name, text))
	}
	return list
}

// fromFlags reads flags by their keys.
func (t table) fromFlags(flags map[string]string) []given {
	var list []given
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		origin := "--" + flagName(key)
		if t.named[key] == nil {
			list = append(list, t.unknown(key, origin, flags[key]))
			continue
		}
		list = append(list, t.text(key, origin, flags[key]))
	}
	return list
}

// fromArguments reads the arguments of a command that are settings.
func (t table) fromArguments(arguments map[string]string) []given {
	var list []given
	for _, key := range slices.Sorted(maps.Keys(arguments)) {
		list = append(list, t.text(key, "argument", arguments[key]))
	}
	return list
}
