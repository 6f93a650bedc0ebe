// These rules say that documents name only files and tests that exist.
package house_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is one Markdown file, by its path from the root of the module.
type document struct{ path, text string }

// named is what documents may name: whether a path from the root exists (it may be a pattern), and whether a test does.
type named struct{ file, test func(string) bool }

var (
	fencedCode = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inlineCode = regexp.MustCompile("`([^`]+)`")
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testName   = regexp.MustCompile(`^Test[A-Z]\w*$`)
)

// check returns what the document names that does not exist. A link counts from the document's folder. In inline code a word
// counts from the root when it ends in .go or begins with a source folder; code blocks are not read.
func (d document) check(exists named) (findings []string) {
	text := fencedCode.ReplaceAllString(d.text, "")
	for _, match := range linkTarget.FindAllStringSubmatch(text, -1) {
		target, _, _ := strings.Cut(match[1], "#")
		if target != "" && !strings.Contains(target, ":") && !exists.file(path.Join(path.Dir(d.path), target)) {
			findings = append(findings, fmt.Sprintf("%s: the link leads to %s, which does not exist", d.path, target))
		}
	}
	for _, match := range inlineCode.FindAllStringSubmatch(text, -1) {
		for word := range strings.FieldsSeq(match[1]) {
			name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimRight(word, `"')`), "./"), "/...")
			switch {
			case testName.MatchString(word):
				if !exists.test(word) {
					findings = append(findings, fmt.Sprintf("%s: no test is named %s", d.path, word))
				}
			case isSource(name) && !exists.file(name):
				findings = append(findings, fmt.Sprintf("%s: %s does not exist", d.path, name))
			}
		}
	}
	return findings
}

// isSource reports whether a word of inline code is the path of a source file or of a package.
func isSource(word string) bool {
	folder, rest, _ := strings.Cut(word, "/")
	return strings.HasSuffix(word, ".go") ||
		rest != "" && slices.Contains([]string{"pkg", "services", "streams", "scripts", "test", "tools", "docs", ".ci"}, folder)
}

func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	tests := make(map[string]bool)
	for _, s := range readTree(t, root) {
		for _, decl := range s.file.Decls {
			if f, is := decl.(*ast.FuncDecl); is && s.isTest() && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
	}
	exists := named{
		file: func(name string) bool {
			found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name)))
			return err == nil && len(found) > 0
		},
		test: func(name string) bool { return tests[name] },
	}
	documents := readDocuments(t, root)
	for _, name := range []string{"README.md", "docs/architecture.md", "docs/adr/README.md"} {
		if !slices.ContainsFunc(documents, func(d document) bool { return d.path == name }) {
			t.Fatalf("%s was not read", name)
		}
	}
	for _, d := range documents {
		for _, finding := range d.check(exists) {
			t.Error(finding)
		}
	}
}

// readDocuments reads the documents that describe the tree as it is; CHANGELOG.md also describes what is gone.
func readDocuments(t *testing.T, root string) (documents []document) {
	t.Helper()
	for _, pattern := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			inside, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			documents = append(documents, document{filepath.ToSlash(inside), string(text)})
		}
	}
	return documents
}

func TestDocumentRuleCanFail(t *testing.T) {
	t.Parallel()
	exists := named{
		file: func(name string) bool {
			return slices.Contains([]string{"README.md", "docs/a.md", "docs/adr/1.md", "pkg/bus", "pkg/bus/a.go", "streams/*.json"}, name)
		},
		test: func(name string) bool { return name == "TestA" },
	}
	for _, bad := range []document{
		{"README.md", "see [b](docs/b.md)"},
		{"README.md", "see [b](docs/b.md#part)"},
		{"docs/adr/1.md", "see [a](a.md)"},
		{"README.md", "`pkg/bus/b.go` publishes"},
		{"README.md", "`a.go` publishes"},
		{"docs/a.md", "the package `pkg/ledger`"},
		{"docs/a.md", "run `go test ./pkg/ledger`"},
		{"docs/a.md", "```\ncode\n```\nthe package `pkg/ledger`"},
		{"docs/a.md", "| 1 | `TestA`, `TestB` |"},
		{"docs/a.md", "`task soak -- -run TestB`"},
	} {
		if bad.check(exists) == nil {
			t.Errorf("let pass in %s:\n%s", bad.path, bad.text)
		}
	}
	for _, good := range []document{
		{"README.md", "see [a](docs/a.md#part), [up](#use), [out](https://example.org/b.go)"},
		{"docs/adr/1.md", "see [a](../a.md) and [the start](../../README.md)"},
		{"docs/a.md", "`pkg/bus/a.go`, `pkg/bus` and `go test ./pkg/bus/...` with `streams/*.json`"},
		{"docs/a.md", "`TestA` by `go test -run TestA ./pkg/bus`, in `run/` and `output`"},
		{"docs/a.md", "```\npkg/ledger `pkg/ledger`\n```\n"},
		{"docs/a.md", "`a key\nin pkg/bus`"},
	} {
		if findings := good.check(exists); findings != nil {
			t.Errorf("found %q in\n%s", findings, good.text)
		}
	}
}
