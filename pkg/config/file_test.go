package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/pkg/config"
)

func TestLoad_BadFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"binary.toml": "\x7fELF\x00\x01", "latin.toml": "contact = \"\xe9\"\n", "syntax.toml": "year = \"25\"\nend = = 3\n",
		"twice.toml": "start = 1\nstart = 2\n", "large.toml": strings.Repeat("# a long comment\n", 1<<16), "list.toml": "start = [1, 2]\n",
		"table.toml": "[start]\nat = 1\n", "quotes.toml": "start = \"1\"\n", "float.toml": "concurrency = 1.5\n", "date.toml": "year = 2025-01-01\n",
		"header.toml": "[start.at]\na = 1\n", "dotted.toml": "output.folder = \"x\"\n", "headers.toml": "\n[[a.b]]\nstart = 1\n[[a.b]]\n",
		"inline.toml": "end = {at = 1}\n", "name.toml": "\"a\\nb\" = 1\n", "blank.toml": "= 1\n",
	}
	for n := range 257 {
		files["many.toml"] += fmt.Sprintf("key%d = 1\n", n)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		".": "a folder", "pipe": "a pipe", "missing.toml": "no such file", "binary.toml": "not text in UTF-8", "latin.toml": "not text in UTF-8",
		"syntax.toml": "syntax.toml:2: not TOML", "twice.toml": "twice.toml:2: not TOML", "large.toml": "larger than 1MiB",
		"list.toml": "list.toml:1: start = a list: want a whole number", "table.toml": "table.toml:1: start = a table: want",
		"header.toml": "header.toml:1: start = a table: want", "dotted.toml": "dotted.toml:1: output = a table: want",
		"headers.toml": "headers.toml:2: a = a table: want", "inline.toml": "inline.toml:1: end = a table: want",
		"name.toml": `name.toml:1: "a\nb" = 1: not a setting`, "blank.toml": "blank.toml:1: not TOML",
		"quotes.toml": `quotes.toml:1: start = "1": want a whole number`, "float.toml": "float.toml:1: concurrency = 1.5: want",
		"date.toml": "date.toml:1: year = ", "many.toml": "many.toml: 257 keys: want a file of settings, at most 256",
	} {
		_, err := config.Load(config.Sources{File: filepath.Join(dir, name), Now: day})
		if got := problems(t, err); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := config.Load(config.Sources{File: "/dev/null", Now: day}); err == nil {
		t.Error("a device was read")
	}
}

func TestKeyLine(t *testing.T) {
	for file, want := range map[string]string{
		"\n# start = 1\n\"start\" = 0\n":                     "c.toml:3: start = ",
		"contact = '''\nend = 1\n'''\n":                      "c.toml:1: contact = ",
		"user_agent = \"\"\"x\\\n  end = 1\"\"\"\nend = 0\n": "c.toml:3: end = ",
		"start = 5 # say \"\"\"\nend = 0\n":                  "c.toml:2: end = ",
		"# it's [\nend = 0\n":                                "c.toml:2: end = ",
		"\ufeffend = 0\n":                                    "c.toml:1: end = ",
		"contact = \"# [ \\\" end = 1\"\r\nend = 0\r\n":      "c.toml:2: end = ",
		"\"max\\u005fretries\" = 99":                         "c.toml:1: max_retries = ",
		"contact = \"\"\"a\"\"\"\"\"\nend = 0\n":             "c.toml:2: end = ",
		"start = [\n# ]\n\"]\", '''\nend = 3\n''']\nend=1":   "c.toml:1: start = ",
	} {
		_, err := load(t, file, nil, nil)
		if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: %q, want %q", file, got, want)
		}
	}
}
