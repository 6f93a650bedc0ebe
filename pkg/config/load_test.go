package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"

	"github.com/google/go-cmp/cmp"
)

var day = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// load reads settings from a file of that text, variables and flags.
func load(t *testing.T, file string, environ []string, flags map[string]string) (*config.Settings, error) {
	t.Helper()
	sources := config.Sources{Environ: environ, Flags: flags, Now: day, Version: "1.2.3"}
	if file != "" {
		t.Chdir(t.TempDir())
		sources.File = "c.toml"
		if err := os.WriteFile(sources.File, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.Load(sources)
}

func problems(t *testing.T, err error) []string {
	t.Helper()
	bad, ok := errors.AsType[*config.Error](err)
	if !ok || !errors.Is(err, config.ErrConfig) {
		t.Fatalf("error %v is no config.Error", err)
	}
	return bad.Problems
}

func TestLoad_Precedence(t *testing.T) {
	s, err := load(t, "max_retries = 5\nconcurrency = 9\njob_timeout = 120\nend = \"none\"\n",
		[]string{"FCT_CONCURRENCY=7", "FCT_DELAY_MIN=250ms", "FCT_YEAR=", "NATS_URL=tls://a:4222", "HOME=/x"},
		map[string]string{"delay_min": "2s", "retry_limit": "6"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]config.Line{
		"max_retries":    {Value: "6", Origin: "--retry-limit"},
		"concurrency":    {Value: "7", Origin: "$FCT_CONCURRENCY"},
		"delay_min":      {Value: `"2s"`, Origin: "--delay-min"},
		"job_timeout":    {Value: `"2m"`, Origin: "c.toml:3"},
		"end":            {Value: `"none"`, Origin: "c.toml:4"},
		"year":           {Value: `"26"`, Origin: "default"},
		"nats_url":       {Value: `"tls://a:4222"`, Origin: "$NATS_URL"},
		"user_agent":     {Value: `"fct-scraper/1.2.3"`, Origin: "default"},
		"probe_budget":   {Value: "200", Origin: "default"},
		"backoff_factor": {Value: "2", Origin: "default"},
		"max_body":       {Value: `"16MiB"`, Origin: "default"},
	} {
		at := slices.IndexFunc(s.Lines(), func(l config.Line) bool { return l.Key == key })
		want.Key = key
		if got := s.Lines()[at]; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if s.DelayMin != 2*time.Second || s.MaxRetries != 6 || s.End != 0 {
		t.Errorf("delay_min %v, max_retries %d, end %d", s.DelayMin, s.MaxRetries, s.End)
	}
}

func TestLoad_ContactInUserAgent(t *testing.T) {
	s, err := load(t, "", nil, map[string]string{"contact": "me@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "fct-scraper/1.2.3 (+me@example.org)"; s.UserAgent != want {
		t.Errorf("user_agent %q, want %q", s.UserAgent, want)
	}
}

func TestLoad_BadValues(t *testing.T) {
	for _, c := range [][2]string{
		{"prefix", "imm"}, {"prefix", "TOOLONG"}, {"prefix", "ÎMM"}, {"year", "1999"}, {"year", "2100"}, {"year", " 25"}, {"year", "٢٥"}, {"year", ""}, {"year", "-5"}, {"year", "2x"}, {"start", "0"}, {"start", "100000"},
		{"start", "1.5"}, {"max_cases", "-1"}, {"end", "never"}, {"probe", "maybe"}, {"probe_budget", "0"}, {"max_retries", "21"},
		{"max_retries", "lots"}, {"backoff_base", "-2s"}, {"backoff_factor", "0.5"}, {"backoff_factor", "NaN"}, {"backoff_max", "20y"},
		{"request_timeout", "0"}, {"job_timeout", "soon"}, {"concurrency", "65"}, {"concurrency", "0"}, {"delay_min", "1 s"},
		{"rest_every", "-5"}, {"safe_stop_no_records", "100000"}, {"safe_stop_fails", "x"}, {"graceful_shutdown_timeout", "Inf"},
		{"max_body", "1"}, {"max_body", "16 parsecs"}, {"site", "no-such-site"}, {"base_url", "http://example.org"}, {"base_url", "https://example.org:99999"}, {"base_url", "https://example.org:0"},
		{"proxy", "ftp://example.org"}, {"proxy", "example.org:99999"}, {"proxy", "http://me:pw@example.org/path"}, {"proxy", "None at all"},
		{"base_url", "https://user:pw@example.org"}, {"base_url", "https://example.org/path"}, {"user_agent", ""}, {"user_agent", "Ünïcode"},
		{"contact", "a\r\nb"}, {"output", ""}, {"data_dir", "a\x00b"}, {"nats_url", "http://x"}, {"http_addr", "8080"}, {"http_addr", "127.0.0.1:8089-8080"}, {"http_addr", "127.0.0.1:0-9"}, {"http_addr", "127.0.0.1:8080-"}, {"http_addr", "127.0.0.1:8080-70000"},
		{"log_level", "loud"}, {"log_format", "xml"}, {"progress", "bar"}, {"nonsense", "1"},
	} {
		_, err := load(t, "", nil, map[string]string{c[0]: c[1]})
		list := problems(t, err)
		flag := "--" + strings.ReplaceAll(c[0], "_", "-")
		if len(list) != 1 || !strings.HasPrefix(list[0], flag+": "+c[0]+" = ") || !strings.Contains(list[0], "want ") && c[0] != "nonsense" {
			t.Errorf("%s=%q: %q; want one problem that names flag, key, value and what is allowed", c[0], c[1], list)
		}
		if strings.Contains(list[0], "strconv") || strings.Contains(list[0], "parse error") || strings.ContainsAny(list[0], "\r\n\x00") {
			t.Errorf("%s=%q: %q speaks of the program's insides", c[0], c[1], list)
		}
	}
}

func TestLoad_AllProblemsInOrder(t *testing.T) {
	file := "# a comment\nconcurrency = 80\nretrys = 3\ncontact = 25\nprobe = \"true\"\n\n[tables]\nare = \"refused\"\n"
	_, err := load(t, file, []string{"FCT_MAX_RETRIES=lots", "FCT_NONSENSE=1"}, map[string]string{"delay_min": "9s", "delay_max": "8"})
	want := []string{
		`c.toml:2: concurrency = 80: want a whole number, 1 to 64`,
		`c.toml:3: retrys = 3: not a setting; want one of those that config init writes`,
		`c.toml:4: contact = 25: want text between quotes: printable ASCII, 0 to 100 characters`,
		`c.toml:5: probe = "true": want true or false`,
		`c.toml:7: tables = a table: want lines of key = value, without tables`,
		`$FCT_MAX_RETRIES: max_retries = "lots": want a whole number, 0 to 20`,
		`$FCT_NONSENSE: nonsense = "1": not a setting; want one of those that config init writes`,
		`--delay-min: delay_min = 9s: want at most delay_max = 8s (--delay-max)`,
	}
	if diff := cmp.Diff(want, problems(t, err)); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_BadCombinations(t *testing.T) {
	for name, c := range map[string]struct {
		flags map[string]string
		want  string
	}{
		"end":     {map[string]string{"start": "9", "end": "8"}, "--start: start = 9: want at most end = 8 (--end)"},
		"backoff": {map[string]string{"backoff_base": "10m"}, "--backoff-base: backoff_base = 10m: want at most backoff_max = 5m (default)"},
		"delay":   {map[string]string{"delay_max": "500ms"}, "--delay-max: delay_max = 500ms: want at least delay_min = 1s (default)"},
		"alias":   {map[string]string{"max_retries": "1", "retry_limit": "2"}, `--retry-limit: retry_limit = "2": want the same as max_retries = "1" (--max-retries), or one of the two alone`},
		"cert":    {map[string]string{"nats_cert": "c.pem"}, `--nats-cert: nats_cert = "c.pem": want nats_key too`},
	} {
		_, err := load(t, "", nil, c.flags)
		if got := problems(t, err); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if _, err := load(t, "", nil, map[string]string{"max_retries": "2", "retry_limit": "2"}); err != nil {
		t.Errorf("the same under both names: %v", err)
	}
}

func TestLoad_SuggestsNames(t *testing.T) {
	_, err := load(t, "", nil, map[string]string{"max_case": "5"})
	if got := problems(t, err); !strings.HasSuffix(got[0], "did you mean max_cases?") {
		t.Errorf("%q", got)
	}
}

func TestLoad_MasksSecrets(t *testing.T) {
	seed := "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
	s, err := load(t, "", nil, map[string]string{"nats_url": "tls://me:hunter2@a:4222,tls://tok@b:4222"})
	if err != nil {
		t.Fatal(err)
	}
	all := s.Effective()["nats_url"].(string)
	for _, line := range s.Lines() {
		all += line.Value
	}
	if strings.Contains(all, "hunter2") || strings.Contains(all, "tok@") || !strings.Contains(all, "a:4222") {
		t.Errorf("shown: %s", all)
	}
	_, err = load(t, "", nil, map[string]string{"nats_nkey": seed})
	if got := problems(t, err); len(got) != 1 || strings.Contains(got[0], seed) {
		t.Errorf("a seed where a path is due: %q", got)
	}
	for name, text := range map[string]string{"nats_url": "nats://me:hunter2,x@a", "base_url": "https://me:hunter2@a", "proxy": "socks4://me:hunter2,x@a", "nats_password": "hunter2", "site": "https://me:hunter2@a"} {
		_, err = load(t, name+" = \""+text+"\"\n", nil, nil)
		if got := problems(t, err); len(got) != 1 || strings.Contains(got[0], "hunter2") || !strings.Contains(got[0], "***") {
			t.Errorf("a secret in %s: %q", name, got)
		}
	}
}

// TestLoad_HTTPToken: an address that others can reach needs a token, which is never shown.
func TestLoad_HTTPToken(t *testing.T) {
	const token = "correct-horse-battery"
	for addr, needs := range map[string]bool{
		"": false, "127.0.0.1:8080": false, "localhost:0": false, "[::1]:8080": false, "127.0.0.1:8080-8089": false,
		"0.0.0.0:8080": true, ":8080": true, "[::]:8080": true, "10.0.0.1:8080": true, "court.example:80": true,
	} {
		_, err := load(t, "", nil, map[string]string{"http_addr": addr})
		if refused := err != nil; refused != needs || refused && !strings.Contains(err.Error(), "want http_token too") {
			t.Errorf("http_addr %q without a token: %v", addr, err)
		}
		s, err := load(t, "", nil, map[string]string{"http_addr": addr, "http_token": token})
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprint(s.Effective(), s.Lines(), config.Shown("http_token", token))
		if strings.Contains(shown, token) || !strings.Contains(shown, "***") || s.HTTPToken != token {
			t.Errorf("shown: %s", shown)
		}
	}
	for _, bad := range []string{"fifteen-letters", "a token with spaces in it", "sixteen-letters-\u00e9", strings.Repeat("x", 201)} {
		for name, given := range map[string]error{
			"flag": second(load(t, "", nil, map[string]string{"http_token": bad})),
			"file": second(load(t, fmt.Sprintf("http_token = %q\n", bad), nil, nil)),
			"env":  second(load(t, "", []string{"FCT_HTTP_TOKEN=" + bad}, nil)),
		} {
			if got := problems(t, given); len(got) != 1 || strings.Contains(got[0], bad) || !strings.Contains(got[0], "16 to 200") {
				t.Errorf("%s with the token %q: %q", name, bad, got)
			}
		}
	}
}

func second(_ *config.Settings, err error) error { return err }

func TestLoad_ContactNotMasked(t *testing.T) {
	s, err := load(t, "", nil, map[string]string{"contact": "me@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	all := s.Effective()
	if all["contact"] != "me@example.org" || all["user_agent"] != "fct-scraper/1.2.3 (+me@example.org)" {
		t.Errorf("contact %v, user_agent %v", all["contact"], all["user_agent"])
	}
}

func TestExampleFiles(t *testing.T) {
	for _, path := range []string{filepath.Join("..", "..", "config.example.toml")} {
		if _, err := config.Load(config.Sources{File: path, Now: day, Version: "x"}); err != nil {
			t.Error(err)
		}
	}
	whole := strings.ReplaceAll(string(config.Example()), "\n#", "\n")
	var bare []string
	for line := range strings.Lines(whole) {
		if strings.Contains(line, " = ") && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, `year = ""`) && !strings.HasPrefix(line, `user_agent = ""`) {
			bare = append(bare, line)
		}
	}
	if len(bare) != len(config.Keys())-2 {
		t.Errorf("%d keys in the example, want %d", len(bare), len(config.Keys())-2)
	}
	s, err := load(t, strings.Join(bare, ""), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := load(t, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain.Config, s.Config); diff != "" {
		t.Error("the example's values are not the defaults:", diff)
	}
}
