// These rules say how long files and functions may be, and what every package has.
package main_test

import (
	"go/ast"
	"slices"
	"strings"
)

const (
	longestFile     = 400
	longestFunction = 60
	medianFile      = 120
	medianFunction  = 12
)

func shapeRules() []rule {
	return []rule{
		{
			name: "short files", check: each(checkFileLength),
			bad:  []sample{{"pkg/bus/a.go", strings.Repeat("\n", longestFile)}, {"pkg/bus/a_test.go", strings.Repeat("\n", longestFile)}},
			good: []sample{{"pkg/bus/a.go", strings.Repeat("\n", longestFile-2)}},
		},
		{
			name: "short functions", check: inProgram(checkFunctionLength),
			bad:  []sample{{"pkg/bus/a.go", function(longestFunction + 1)}},
			good: []sample{{"pkg/bus/a.go", function(longestFunction)}},
		},
		{
			name: "medians", check: checkMedians,
			bad: []sample{
				{"pkg/bus/a.go", strings.Repeat("\n", medianFile)},
				{"pkg/bus/a.go", function(medianFunction + 1)},
			},
			good: []sample{{"pkg/bus/a.go", function(medianFunction)}, {"pkg/bus/a_test.go", function(50)}},
		},
		{
			name: "tests watch for leaks", check: checkLeaks,
			bad: []sample{{"pkg/bus/a_test.go", `import "testing"; func TestA(t *testing.T) {}`}},
			good: []sample{
				{"pkg/bus/a_test.go", `import "testing"; import "go.uber.org/goleak"; func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }`},
				{"pkg/bus/a.go", `func f() {}`},
			},
		},
		{
			name: "packages are tested", check: checkTested,
			bad:  []sample{{"pkg/util/a.go", ``}},
			good: []sample{{"pkg/util/a_test.go", ``}, {"pkg/fcttest/a.go", ``}, {"tools/keys/a.go", ``}},
		},
		{
			name: "packages are explained", check: checkPackageComments,
			bad:  []sample{{"pkg/bus/a.go", `func f() {}`}},
			good: []sample{{"pkg/bus/a_test.go", `func f() {}`}},
		},
	}
}

// checkTested finds packages without a test. Exempt are pkg/fcttest, which every test that uses it tests, and tools, which are
// tried by the scripts that run them.
func checkTested(tree []source) (findings []string) {
	tested := make(map[string]bool)
	for _, s := range tree {
		tested[s.dir()] = tested[s.dir()] || s.isTest()
	}
	for _, s := range tree {
		if !tested[s.dir()] && s.dir() != "pkg/fcttest" && !strings.HasPrefix(s.dir(), "tools/") {
			findings = append(findings, s.finding(s.file.Name, "package %s has no test", s.dir()))
		}
	}
	return findings
}

// function is a function of so many lines.
func function(lines int) string {
	return "func f() {" + strings.Repeat("\n", lines-1) + "}"
}

// length is how many lines the file has.
func (s source) length() int { return s.set.File(s.file.Package).LineCount() }

func (s source) functions() (found []*ast.FuncDecl) {
	for _, decl := range s.file.Decls {
		if f, is := decl.(*ast.FuncDecl); is {
			found = append(found, f)
		}
	}
	return found
}

func checkFileLength(s source) []string {
	if s.length() <= longestFile {
		return nil
	}
	return []string{s.finding(s.file.Name, "%d lines, at most %d are allowed", s.length(), longestFile)}
}

func checkFunctionLength(s source) (findings []string) {
	for _, f := range s.functions() {
		if lines := s.lines(f); lines > longestFunction {
			findings = append(findings, s.finding(f, "%s has %d lines, at most %d are allowed", f.Name.Name, lines, longestFunction))
		}
	}
	return findings
}

func checkMedians(tree []source) (findings []string) {
	var files, functions []int
	for _, s := range tree {
		if s.isTest() {
			continue
		}
		files = append(files, s.length())
		for _, f := range s.functions() {
			functions = append(functions, s.lines(f))
		}
	}
	if median(files) > medianFile {
		findings = append(findings, "half of the files are too long")
	}
	if median(functions) > medianFunction {
		findings = append(findings, "half of the functions are too long")
	}
	return findings
}

func median(lengths []int) int {
	if len(lengths) == 0 {
		return 0
	}
	slices.Sort(lengths)
	return lengths[len(lengths)/2]
}

func checkLeaks(tree []source) (findings []string) {
	watched := make(map[string]bool)
	for _, s := range tree {
		if s.isTest() && len(s.uses("go.uber.org/goleak")) > 0 {
			watched[s.dir()] = true
		}
	}
	for _, s := range tree {
		if s.isTest() && !watched[s.dir()] {
			findings = append(findings, s.finding(s.file.Name, "no test in this folder asks goleak"))
		}
	}
	return findings
}

func checkPackageComments(tree []source) (findings []string) {
	explained := make(map[string]bool)
	for _, s := range tree {
		if !s.isTest() && s.file.Doc.Text() != "" {
			explained[s.dir()] = true
		}
	}
	for _, s := range tree {
		if !s.isTest() && !explained[s.dir()] {
			findings = append(findings, s.finding(s.file.Name, "the package has no comment"))
			explained[s.dir()] = true
		}
	}
	return findings
}
