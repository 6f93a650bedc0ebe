package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/natsd"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// complete returns what shell completion offers for the last word, and its directive.
func complete(t *testing.T, words ...string) ([]string, cobra.ShellCompDirective) {
	t.Helper()
	var out, said strings.Builder
	if code := run(t.Context(), append([]string{cobra.ShellCompNoDescRequestCmd}, words...), nil, &out, &said); code != codeCompleted {
		t.Fatalf("%q: exit code %d: %s", words, code, said.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last, found := strings.CutPrefix(lines[len(lines)-1], ":")
	directive, err := strconv.Atoi(last)
	if !found || err != nil {
		t.Fatalf("%q: no directive in %q", words, out.String())
	}
	typed := words[len(words)-1]
	if strings.HasPrefix(typed, "--") {
		_, typed, _ = strings.Cut(typed, "=")
	}
	offered := lines[:len(lines)-1]
	if cobra.ShellCompDirective(directive)&cobra.ShellCompDirectiveFilterFileExt == 0 { // the shell filters words
		offered = slices.DeleteFunc(offered, func(word string) bool { return !strings.HasPrefix(word, typed) })
	}
	return offered, cobra.ShellCompDirective(directive)
}

// offersFiles reports whether the shell offers files or folders.
func offersFiles(d cobra.ShellCompDirective) bool {
	return d&cobra.ShellCompDirectiveNoFileComp == 0
}

// TestCompletion_FilesOnlyIfMeant completes the value of each flag and the first argument of every command.
func TestCompletion_FilesOnlyIfMeant(t *testing.T) {
	t.Parallel()
	files := []string{"config", "rules", "list", "ids", "robots", "out", "dir", "site", "output", "data-dir",
		"nats-ca", "nats-cert", "nats-creds", "nats-key", "nats-nkey"}
	arguments := []string{"fct-scraper facts", "fct-scraper analyze", "fct-scraper config init"}
	seen := make(map[string]bool)
	eachCommand((&program{}).rootCommand(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		if _, directive := complete(t, append(slices.Clone(path), "")...); offersFiles(directive) != slices.Contains(arguments, cmd.CommandPath()) {
			t.Errorf("argument of %s: directive %d", cmd.CommandPath(), directive)
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			_, sets := flag.Value.(*settingFlag)
			kind := fmt.Sprint(flag.Name, sets)
			if flag.Hidden || seen[kind] {
				return // completion is by the name of the flag
			}
			seen[kind] = true
			_, directive := complete(t, append(slices.Clone(path), "--"+flag.Name+"=")...)
			if offersFiles(directive) != (slices.Contains(files, flag.Name) && flag.Value.Type() != "bool") {
				t.Errorf("%s --%s: directive %d", cmd.CommandPath(), flag.Name, directive)
			}
		})
	})
}

func TestCompletion_Values(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]string{
		"batch --log-level ":             "debug info warn error",
		"serve --log-format ":            "auto text json",
		"export --progress ":             "auto tty plain json none",
		"batch --site f":                 "fct-cf fct-cf-html",
		"batch --probe=":                 "true false",
		"export --format p":              "parquet postgres",
		"export --table ":                "cases entries parties coverage",
		"export --outcome success,n":     "success,no-record success,none",
		"export --columns case_id,court": "case_id,court_seq",
		"export --columns entries.ca":    "entries.case_id entries.can_publish",
		"sim --division ":                "any number t",
		"sim --fault gzip":               "gzipbomb: gzip-twice:",
		"sim --block-after 5:wa":         "5:waf 5:waf-json",
		"sim --block-after 5":            "",
		"serve fetcher ":                 "prober generator classifier reporter",
		"explain I":                      "",
		"status --run ":                  "",
		"config init ":                   "toml",
		"batch --config ":                "toml",
	} {
		got, _ := complete(t, strings.Split(call, " ")...)
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q offers %q, want %q", call, text, want)
		}
	}
	years, _ := complete(t, "batch", "")
	if this := time.Now().Format("2006"); len(years) != 3 || years[0] != this {
		t.Errorf("batch offers %q, want three years from %s on", years, this)
	}
	if second, _ := complete(t, "batch", "2025", ""); len(second) > 0 {
		t.Errorf("after the year batch offers %q", second)
	}
}

// TestCompletion_SilentStore completes runs while a process holds the store and does not answer.
func TestCompletion_SilentStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := holder.Close(); err != nil {
			t.Error(err)
		}
	}()
	begun := time.Now()
	got, directive := complete(t, "status", "--data-dir", dir, "--run", "")
	if took := time.Since(begun); len(got) > 0 || offersFiles(directive) || took > 3*runCompletionTimeout {
		t.Errorf("offers %q, directive %d, after %v", got, directive, took)
	}
}
