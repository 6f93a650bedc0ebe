// This file holds the source of the whole module against the rules of the house.
package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module  = "fct-scraper"
	program = "services/fct-scraper"
)

// source is one Go file of the module.
type source struct {
	path string // from the root of the module, by slashes
	set  *token.FileSet
	file *ast.File
}

func (s source) dir() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// finding says what is wrong where.
func (s source) finding(node ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.set.Position(node.Pos()).Line, fmt.Sprintf(format, args...))
}

// sample is a file that need not be in the tree; its package clause is added.
type sample struct{ path, code string }

// rule is one rule of the house. The samples prove that it finds what it forbids, and lets pass what it allows.
type rule struct {
	name      string
	check     func([]source) []string
	bad, good []sample
}

// each makes a rule for single files a rule for the tree.
func each(check func(source) []string) func([]source) []string {
	return func(tree []source) (findings []string) {
		for _, s := range tree {
			findings = append(findings, check(s)...)
		}
		return findings
	}
}

// inProgram is each, without the tests.
func inProgram(check func(source) []string) func([]source) []string {
	return each(func(s source) []string {
		if s.isTest() {
			return nil
		}
		return check(s)
	})
}

func houseRules() []rule {
	return slices.Concat(importRules(), useRules(), declarationRules(), shapeRules())
}

func TestTreeKeepsRules(t *testing.T) {
	t.Parallel()
	tree := readTree(t, filepath.Join("..", ".."))
	for _, part := range []string{"pkg/contract", "streams", "services/generator", program} {
		if !slices.ContainsFunc(tree, func(s source) bool { return s.dir() == part && !s.isTest() }) {
			t.Fatalf("nothing read of %s", part)
		}
	}
	for _, rule := range houseRules() {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, finding := range rule.check(tree) {
				t.Error(finding)
			}
		})
	}
}

func TestRulesCanFail(t *testing.T) {
	t.Parallel()
	for _, rule := range houseRules() {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			if len(rule.bad) == 0 || len(rule.good) == 0 {
				t.Error("the rule has no samples")
			}
			for _, s := range rule.bad {
				if rule.check([]source{s.parse(t)}) == nil {
					t.Errorf("let pass in %s:\n%s", s.path, s.code)
				}
			}
			for _, s := range rule.good {
				if findings := rule.check([]source{s.parse(t)}); findings != nil {
					t.Errorf("found %q in\n%s", findings, s.code)
				}
			}
		})
	}
}

func (s sample) parse(t *testing.T) source {
	t.Helper()
	name := path.Base(path.Dir(s.path))
	if path.Dir(s.path) == program {
		name = "main"
	}
	return parse(t, s.path, []byte("package "+name+"\n"+s.code))
}

func parse(t *testing.T, name string, code []byte) source {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{path: name, set: set, file: file}
}

// readTree parses every Go file below root, for whatever system it is, except those of other modules.
func readTree(t *testing.T, root string) (tree []source) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root:
			return skipped(name, entry)
		case filepath.Ext(name) != ".go":
			return nil
		}
		code, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		tree = append(tree, parse(t, filepath.ToSlash(inside), code))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// skipped says of a folder whether the go command would pass by it as well.
func skipped(name string, entry fs.DirEntry) error {
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	if err == nil || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") {
		return filepath.SkipDir
	}
	return nil
}
