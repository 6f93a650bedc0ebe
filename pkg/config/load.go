package config

import (
	"cmp"
	"fmt"
	"time"

	"github.com/caarlos0/env/v11"
)

// Sources are what settings are read from, the weakest first.
type Sources struct {
	// File is the path of the TOML file; empty for none.
	File string
	// Environ are the variables, in the form of os.Environ.
	Environ []string
	// Flags are the flags that were given: a key or an alias, and its text.
	Flags map[string]string
	// Arguments are the settings that a command takes as arguments: a key and its text. They and the flags may not differ.
	Arguments map[string]string
	// Mistakes are what is wrong with the call itself.
	Mistakes []Mistake
	// Asks says that the command sends requests to the site: contact is then required unless the site is loopback.
	Asks bool
	// Check returns what else a command finds wrong with settings that are good by themselves; nil finds nothing.
	Check func(*Settings) (problems []string)
	// Now gives the default of year.
	Now time.Time
	// Version of the program gives the default of user_agent.
	Version string
}

// Settings are the settings in force, and where each comes from.
type Settings struct {
	Config
	origins map[string]string
}

// Load reads the settings: flags over the environment over the file over the defaults. A bad value is refused even where
// a stronger source gives a good one. The error, an *Error that is ErrConfig, holds all problems.
func Load(src Sources) (*Settings, error) {
	l := loader{table: newTable(), settings: &Settings{origins: make(map[string]string)}, bad: make(map[string]bool)}
	l.table.home = homeOf(src.Environ)
	l.defaults(src.Now)
	whole := true
	if src.File != "" {
		path, err := expandHome(src.File, l.table.home)
		var given []given
		if err == nil {
			given, err = l.table.fromFile(path)
		}
		if err != nil {
			l.problems, whole = append(l.problems, err.Error()), false
		}
		l.lay(given)
	}
	l.lay(l.table.fromEnviron(src.Environ))
	for _, m := range src.Mistakes {
		l.problems = append(l.problems, m.Problem)
		l.bad[m.Key] = true
	}
	l.lay(append(l.table.fromFlags(src.Flags), l.table.fromArguments(src.Arguments)...))
	l.nameAgent(src.Version)
	if whole { // else what is compared may not be what was meant
		l.compare()
		if src.Asks {
			l.requireContact()
			l.requireZone(env.ToMap(src.Environ)["TZ"])
		}
		if src.Check != nil {
			l.problems = append(l.problems, src.Check(l.settings)...)
		}
	}
	if len(l.problems) > 0 {
		return nil, &Error{Problems: l.problems}
	}
	return l.settings, nil
}

type loader struct {
	table    table
	settings *Settings
	problems []string
	// bad are the keys that a problem was found with, or for which an unknown name may stand: they are not compared with others.
	bad map[string]bool
}

// Origin is where the value of a key comes from: "default", "config.toml:5", "$FCT_YEAR" or "--year".
func (s *Settings) Origin(key string) string { return s.origins[key] }

const byDefault = "default"

// defaults fills in the table's fallbacks.
func (l *loader) defaults(now time.Time) {
	for _, s := range l.table.list {
		l.settings.origins[s.name] = byDefault
		if value, err := s.parse(s.fallback); err == nil { // some have no default of their own
			l.settings.set(s.name, value, byDefault)
		}
	}
	l.settings.Year = now.Format("06")
}

// given is one setting as one source gives it.
type given struct {
	setting *setting
	// name is the key or alias that was written.
	name string
	// origin is where it stands: "config.toml:5", "$FCT_YEAR" or "--year".
	origin string
	// shown is the value as problems show it.
	shown string
	value any
	// problem is what is wrong with it; empty when nothing is.
	problem string
	// meant is the setting that an unknown name may stand for.
	meant *setting
}

// lay lays what one source gives over what is there.
func (l *loader) lay(source []given) {
	first := make(map[string]given)
	for _, g := range source {
		if g.problem == "" {
			key := g.setting.name
			other, twice := first[key]
			if twice && other.value != g.value {
				g.problem = fmt.Sprintf("want the same as %s = %s (%s), or one of the two alone", other.name, other.shown, other.origin)
			}
			first[key] = g
		}
		l.take(g)
	}
}

func (l *loader) take(g given) {
	if g.problem == "" {
		l.settings.set(g.setting.name, g.value, g.origin)
		return
	}
	l.problems = append(l.problems, g.line())
	if s := cmp.Or(g.setting, g.meant); s != nil {
		l.bad[s.name] = true
	}
}

// line is the problem as people are told it.
func (g given) line() string {
	return fmt.Sprintf("%s: %s = %s: %s", oneLine(g.origin), oneLine(g.name), g.shown, g.problem)
}

func (s *Settings) set(key string, value any, origin string) {
	field(&s.Config, key).Set(valueOf(value))
	s.origins[key] = origin
}

// nameAgent gives user_agent its default, which tells the site who asks.
func (l *loader) nameAgent(version string) {
	s := l.settings
	if s.origins["user_agent"] != byDefault {
		return
	}
	s.UserAgent = "fct-scraper/" + version
	if s.Contact != "" {
		s.UserAgent += " (+" + s.Contact + ")"
	}
}
