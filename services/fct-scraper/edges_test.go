package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/export"
	"fct-scraper/pkg/fcttest"
)

// edgeFiles are inputs that a person may give by mistake.
func edgeFiles() map[string]string {
	record := recordLine("IMM", "25", 1)
	rule := "[[rule]]\nname = \"a\"\nfact = \"kind\"\nvalue = \"letter\"\n"
	return map[string]string{
		"good.txt": "IMM-1-25\n", "empty.txt": "", "comments.txt": "# a\n\n# b\n", "binary.txt": "\x7fELF\x02\x01\x00",
		"utf16.txt": "\xff\xfeI\x00M\x00M\x00", "utf16-bare.txt": "I\x00M\x00M\x00", "nul.txt": "IMM-1-25\nIMM-2\x00-25\n",
		"foreign.txt": "A-12-B\n2025 FC 123\nIMM-1-25\n", "quote.csv": "case_id\n\"IMM-1-25\nIMM-2-25\n",
		"long.txt": strings.Repeat("x", 1<<20) + "\n", "longer.txt": strings.Repeat("x", 3<<20),
		"output/cases/IMM/25/IMM-1-25.json": record, "output/attempts_a.ndjson": "", "data/manifest.json": "{}",
		"data/jetstream/a": "", "of-mine/a.txt": "", "device": "",
		"syntax.toml": "name =\n", "expression.toml": "name = \"r\"\n" + rule + "en = [\"([\"]\n", "empty.toml": "",
		"key.toml": "name = \"r\"\n" + rule + "colour = \"red\"\n", "twice.toml": "name = \"r\"\n" + rule + rule,
		"huge.toml": "name = \"r\"\n" + strings.Repeat("# "+strings.Repeat("x", 98)+"\n", 11_000), "utf16.toml": "\xff\xfen\x00",
		"broken.ndjson": record + "\n\n" + recordLine("IMM", "25", 2) + "\n{\"version\":2,\n", "newer.json": `{"version":3,"case_id":"IMM-1-25"}`,
	}
}

// TestBadInput calls commands with bad input: each ends with its exit code and one error that names the input, and
// no file appears or changes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range edgeFiles() {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("loop", at("loop")); err != nil {
		t.Fatal(err)
	}
	settings := []string{"--site", "sim", "--data-dir", at("data"), "--output", at("output")}
	record := at("output/cases/IMM/25/IMM-1-25.json")
	const secret = "postgres://u:hunter2@host/db"
	type call struct {
		args []string
		want string
	}
	exportTo := func(out, want string, more ...string) call {
		return call{append([]string{"export", "--format", "csv", "--out", out}, more...), want}
	}
	facts := func(want string, args ...string) call { return call{append([]string{"facts"}, args...), want} }
	calls := map[string]call{
		"column unknown":      exportTo(at("x"), `no column "nope"`, "--columns", "nope"),
		"columns empty":       exportTo(at("x"), `--columns = "": want a value`, "--columns="),
		"series empty":        exportTo(at("x"), `--series = "": want a value`, "--series="),
		"ids empty":           exportTo(at("x"), `--ids = "": want a value`, "--ids="),
		"out empty":           exportTo("", `--out = "": want a value`),
		"format unknown":      exportTo(at("x"), `--format "exel": allowed are`, "--format", "exel"),
		"since unreadable":    exportTo(at("x"), `--since "2025-02-30": want a day`, "--since", "2025-02-30"),
		"since in the future": exportTo(at("x"), `--since "2999-01-01" is in the future: want a time before`, "--since", "2999-01-01"),
		"outcome unknown":     exportTo(at("x"), `--outcome "lost": want`, "--outcome", "success,lost"),
		"series malformed":    exportTo(at("x"), `--series "IMM-25-3": want`, "--series", "IMM-25-3"),
		"out a record":        exportTo(record, "it is among the files of runs in"),
		"out with records":    exportTo(filepath.Dir(record), "it is among the files of runs in"),
		"out all records":     exportTo(at("output/cases"), "it is among the files of runs in"),
		"out a run's file":    exportTo(at("output/attempts_a.ndjson"), "it is a file of runs in"),
		"out the manifest":    exportTo(at("data/manifest.json"), "it is in the store"),
		"out the store":       exportTo(at("data"), "it is in the store"),
		"out in the store":    exportTo(at("data/jetstream/x.csv"), "it is in the store"),
		"out the ids":         exportTo(at("good.txt"), "it is the input", "--ids", at("good.txt")),
		"out the rules":       exportTo(at("twice.toml"), "it is the input", "--rules", at("twice.toml")),
		"out another scheme":  exportTo("mysql"+strings.TrimPrefix(secret, "postgres"), "--out is a URL"),
		"out PostgreSQL":      exportTo(secret, "--format is csv: allowed is postgres"),
		"stdout twice":        exportTo("-", "--json with --out -", "--json"),
		"analyze the store":   {[]string{"analyze", record, "--out", at("data")}, "it is in the store"},
		"analyze the records": {[]string{"analyze", record, "--out", filepath.Dir(record)}, "it is among the files of runs in"},
		"analyze, out empty":  {[]string{"analyze", record, "--out="}, `--out = "": want a value`},
		"analyze, broken":     {[]string{"analyze", at("broken.ndjson"), "--out", at("x")}, "broken.ndjson line 4: "},
		"facts, rules empty":  facts(`--rules = "": want a value`, record, "--rules="),
		"rules, syntax":       facts("syntax.toml: toml: line 1 ", record, "--rules", at("syntax.toml")),
		"rules, expression":   facts(`expression.toml: rule "a": en "([": allowed is a regular expression`, record, "--rules", at("expression.toml")),
		"rules, unknown key":  facts(`key.toml: line 6: unknown key "rule.colour": allowed are`, record, "--rules", at("key.toml")),
		"rules, empty":        facts(`empty.toml: name "": allowed is a name`, record, "--rules", at("empty.toml")),
		"rules, name twice":   facts(`twice.toml: rule "a": name "a": allowed is a name that no other`, record, "--rules", at("twice.toml")),
		"rules, huge":         facts("huge.toml: allowed is a regular file of at most", record, "--rules", at("huge.toml")),
		"rules, UTF-16":       facts("utf16.toml: toml: line 1", record, "--rules", at("utf16.toml")),
		"rules, folder":       facts("of-mine: allowed is a regular file", record, "--rules", at("of-mine")),
		"rules, missing":      facts("none.toml: no such file", record, "--rules", at("none.toml")),
		"records, broken":     facts("broken.ndjson line 4: ", at("broken.ndjson")),
		"records, newer":      facts("newer.json: not a record: record version 3: allowed is 1 to 2", at("newer.json")),
		"records, none":       facts("holds no record: allowed are files such as", at("of-mine")),
		"records, loop":       facts("loop", at("loop")),
		"records, binary":     facts("binary.txt: not a record", at("binary.txt")),
		"case id":             {[]string{"single", "A-12-B"}, `argument "A-12-B": want a case id`},
	}
	for name, want := range map[string]string{
		"empty.txt": "it is empty", "comments.txt": "it is empty", "binary.txt": "it is no text", "utf16.txt": "it is UTF-16",
		"utf16-bare.txt": "it is no text", "nul.txt": "it is no text", "foreign.txt": `line 1: "A-12-B": want a case id`,
		"quote.csv": "line 2: a field that begins with a quote", "long.txt": `line 1: "xxx`, "longer.txt": "a line has more than 1 MiB",
		"of-mine": "is a directory", "none.txt": "no such file",
	} {
		calls["ids, "+name] = exportTo(at("x"), want, "--ids", at(name))
		calls["list, "+name] = call{[]string{"batch", "--list", at(name)}, want}
	}
	before := snapshotOf(t, dir)
	for name, c := range calls {
		got := did(t, codeUsage, append(slices.Clone(c.args), settings...)...)
		said := got.stderr
		if !strings.Contains(said, c.want) || strings.Contains(said+got.stdout, "hunter2") ||
			strings.Count(said, "\n") > 1 && name != "ids, foreign.txt" && name != "list, foreign.txt" {
			t.Errorf("%s: %q, want one line with %q", name, said, c.want)
		}
	}
	if after := snapshotOf(t, dir); after != before {
		t.Errorf("files before:\n%s\nand after:\n%s", before, after)
	}
}

// snapshotOf lists the files below a folder with their sizes.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			info, infoErr := entry.Info()
			if err = infoErr; err == nil {
				list.WriteString(path + " " + info.ModTime().String() + "\n")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// A record of the store that cannot be read ends each command that reads it with the same code, and names what to do.
func TestUnreadableStoredRecord(t *testing.T) {
	t.Parallel()
	id := fcttest.CaseOf(7)
	source := export.Source{Numbers: func(_ context.Context, take func(export.Item) error) error {
		return take(export.Item{Coverage: export.Coverage{CaseID: id}, Record: []byte(`{"version":3,"case_id":"IMM-7-25"}`)})
	}}
	for name, read := range map[string]func() error{
		"facts": func() error {
			return deriveFacts(t.Context(), factRules(t), recordSource{each: storedRecords(t.Context(), source)}, factLines,
				func([]byte) error { return nil })
		},
		"export": func() error {
			o := export.Options{Format: export.FormatNDJSON, Out: "-", Stdout: &bytes.Buffer{}}
			_, err := o.Run(t.Context(), source)
			return err
		},
	} {
		err := read()
		if code := errorExitCode(err); code != codeOutput {
			t.Errorf("%s: exit code %d of %v", name, code, err)
		}
		want := "record not exportable: IMM-7-25: not a record: record version 3: allowed is 1 to 2: a newer version of " +
			"fct-scraper may have written it; `fct-scraper single IMM-7-25 --force` downloads it again"
		if err.Error() != want {
			t.Errorf("%s: %q", name, err)
		}
	}
}

// endless is a line without an end. It is read in a goroutine of its own.
type endless struct{ length atomic.Int64 }

func (e *endless) Read(to []byte) (int, error) {
	for i := range to {
		to[i] = 'x'
	}
	e.length.Add(int64(len(to)))
	return len(to), nil
}

func TestDeriveFacts_EndlessLine(t *testing.T) {
	t.Parallel()
	in := &endless{}
	err := deriveFacts(t.Context(), factRules(t), recordSource{stdin: in, paths: []string{"-"}}, factLines,
		func([]byte) error { return nil })
	if errorExitCode(err) != codeUsage || !strings.Contains(err.Error(), "stdin line 1: not a record: longer than the 67108864 bytes") {
		t.Errorf("%v", err)
	}
	if read := in.length.Load(); read > maxRecordSize+1<<20 {
		t.Errorf("%d bytes were read", read)
	}
}
