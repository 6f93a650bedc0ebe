package config

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sources are where settings are read from, in ascending precedence.
type Sources struct {
	// File is the path of the TOML file; empty for none.
	File string
	// Environ has the form of os.Environ.
	Environ []string
	// Flags are the given flags: a key or an alias, and its text.
	Flags map[string]string
	// Arguments are settings that a command takes as arguments: a key and its text. They must not
	// differ from the flags.
	Arguments map[string]string
	// Mistakes are the mistakes in the call itself.
	Mistakes []Mistake
	// SendsRequests: the command sends requests to the site, so contact is required unless the site
	// is loopback.
	SendsRequests bool
	// Check returns further problems of valid settings; nil checks nothing.
	Check func(*Settings) (problems []string)
	// Now determines the default of year.
	Now time.Time
	// Version of the program determines the default of user_agent.
	Version string
}

// Settings are the effective settings and their origins.
type Settings struct {
	Config
	origins map[string]string
}

// Load reads the settings: flags override the environment, which overrides the file, which
// overrides the defaults. A bad value is refused even if it is overridden. The error is an *Error
// with all problems.
func Load(src Sources) (*Settings, error) {
	l := loader{table: newTable(), settings: &Settings{origins: make(map[string]string)}, bad: make(map[string]bool)}
	l.table.home = homeOf(src.Environ)
	l.defaults(src.Now)
	whole := true
	if src.File != "" {
		path, err := expandHome(src.File, l.table.home)
		var given []input
		if err == nil {
			given, err = l.table.fromFile(path)
		}
		if err != nil {
			l.problems, whole = append(l.problems, err.Error()), false
		}
		l.apply(given)
	}
	l.apply(l.table.fromEnviron(src.Environ))
	for _, m := range src.Mistakes {
		l.problems = append(l.problems, m.Problem)
		l.bad[m.Key] = true
	}
	l.apply(append(l.table.fromFlags(src.Flags), l.table.fromArguments(src.Arguments)...))
	l.setUserAgent(src.Version)
	if whole { // otherwise combinations may not be what was meant
		l.checkCombinations()
		if src.SendsRequests {
			l.requireContact()
			l.requireZone(variables(src.Environ)["TZ"])
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
	// bad are the keys with a problem, or that an unknown name may stand for. They are not checked
	// against others.
	bad map[string]bool
}

// Origin is where the value of a key comes from: "default", "config.toml:5", "$FCT_YEAR" or
// "--year".
func (s *Settings) Origin(key string) string { return s.origins[key] }

const originDefault = "default"

func (l *loader) defaults(now time.Time) {
	for _, s := range l.table.list {
		l.settings.origins[s.name] = originDefault
		if value, err := s.parse(s.fallback); err == nil { // some have no default
			l.settings.set(s, value, originDefault)
		}
	}
	l.settings.Year = now.Format("06")
}

// input is one setting as one source gives it.
type input struct {
	setting *setting
	// name is the key or alias as written.
	name string
	// origin is its place: "config.toml:5", "$FCT_YEAR" or "--year".
	origin string
	// shown is the value for messages.
	shown string
	value any
	// problem is what is wrong with it; empty if nothing is.
	problem string
	// suggestion is the setting that an unknown name may stand for.
	suggestion *setting
}

// apply sets the settings of one source over the earlier ones.
func (l *loader) apply(source []input) {
	first := make(map[string]input)
	for _, g := range source {
		if g.problem == "" {
			key := g.setting.name
			other, twice := first[key]
			if twice && other.value != g.value {
				g.problem = fmt.Sprintf("want the same as %s = %s (%s), or one of the two alone", other.name, other.shown, other.origin)
			}
			first[key] = g
		}
		l.set(g)
	}
}

func (l *loader) set(g input) {
	if g.problem == "" {
		l.settings.set(g.setting, g.value, g.origin)
		return
	}
	l.problems = append(l.problems, g.message())
	if s := cmp.Or(g.setting, g.suggestion); s != nil {
		l.bad[s.name] = true
	}
}

// message is the problem as one line, for people.
func (g input) message() string {
	return fmt.Sprintf("%s: %s = %s: %s", oneLine(g.origin), oneLine(g.name), g.shown, g.problem)
}

func (s *Settings) set(to *setting, value any, origin string) {
	to.field(&s.Config).Set(valueOf(value))
	s.origins[to.name] = origin
}

// text is a setting's value as text, secrets included.
func (l *loader) text(key string) string {
	return formatValue(l.table.byName[key].field(&l.settings.Config).Interface())
}

// setUserAgent sets the default of user_agent, which tells the site who sends the requests.
func (l *loader) setUserAgent(version string) {
	s := l.settings
	if s.origins["user_agent"] != originDefault {
		return
	}
	s.UserAgent = "fct-scraper/" + version
	if s.Contact != "" {
		s.UserAgent += " (+" + s.Contact + ")"
	}
}

// ErrConfig is matched by every error about refused settings.
var ErrConfig = errors.New("bad configuration")

// Error holds all problems of the settings. It matches ErrConfig.
type Error struct {
	// Problems are in order: those of the file by line, of the environment, of the call, of the
	// flags, then of combinations. Each is one line with the setting's origin, key and value, and
	// what is allowed.
	Problems []string
}

// Mistake is a mistake in a call that belongs to no setting, such as an unknown flag.
type Mistake struct {
	// Problem is one line, as in Error.
	Problem string
	// Key is the setting that was perhaps meant, which is not checked against others; empty for
	// none.
	Key string
}

// Mistaken is the error of a call that has only mistakes.
func Mistaken(mistakes []Mistake) error {
	e := &Error{}
	for _, m := range mistakes {
		e.Problems = append(e.Problems, m.Problem)
	}
	return e
}

// Error returns the problems, a line each.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Is reports whether target is ErrConfig.
func (e *Error) Is(target error) bool { return target == ErrConfig }
