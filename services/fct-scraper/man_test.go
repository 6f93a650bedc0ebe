package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// called returns the stdout of a call and its exit code.
func called(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out, said strings.Builder
	code := run(t.Context(), args, nil, &out, &said)
	return out.String(), code
}

func TestMan_EveryCommand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man", "man1")
	if out, code := called(t, "man", "--dir", dir); code != codeCompleted || !strings.Contains(out, "man pages in "+dir) {
		t.Fatalf("exit code %d: %s", code, out)
	}
	pages := 0
	root := (&program{}).rootCommand()
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd != root && !cmd.IsAvailableCommand() {
			return
		}
		pages++
		data, err := os.ReadFile(filepath.Join(dir, manName(cmd)+".1"))
		if err != nil {
			t.Fatal(err)
		}
		page := string(data)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"} {
			if !strings.Contains(page, "\n.SH "+section+"\n") {
				t.Errorf("%s has no section %s", manName(cmd), section)
			}
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if named := strings.Contains(page, escapeRoff("--"+flag.Name)+`\fR`); named == flag.Hidden {
				t.Errorf("%s names --%s: %v", manName(cmd), flag.Name, named)
			}
		})
	})
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != pages {
		t.Errorf("%d files for %d commands: %v", len(files), pages, err)
	}
	lintPages(t, files)
}

// lintPages passes pages to the programs of this machine that find mistakes in them.
func lintPages(t *testing.T, files []string) {
	t.Helper()
	for _, call := range []string{"mandoc -Tlint -Wstyle", "groff -man -ww -Tutf8 -z"} {
		words := strings.Fields(call)
		if _, err := exec.LookPath(words[0]); err != nil {
			t.Logf("the pages are not checked: %s is not installed", words[0])
			continue
		}
		out, _ := exec.CommandContext(t.Context(), words[0], append(words[1:], files...)...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "missing date") { // the pages are reproducible
				t.Errorf("%s: %s", words[0], line)
			}
		}
	}
}

func TestMan_MainPage(t *testing.T) {
	t.Parallel()
	page, code := called(t, "man")
	if code != codeCompleted {
		t.Fatalf("exit code %d", code)
	}
	if again, _ := called(t, "man"); again != page {
		t.Error("a second call prints other bytes")
	}
	wants := []string{".SH ENVIRONMENT", ".SH FILES", escapeRoff("./" + defaultConfigFile)}
	for _, key := range config.Keys() {
		wants = append(wants, `\fB`+key.Env)
	}
	for _, e := range exitMeanings() {
		wants = append(wants, `\fB`+e.text()+`\fR`)
	}
	for _, want := range wants {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestMan_FolderRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]int{file: codeOutput, filepath.Join(file, "man1"): codeOutput, "": codeUsage} {
		if out, code := called(t, "man", "--dir", dir); code != want || out != "" {
			t.Errorf("--dir %q: exit code %d, want %d: %s", dir, code, want, out)
		}
	}
}

func TestManWriter_EscapesRoff(t *testing.T) {
	t.Parallel()
	m := &manWriter{}
	m.text(".TH a\\b\n\n  'quoted --flag\n\n  more\n'end")
	want := "\\&.TH a\\eb\n.PP\n.nf\n  'quoted \\-\\-flag\n\n  more\n.fi\n.PP\n\\&'end\n"
	if m.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", m.out.String(), want)
	}
}
