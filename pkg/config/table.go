package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/caarlos0/env/v11"
)

// tag is the struct tag that names a field's key.
const tag = "key"

// setting is what the table tells of one key.
type setting struct {
	name     string
	aliases  []string
	fallback string
	limit    limit
	help     string
	// foreign is the variable that other NATS programs read the same thing from.
	foreign string
	// isAddress says that the value may hold credentials before an @, which are not shown; isList that it may be several
	// addresses with commas between.
	isAddress, isList bool
	// isPath says that the value is the path of a file or folder.
	isPath bool
}

// variable is the environment variable of a key or an alias.
func variable(name string) string { return "FCT_" + strings.ToUpper(name) }

// flagName is the flag of a key or an alias.
func flagName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// table is all settings in the order in which people read them.
type table struct {
	list []*setting
	// named holds them by key and by alias.
	named map[string]*setting
	// home is the home folder; empty when there is none.
	home string
}

func newTable() table {
	t := table{list: allSettings(), named: make(map[string]*setting)}
	for _, s := range t.list {
		for _, name := range append([]string{s.name}, s.aliases...) {
			t.named[name] = s
		}
	}
	return t
}

func allSettings() []*setting {
	return []*setting{
		{name: "prefix", fallback: "IMM", limit: series(), help: "series of the court's files"},
		{name: "year", limit: year(), help: "year of the files; this year when not given"},
		{name: "start", fallback: "1", limit: whole(1, contract.MaxNumber), help: "first number"},
		{name: "max_cases", fallback: "none", limit: wholeOrNone(1, contract.MaxNumber), help: "how many numbers at most, from start on"},
		{name: "end", fallback: "none", limit: wholeOrNone(1, contract.MaxNumber), help: "last number"},
		{name: "probe", fallback: "true", limit: yesOrNo(), help: "find the highest number first"},
		{name: "probe_budget", fallback: strconv.Itoa(DefaultProbeBudget), limit: whole(1, contract.MaxNumber), help: "hard limit on the requests of that search"},
		{name: "bound_max_age", fallback: "1h", limit: pause(), help: "no-records above the highest record that are older are asked for again; 0 is always"},
		{name: "recheck", fallback: "false", limit: yesOrNo(), help: "ask again for numbers known as no-record"},
		{name: "force", fallback: "false", limit: yesOrNo(), help: "ask again for every number"},

		{name: "max_retries", aliases: []string{"retry_limit"}, fallback: "3", limit: whole(0, 20), help: "retries after the first attempt, for transient failures"},
		{name: "backoff_base", fallback: "2s", limit: pause(), help: "wait before the first retry"},
		{name: "backoff_factor", fallback: "2", limit: number(1, 10), help: "by how much each further wait is longer"},
		{name: "backoff_max", fallback: "5m", limit: pause(), help: "longest wait before a retry"},
		{name: "request_timeout", fallback: "30s", limit: timeout(), help: "one HTTP exchange, body included"},
		{name: "job_timeout", fallback: seconds(DefaultJobTimeout), limit: timeout(), help: "one attempt of a case"},
		{name: "safe_stop_no_records", aliases: []string{"safe_stop_consecutive_no_record"}, fallback: strconv.Itoa(DefaultSafeStopNoRecords), limit: whole(0, contract.MaxNumber), help: "consecutive no-records that stop the run; 0 is off"},
		{name: "safe_stop_fails", aliases: []string{"safe_stop_consecutive_fail"}, fallback: "20", limit: whole(0, contract.MaxNumber), help: "consecutive failed cases that stop the run; 0 is off"},

		{name: "concurrency", fallback: strconv.Itoa(DefaultConcurrency), limit: whole(1, 64), help: "cases in flight"},
		{name: "delay_min", fallback: "1s", limit: pause(), help: "shortest pause between the starts of two requests"},
		{name: "delay_max", fallback: "3s", limit: pause(), help: "longest pause between the starts of two requests"},
		{name: "rest_every", fallback: "0", limit: whole(0, 1_000_000), help: "requests between two long rests; 0 is never"},
		{name: "rest_for", fallback: "1m", limit: pause(), help: "how long a rest is"},
		{name: "blocked_cooldown", fallback: "15m", limit: pause(), help: "how long a block lasts when the site does not say"},
		{name: "quiet_hours", fallback: "none", limit: hours(), help: "hours of the day in which nothing is asked, in the machine's time zone ($TZ)"},

		{name: "site", fallback: "fct-cf", limit: profile(), help: "site profile", isPath: true},
		{name: "base_url", limit: origin(), help: "origin of the site; the profile's own when empty", isAddress: true},
		{name: "user_agent", limit: printable(1, 200), help: "what the program calls itself; fct-scraper/<version> (+<contact>) when not given"},
		{name: "contact", limit: printable(0, 100), help: "address for the site's people, put into the User-Agent"},
		{name: "proxy", limit: proxy(), help: "proxy for all requests to the site, but for the hosts in $NO_PROXY; that of $HTTPS_PROXY when empty, which is not used for this machine", isAddress: true},
		{name: "robots", fallback: "true", limit: yesOrNo(), help: "read and obey robots.txt"},
		{name: "parties", fallback: "false", limit: yesOrNo(), help: "one more call a case: parties and their counsel"},
		{name: "max_body", fallback: "16MiB", limit: size(KiB, GiB), help: "largest answer, after decompression"},

		{name: "output", fallback: "output", limit: folder(), help: "folder of all files written, outside of data_dir", isPath: true},
		{name: "data_dir", fallback: "data", limit: folder(), help: "folder of the embedded NATS server's store", isPath: true},
		{name: "persist_raw_html", fallback: strconv.FormatBool(DefaultPersistRawHTML), limit: yesOrNo(), help: "keep every raw answer"},
		{name: "graceful_shutdown_timeout", fallback: seconds(DefaultGracefulShutdownTimeout), limit: pause(), help: "how long a stopped run may take to end"},

		{name: "nats_url", limit: natsURLs(), help: "NATS servers; the embedded one when empty", foreign: "NATS_URL", isAddress: true, isList: true},
		{name: "nats_creds", limit: credential(), help: "file of NATS credentials", foreign: "NATS_CREDS", isPath: true},
		{name: "nats_nkey", limit: credential(), help: "file of an nkey seed", foreign: "NATS_NKEY", isPath: true},
		{name: "nats_ca", limit: credential(), help: "file of the NATS servers' CA", foreign: "NATS_CA", isPath: true},
		{name: "nats_cert", limit: credential(), help: "file of a client certificate", foreign: "NATS_CERT", isPath: true},
		{name: "nats_key", limit: credential(), help: "file of the certificate's key", foreign: "NATS_KEY", isPath: true},
		{name: "insecure", fallback: "false", limit: yesOrNo(), help: "allow NATS without TLS beyond this machine, where others can read and change it"},
		{name: "replicas", fallback: "0", limit: whole(0, 5), help: "how many servers of a cluster keep each stream; 0 is as the definitions in streams/ say, one"},

		{name: "http_addr", limit: listen(), help: "address of pages, health and metrics; of a range of ports the first free one"},
		{name: "log_level", fallback: "info", limit: oneOf("debug", "info", "warn", "error"), help: "least level of log lines"},
		{name: "log_format", fallback: "auto", limit: oneOf("auto", "text", "json"), help: "form of log lines; auto is text on a terminal, else json"},
		{name: "progress", fallback: "auto", limit: oneOf("auto", "tty", "plain", "json", "none"), help: "how progress is shown"},
	}
}

// seconds is a duration as a setting, in whole seconds.
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// field is where a key's value lies in a Config.
func field(c *Config, key string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get(tag) == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func valueOf(value any) reflect.Value { return reflect.ValueOf(value) }

// parse reads a setting's text as the type of its field, within its limit. The error says what is wanted.
func (s *setting) parse(text string) (any, error) {
	want := fmt.Errorf("want %s", s.limit.text)
	if s.limit.none && text == "none" {
		return 0, nil
	}
	var c Config
	if err := env.ParseWithOptions(&c, env.Options{TagName: tag, Environment: map[string]string{s.name: text}}); err != nil {
		return nil, want // its own words speak of Go's types
	}
	to := field(&c, s.name)
	if text == "" && to.Kind() != reflect.String {
		return nil, want
	}
	if value := to.Interface(); s.limit.ok(value) {
		return value, nil
	}
	return nil, want
}

// Nearest is the name that looks most like one that is not known, whatever its case; empty when none does.
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

// distance is how many letters must be changed, added or left out to make b of a (Levenshtein).
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
