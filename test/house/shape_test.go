// These rules say what every package has.
package house_test

import (
	"strings"
)

func shapeRules() []rule {
	return []rule{
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
