// These rules say who may import what: services/fct-scraper -> roles -> pkg -> pkg/contract -> standard library.
package house_test

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

func importRules() []rule {
	return []rule{
		{
			name: "layers", check: each(checkLayers),
			bad: []sample{
				{"pkg/site/a.go", `import "fct-scraper/services/fetcher"`},
				{"pkg/site/a_test.go", `import "fct-scraper/services/fetcher"`},
				{"pkg/site/a.go", `import "fct-scraper/streams"`},
				{"pkg/contract/a.go", `import "fct-scraper/pkg/bus"`},
				{"streams/a.go", `import "fct-scraper/pkg/bus"`},
				{"services/fetcher/a.go", `import "fct-scraper/services/generator"`},
				{"services/fetcher/a_test.go", `import "fct-scraper/services/generator"`},
				{"services/fetcher/a.go", `import "fct-scraper/services/fct-scraper/runtime"`},
				{"test/e2e/a_test.go", `import "fct-scraper/services/fct-scraper/runtime"`},
				{"services/fetcher/a.go", `import "fct-scraper/pkg/fcttest"`},
				{"services/generator/a.go", `import "fct-scraper/services/fetcher/limit"`},
				{"services/generator/a_test.go", `import "fct-scraper/services/fetcher/limit"`},
				{"pkg/site/a.go", `import "fct-scraper/services/fetcher/limit"`},
				{"elsewhere/a.go", `import "fct-scraper/pkg/bus"`},
				{"test/e2e/a_test.go", `import "fct-scraper/services/fetcher"`},
				{"test/e2e/a.go", `import "fct-scraper/pkg/bus"`},
			},
			good: []sample{
				{"services/fct-scraper/a.go", `import "fct-scraper/services/generator"; import "fct-scraper/services/fetcher/limit"`},
				{"services/fct-scraper/a.go", `import "fct-scraper/services/fct-scraper/runtime"`},
				{"services/fct-scraper/runtime/a.go",
					`import "fct-scraper/services/fetcher"; import "fct-scraper/streams"`},
				{"services/fetcher/a.go", `import "fct-scraper/services/fetcher/limit"`},
				{"services/fetcher/limit/a.go", `import "fct-scraper/streams"; import "fct-scraper/pkg/lease"`},
				{"services/fetcher/a.go", `import "fct-scraper/streams"; import "fct-scraper/pkg/site"`},
				{"services/fetcher/a_test.go", `import "fct-scraper/pkg/fcttest"; import "fct-scraper/services/fetcher"`},
				{"pkg/site/a.go", `import "fct-scraper/pkg/contract"; import "net/http"`},
				{"pkg/fcttest/a.go", `import "fct-scraper/streams"; import "fct-scraper/pkg/natsd"`},
				{"test/e2e/a_test.go", `import "fct-scraper/streams"; import "fct-scraper/pkg/bus"`},
			},
		},
		{
			name: "the verifier counts by itself", check: inProgram(checkVerifier),
			bad: []sample{
				{"services/reporter/verify/a.go", `import "fct-scraper/services/reporter/fold"`},
				{"services/reporter/verify/a.go", `import "fct-scraper/services/reporter/files"`},
			},
			good: []sample{
				{"services/reporter/verify/a.go", `import "fct-scraper/pkg/ledger"`},
				{"services/reporter/verify/a_test.go", `import "fct-scraper/services/reporter/fold"`},
				{"services/reporter/a.go", `import "fct-scraper/services/reporter/fold"`},
			},
		},
		{
			name: "contract stands on the standard library", check: inProgram(checkContract),
			bad: []sample{{"pkg/contract/a.go", `import "github.com/nats-io/nats.go"`}},
			good: []sample{{"pkg/contract/a.go", `import "encoding/json"; import "github.com/go-json-experiment/json"`},
				{"pkg/bus/a.go", `import "github.com/nats-io/nats.go"`}},
		},
		{
			name: "imports in their place", check: each(checkPlaces),
			bad: []sample{
				{"pkg/bus/a.go", `import "github.com/nats-io/nats-server/v2/server"`},
				{"pkg/bus/a_test.go", `import "github.com/nats-io/nats-server/v2/server"`},
				{"services/fetcher/a.go", `import "os/signal"`},
				{"services/fct-scraper/runtime/a.go", `import "os/signal"`},
				{"services/fct-scraper/runtime/a.go", `import "github.com/spf13/cobra"`},
				{"pkg/bus/a.go", `import "github.com/lmittmann/tint"`},
				{"pkg/bus/a_test.go", `import "github.com/stretchr/testify/require"`},
			},
			good: []sample{
				{"pkg/natsd/a.go", `import "github.com/nats-io/nats-server/v2/server"`},
				{"services/fct-scraper/a.go", `import "os/signal"; import "github.com/lmittmann/tint"`},
				{"pkg/bus/a.go", `import "github.com/nats-io/nats.go"`},
			},
		},
		{
			name: "test libraries in tests", check: inProgram(checkTestLibraries),
			bad: []sample{
				{"pkg/bus/a.go", `import "testing"`},
				{"pkg/bus/a.go", `import "github.com/google/go-cmp/cmp"`},
				{"services/fetcher/a.go", `import "pgregory.net/rapid"`},
			},
			good: []sample{
				{"pkg/bus/a_test.go", `import "testing"; import "github.com/google/go-cmp/cmp"`},
				{"pkg/fcttest/a.go", `import "testing"`},
			},
		},
	}
}

// imports are the paths of what the file imports.
func (s source) imports() (paths []string) {
	for _, spec := range s.file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, name)
		}
	}
	return paths
}

// inside says whether name is one of roots or below one.
func inside(name string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return name == root || strings.HasPrefix(name, root+"/")
	})
}

// part is the role or the package that dir belongs to.
func part(dir string) string {
	if !inside(dir, "pkg", "services") {
		return dir
	}
	elements := strings.SplitN(dir, "/", 3)
	return path.Join(elements[:min(2, len(elements))]...)
}

func checkLayers(s source) (findings []string) {
	for _, name := range s.imports() {
		to, ours := strings.CutPrefix(name, module+"/")
		if ours && !mayImport(part(s.dir()), part(to), s.isTest()) {
			findings = append(findings, s.finding(s.file.Name, "must not import %s", to))
		}
	}
	return findings
}

func mayImport(from, to string, test bool) bool {
	switch {
	case from == to:
		return true
	case to == program, from == "pkg/contract" && !test:
		return false
	case to == "pkg/fcttest":
		return test
	case from == program:
		return true
	case to == "streams":
		return inside(from, "services", "pkg/fcttest") || test
	case from == "streams":
		return to == "pkg/contract"
	default:
		return inside(to, "pkg") && (inside(from, "pkg", "services") || from == "test/e2e" && test)
	}
}

// checkVerifier keeps what the verifier compares out of what it compares with.
func checkVerifier(s source) (findings []string) {
	for _, name := range s.imports() {
		if s.dir() == "services/reporter/verify" && inside(name, module+"/services") {
			findings = append(findings, s.finding(s.file.Name, "must not import %s", name))
		}
	}
	return findings
}

// checkContract also allows the mirror of encoding/json/v2, which is in the standard library from Go 1.27 on.
func checkContract(s source) (findings []string) {
	for _, name := range s.imports() {
		first, _, _ := strings.Cut(name, "/")
		if s.dir() == "pkg/contract" && strings.Contains(first, ".") && !inside(name, "github.com/go-json-experiment/json") {
			findings = append(findings, s.finding(s.file.Name, "must not import %s", name))
		}
	}
	return findings
}

func checkPlaces(s source) (findings []string) {
	places := map[string][]string{
		"github.com/nats-io/nats-server/v2": {"pkg/natsd"},
		"github.com/lmittmann/tint":         {program},
		"github.com/spf13":                  {program},
		"os/signal":                         {program, "test/e2e"},
		"github.com/stretchr/testify":       {"nowhere"},
	}
	for _, name := range s.imports() {
		for root, allowed := range places {
			if inside(name, root) && !slices.Contains(allowed, s.dir()) {
				findings = append(findings, s.finding(s.file.Name, "%s belongs in %v", name, allowed))
			}
		}
	}
	return findings
}

func checkTestLibraries(s source) (findings []string) {
	for _, name := range s.imports() {
		if s.dir() != "pkg/fcttest" && inside(name, "testing", "github.com/google/go-cmp", "pgregory.net/rapid",
			"go.uber.org/goleak", "github.com/rogpeppe/go-internal",
			"github.com/santhosh-tekuri/jsonschema") {
			findings = append(findings, s.finding(s.file.Name, "%s is for tests", name))
		}
	}
	return findings
}
