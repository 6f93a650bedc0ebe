package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
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
	// isPath: the value is the path of a file or folder.
	isPath bool
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
	t := table{list: allSettings(), byName: make(map[string]*setting)}
	for _, s := range t.list {
		for _, name := range append([]string{s.name}, s.aliases...) {
			t.byName[name] = s
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if s, is := t.byName[name]; is {
			s.index = f.Index
		}
	}
	return t
}

func allSettings() []*setting {
	after := processSettings()
	var list []*setting
	for _, f := range contract.BatchFields() {
		if f.Help != "" {
			s := &setting{name: f.Name, fallback: f.Default, validator: ofBatchField(f), help: f.Help}
			if f.Alias != "" {
				s.aliases = []string{f.Alias}
			}
			list = append(list, s)
		}
		list = append(list, after[f.Name]...)
	}
	return list
}

// processSettings are the settings that apply to this process, not to a run. In display order, each
// group comes after the setting of a run that is its key.
func processSettings() map[string][]*setting {
	return map[string][]*setting{
		"probe_budget": {
			{name: "bound_max_age", fallback: "1h", validator: duration(), help: "older no-records above the highest record are requested again; 0 is always"},
		},
		"max_retries": {
			{name: "backoff_base", fallback: "2s", validator: duration(), help: "wait before the first retry"},
			{name: "backoff_factor", fallback: "2", validator: number(1, 10), help: "by how much each further wait is longer"},
			{name: "backoff_max", fallback: "5m", validator: duration(), help: "longest wait before a retry"},
		},
		"safe_stop_fails": {
			{name: "concurrency", fallback: "4", validator: wholeNumber(1, 64), help: "cases in flight"},
			{name: "delay_min", fallback: "1s", validator: duration(), help: "shortest pause between the starts of two requests"},
			{name: "delay_max", fallback: "3s", validator: duration(), help: "longest pause between the starts of two requests"},
			{name: "rest_every", fallback: "0", validator: wholeNumber(0, 1_000_000), help: "requests between two long rests; 0 is never"},
			{name: "rest_for", fallback: "1m", validator: duration(), help: "how long a rest is"},
			{name: "blocked_cooldown", fallback: "15m", validator: duration(), help: "how long a block lasts when the site does not say"},
			{name: "quiet_hours", fallback: "none", validator: hours(), help: "hours of the day in which nothing is asked, in the machine's time zone ($TZ)"},

			{name: "site", fallback: "fct-cf", validator: profile(), help: "site profile", isPath: true},
			{name: "base_url", validator: origin(), help: "origin of the site; the profile's own when empty", isAddress: true},
			{name: "user_agent", validator: printable(1, 200), help: "what the program calls itself; fct-scraper/<version> (+<contact>) when not given"},
			{name: "contact", validator: printable(0, 100), help: "address for the site's people, put into the User-Agent"},
			{name: "proxy", validator: proxy(), help: "proxy for all requests to the site, but for the hosts in $NO_PROXY; that of $HTTPS_PROXY when empty, which is not used for this machine", isAddress: true},
			{name: "robots", fallback: "true", validator: boolean(), help: "read and obey robots.txt"},
			{name: "parties", fallback: "false", validator: boolean(), help: "one more call a case: parties and their counsel"},
			{name: "max_body", fallback: "16MiB", validator: size(KiB, GiB), help: "largest answer, after decompression"},

			{name: "output", fallback: "output", validator: folder(), help: "folder of all files written, outside of data_dir", isPath: true},
			{name: "data_dir", fallback: "data", validator: folder(), help: "folder of the embedded NATS server's store", isPath: true},
		},
		"persist_raw_html": {
			{name: "graceful_shutdown_timeout", fallback: "30", validator: duration(), help: "how long a stopped run may take to end"},

			{name: "nats_url", validator: natsURLs(), help: "NATS servers; the embedded one when empty", natsVariable: "NATS_URL", isAddress: true, isList: true},
			{name: "nats_creds", validator: credential(), help: "file of NATS credentials", natsVariable: "NATS_CREDS", isPath: true},
			{name: "nats_nkey", validator: credential(), help: "file of an nkey seed", natsVariable: "NATS_NKEY", isPath: true},
			{name: "nats_ca", validator: credential(), help: "file of the NATS servers' CA", natsVariable: "NATS_CA", isPath: true},
			{name: "nats_cert", validator: credential(), help: "file of a client certificate", natsVariable: "NATS_CERT", isPath: true},
			{name: "nats_key", validator: credential(), help: "file of the certificate's key", natsVariable: "NATS_KEY", isPath: true},
			{name: "insecure", fallback: "false", validator: boolean(), help: "allow NATS without TLS beyond this machine, where others can read and change it"},
			{name: "replicas", fallback: "0", validator: wholeNumber(0, 5), help: "how many servers of a cluster keep each stream; 0 is as the definitions in streams/ say, one"},

			{name: "http_addr", validator: listen(), help: "address of pages, health and metrics; of a range of ports the first free one"},
			{name: "log_level", fallback: "info", validator: oneOf("debug", "info", "warn", "error"), help: "least level of log lines"},
			{name: "log_format", fallback: "auto", validator: oneOf("auto", "text", "json"), help: "form of log lines; auto is text on a terminal, else json"},
			{name: "progress", fallback: "auto", validator: oneOf("auto", "tty", "plain", "json", "none"), help: "how progress is shown"},
		},
	}
}

func (s *setting) field(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

func valueOf(value any) reflect.Value { return reflect.ValueOf(value) }

// parse reads a setting's text as the type of its field and validates it. The error describes what
// is allowed.
func (s *setting) parse(text string) (any, error) {
	if s.validator.allowsNone && text == "none" {
		return 0, nil
	}
	var c Config
	to := s.field(&c)
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
