// These rules say what a package may call: what is global to a process is the program's own business.
package house_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
)

func useRules() []rule {
	return []rule{
		{
			name: "the process belongs to the program",
			check: inProgram(only([]string{program}, "os", "Exit", "Args", "Environ", "Getenv", "LookupEnv", "ExpandEnv", "Setenv", "Unsetenv",
				"Clearenv", "Chdir", "Stdin", "Stdout", "Stderr")),
			bad: []sample{
				{"pkg/bus/a.go", `import "os"; func f() { os.Exit(1) }`},
				{"pkg/bus/a.go", `import sys "os"; func f() string { return sys.Getenv("HOME") }`},
				{"services/fetcher/a.go", `import "os"; func f() { g(os.Environ) }`},
				{"services/fct-scraper/runtime/a.go", `import "os"; func f() { os.Exit(1) }`},
			},
			good: []sample{
				{"services/fct-scraper/a.go", `import "os"; func f() { os.Exit(1) }`},
				{"pkg/bus/a_test.go", `import "os"; func f() { os.Getenv("UPDATE") }`},
				{"pkg/bus/a.go", `import "os"; func f() { os.Remove("a") }`},
				{"pkg/bus/a.go", `func f(os exits) { os.Exit() }`},
			},
		},
		{
			name:  "courts are asked by pkg/site",
			check: inProgram(only([]string{"pkg/site", "pkg/health"}, "net/http", clientNames()...)),
			bad: []sample{
				{"services/fetcher/a.go", `import "net/http"; func f() { http.Get("http://court.test") }`},
				{"pkg/courtsim/a.go", `import "net/http"; type c struct { http.Client }`},
			},
			good: []sample{
				{"pkg/site/a.go", `import "net/http"; type c struct { http.Client }`},
				{"services/classifier/a.go", `import "net/http"; const ok = http.StatusOK`},
			},
		},
		{
			name:  "requests are served by the simulator and the program",
			check: inProgram(only([]string{"pkg/courtsim", "pkg/health", program + "/runtime", program + "/dashboard"}, "net/http", serverNames()...)),
			bad: []sample{
				{"services/reporter/a.go", `import "net/http"; func f() error { return http.ListenAndServe(":80", nil) }`},
				{"pkg/site/a.go", `import "net/http"; func f(w http.ResponseWriter) {}`},
			},
			good: []sample{{"pkg/courtsim/a.go", `import "net/http"; func f(w http.ResponseWriter) {}`}},
		},
		{
			name: "loggers are passed in", check: inProgram(checkLoggers),
			bad: []sample{
				{"pkg/bus/a.go", `import "log/slog"; func f() { slog.Info("bus.began") }`},
				{"services/fct-scraper/a.go", `import "log/slog"; func f() { slog.SetDefault(nil) }`},
				{"services/fct-scraper/a.go", `import "log"; func f() { log.Fatal("no") }`},
				{"pkg/bus/a.go", `import "log"; func f() { log.SetOutput(nil) }`},
			},
			good: []sample{
				{"pkg/bus/a.go", `import "log/slog"; func f(log *slog.Logger) { log.Info("bus.began", slog.Int("n", 1)) }`},
				{"services/fct-scraper/a.go", `import "log"; func f() { log.SetOutput(nil) }`},
				{"pkg/courtsim/a.go", `import "log"; import "io"; func f() *log.Logger { return log.New(io.Discard, "", 0) }`},
			},
		},
	}
}

func clientNames() []string {
	return []string{
		"Client", "DefaultClient", "DefaultTransport", "Get", "Head", "NewRequest", "NewRequestWithContext", "Post", "PostForm",
		"RoundTripper", "Transport",
	}
}

func serverNames() []string {
	return []string{
		"DefaultServeMux", "Handle", "HandleFunc", "Handler", "HandlerFunc", "ListenAndServe", "ListenAndServeTLS", "NewServeMux",
		"ResponseWriter", "Serve", "ServeMux", "ServeTLS", "Server",
	}
}

// only lets nobody but the packages in places use the names of what is imported.
func only(places []string, imported string, names ...string) func(source) []string {
	return func(s source) (findings []string) {
		if slices.Contains(places, s.dir()) {
			return nil
		}
		for _, use := range s.uses(imported) {
			if slices.Contains(names, use.Sel.Name) {
				findings = append(findings, s.finding(use, "%s.%s is for %v", imported, use.Sel.Name, places))
			}
		}
		return findings
	}
}

func checkLoggers(s source) []string {
	global := []string{"Default", "SetDefault", "SetLogLoggerLevel", "With", "Log", "LogAttrs"}
	for _, level := range []string{"Debug", "Info", "Warn", "Error"} {
		global = append(global, level, level+"Context")
	}
	old := []string{"Default"}
	for _, ending := range []string{"Print", "Fatal", "Panic"} {
		old = append(old, ending, ending+"f", ending+"ln")
	}
	return slices.Concat(only(nil, "log/slog", global...)(s), only(nil, "log", old...)(s),
		only([]string{program}, "log", "SetFlags", "SetOutput", "SetPrefix", "Writer")(s))
}

// uses finds every imported.Name in the file, whatever name it was imported by.
func (s source) uses(imported string) (found []*ast.SelectorExpr) {
	local := ""
	for i, name := range s.imports() {
		switch spec := s.file.Imports[i]; {
		case name != imported:
		case spec.Name != nil:
			local = spec.Name.Name
		default:
			local = path.Base(regexp.MustCompile(`/v\d+$`).ReplaceAllString(name, ""))
		}
	}
	ast.Inspect(s.file, func(node ast.Node) bool {
		if use, is := node.(*ast.SelectorExpr); is && local != "" {
			if name, is := use.X.(*ast.Ident); is && name.Name == local && name.Obj == nil {
				found = append(found, use)
			}
		}
		return true
	})
	return found
}
