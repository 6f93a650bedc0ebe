// Command typecheck checks the types of the packages of the current folder for systems other than this one:
//
//	typecheck GOOS/GOARCH...
//
// It finds what a build would report, but for errors of the linker, in seconds instead of minutes: it reads
// dependencies without the bodies of their functions and generates no code.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "typecheck: want systems, such as darwin/arm64")
		os.Exit(2)
	}
	failed := false
	for _, system := range os.Args[1:] {
		problems, err := check(system)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, problem := range problems {
			fmt.Fprintf(os.Stderr, "%s: %s\n", system, problem)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// check returns the errors in the packages of the main module for a system. An error in a dependency
// appears where the module uses it.
func check(system string) (problems []string, err error) {
	goos, goarch, found := strings.Cut(system, "/")
	if !found {
		return nil, fmt.Errorf("want GOOS/GOARCH")
	}
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	all, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesSizes | packages.NeedModule,
		Env: append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		ParseFile: func(files *token.FileSet, name string, source []byte) (*ast.File, error) {
			file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, folder) {
				removeBodies(file)
			}
			return file, err
		},
	}, "./...")
	if err != nil {
		return nil, err
	}
	checked := 0
	packages.Visit(all, nil, func(p *packages.Package) {
		if p.Module == nil || !p.Module.Main {
			return
		}
		checked++
		for _, problem := range p.Errors {
			problems = append(problems, problem.Error())
		}
	})
	if checked == 0 {
		return nil, fmt.Errorf("no package of the main module was found")
	}
	return problems, nil
}

func removeBodies(file *ast.File) {
	for _, declaration := range file.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			function.Body = nil
		}
	}
}
