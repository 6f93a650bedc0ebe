package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting describes one key.
type setting struct {
	name      string
	aliases   []string
	fallback  string
	validator validator
	help      string
	// natsVariable is the variable that other NATS programs use for the same thing.
	natsVariable string
	// isAddress: the value may have credentials before an @, which are masked. isList: it may be
	// several addresses with commas between.
	isAddress, isList bool
	// isPath: the value is the path of a file or folder. isSecret: it is masked wherever it is shown.
	isPath, isSecret, isFolder bool
	// index is the index of its field in Config.
	index []int
}

// variable is the environment variable of a key or an alias.
func variable(name string) string { return "FCT_" + strings.ToUpper(name) }

func flagName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// table has all settings in display order.
type table struct {
	list []*setting
	// byName has them by key and by alias.
	byName map[string]*setting
	// home is the home folder; empty if there is none.
	home string
}

func newTable() table {
	t := table{byName: make(map[string]*setting)}
	at := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Tag.Get("help") == "" {
			continue
		}
		s := newSetting(f)
		if before := t.byName[f.Tag.Get("after")]; before != nil {
			at = slices.Index(t.list, before) + 1
		}
		t.list = slices.Insert(t.list, at, s)
		at++
		for _, name := range append([]string{s.name}, s.aliases...) {
			t.byName[name] = s
		}
	}
	return t
}

func newSetting(f reflect.StructField) *setting {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	form := f.Tag.Get("form")
	return &setting{
		name: name, aliases: strings.Fields(f.Tag.Get("alias")), fallback: f.Tag.Get("default"),
		help: f.Tag.Get("help"), natsVariable: f.Tag.Get("nats"), validator: newValidator(f, name), index: f.Index,
		isAddress: slices.Contains([]string{"origin", "proxy", "servers"}, form), isList: form == "servers",
		isPath: slices.Contains([]string{"profile", "folder", "file"}, form), isSecret: form == "secret",
		isFolder: form == "folder",
	}
}

func (s *setting) field(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

func valueOf(value any) reflect.Value { return reflect.ValueOf(value) }

// parse reads a setting's text as the type of its field and validates it. The error describes what
// is allowed.
func (s *setting) parse(text string) (any, error) {
	var c Config
	to := s.field(&c)
	if s.validator.allowsNone && text == "none" {
		return to.Interface(), nil
	}
	err := readText(to.Addr().Interface(), text)
	if value := to.Interface(); err == nil && s.validator.ok(value) {
		return value, nil
	}
	return nil, fmt.Errorf("want %s", s.validator.text) // the text of err names Go's types
}

// readText stores a text in the variable that to points to.
func readText(to any, text string) (err error) {
	switch to := to.(type) {
	case *string:
		*to = text
	case *int:
		*to, err = strconv.Atoi(text)
	case *bool:
		*to, err = strconv.ParseBool(text)
	case *float64:
		*to, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*to, err = ParseDuration(text)
	case encoding.TextUnmarshaler:
		err = to.UnmarshalText([]byte(text))
	}
	return err
}

// Nearest is the known name most similar to an unknown one, ignoring case; empty if none is
// similar.
func Nearest(name string, names []string) string {
	name = strings.ToLower(name)
	best, least := "", max(2, len(name)/3)+1
	for _, candidate := range names {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
