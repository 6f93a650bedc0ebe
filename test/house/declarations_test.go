// These rules say what a file may declare, and what must be said about it.
package house_test

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

func declarationRules() []rule {
	return []rule{
		{
			name: "no init", check: each(checkInit),
			bad:  []sample{{"pkg/bus/a.go", `func init() {}`}},
			good: []sample{{"pkg/bus/a.go", `type a struct{}; func (a) init() {}`}},
		},
		{
			name: "no package variable that can change", check: inProgram(checkVariables),
			bad: []sample{
				{"pkg/bus/a.go", `var count int`},
				{"pkg/bus/a.go", `var known = map[string]int{}`},
				{"pkg/bus/a.go", `import "errors"; var ErrA, size = errors.New("a"), 3`},
				{"pkg/bus/a.go", `import "regexp"; var form, _ = regexp.Compile("a")`},
				{"pkg/bus/a.go", `import "sync"; var once sync.Once`},
				{"pkg/bus/a.go", `var stamped string`},
				{"services/fct-scraper/a.go", `var stamped = map[string]string{}`},
			},
			good: []sample{
				{"pkg/bus/a.go", `import "errors"; var ErrA = errors.New("a")`},
				{"pkg/bus/a.go", `import "regexp"; var form = regexp.MustCompile("a")`},
				{"pkg/bus/a.go", `import "sync"; var forms = sync.OnceValues(makeForms)`},
				{"pkg/bus/a.go", "import \"embed\"\n\n//go:embed *.json\nvar files embed.FS"},
				{"pkg/bus/a.go", `var _ error = broken{}`},
				{"pkg/bus/a.go", `func f() { var count int; _ = count }`},
				{"pkg/bus/a_test.go", `var began = now()`},
				{"services/fct-scraper/a.go", `var stamped string`},
			},
		},
		{
			name: "names that say something", check: each(checkNames),
			bad: []sample{
				{"pkg/util/a.go", ``}, {"pkg/bus/helpers.go", ``}, {"pkg/bus/common_test.go", ``}, {"pkg/bus/lock_manager.go", ``},
			},
			good: []sample{{"pkg/bus/publish.go", ``}, {"pkg/bus/commonwealth.go", ``}},
		},
		{
			name: "exported names are explained", check: inProgram(checkDocs),
			bad: []sample{
				{"pkg/bus/a.go", `func Publish() {}`},
				{"pkg/bus/a.go", `type Bus struct{}`},
				{"pkg/bus/a.go", "// Bus is one.\ntype Bus struct{}\n\nfunc (b *Bus) Publish() {}"},
				{"pkg/bus/a.go", "// Both.\ntype (\n\tA struct{}\n\tB struct{}\n)"},
				{"pkg/bus/a.go", `const Size = 3`},
				{"pkg/bus/a.go", "//go:embed a\nvar Files string"},
			},
			good: []sample{
				{"pkg/bus/a.go", "// Bus is one.\ntype Bus struct{}\n\n// Publish does.\nfunc (b *Bus[T]) Publish() {}"},
				{"pkg/bus/a.go", `type bus struct{}; func (bus) Publish() {}; func publish() {}`},
				{"pkg/bus/a.go", "// Sizes.\nconst (\n\tSmall = 1\n\tLarge = 2\n)"},
				{"pkg/bus/a.go", "const (\n\tSmall = 1 // of one\n)"},
				{"pkg/bus/a_test.go", `func TestA() {}`},
			},
		},
	}
}

func checkInit(s source) (findings []string) {
	for _, decl := range s.file.Decls {
		if f, is := decl.(*ast.FuncDecl); is && f.Recv == nil && f.Name.Name == "init" {
			findings = append(findings, s.finding(f, "init runs unasked"))
		}
	}
	return findings
}

// declared are the groups that the token (var, const, type) begins at the top of the file.
func (s source) declared(what token.Token) (groups []*ast.GenDecl) {
	for _, decl := range s.file.Decls {
		if group, is := decl.(*ast.GenDecl); is && group.Tok == what {
			groups = append(groups, group)
		}
	}
	return groups
}

func checkVariables(s source) (findings []string) {
	for _, group := range s.declared(token.VAR) {
		for _, spec := range group.Specs {
			value, is := spec.(*ast.ValueSpec)
			if is && !embedded(group.Doc) && !embedded(value.Doc) && !fixed(value) && !stamp(s, value) {
				findings = append(findings, s.finding(value, "%s can change", value.Names[0].Name))
			}
		}
	}
	return findings
}

// embedded says that the go command fills the variable.
func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// stamp is the one variable that the linker fills.
func stamp(s source, value *ast.ValueSpec) bool {
	kind, is := value.Type.(*ast.Ident)
	return s.dir() == program && len(value.Names) == 1 && value.Names[0].Name == "stamped" && is && kind.Name == "string"
}

// fixed says that every variable is blank, an error to compare with, a compiled expression, or a function that
// computes its values once.
func fixed(value *ast.ValueSpec) bool {
	for i, name := range value.Names {
		if name.Name == "_" && len(value.Names) == 1 {
			continue
		}
		if i >= len(value.Values) {
			return false
		}
		call, is := value.Values[i].(*ast.CallExpr)
		if !is {
			return false
		}
		maker, is := call.Fun.(*ast.SelectorExpr)
		if !is {
			return false
		}
		from, is := maker.X.(*ast.Ident)
		if !is || !slices.Contains([]string{"errors.New", "regexp.MustCompile", "sync.OnceValues"}, from.Name+"."+maker.Sel.Name) {
			return false
		}
	}
	return true
}

func checkNames(s source) (findings []string) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
	words := strings.Split(strings.TrimSuffix(path.Base(s.path), ".go"), "_")
	for _, word := range append(words, strings.TrimSuffix(s.file.Name.Name, "_test"), path.Base(s.dir())) {
		if slices.Contains(empty, strings.ToLower(word)) {
			findings = append(findings, s.finding(s.file.Name, "%q says nothing", word))
		}
	}
	return findings
}

func checkDocs(s source) (findings []string) {
	for _, decl := range s.file.Decls {
		if f, is := decl.(*ast.FuncDecl); is && f.Name.IsExported() && receiverExported(f) && f.Doc.Text() == "" {
			findings = append(findings, s.finding(f, "%s is not explained", f.Name.Name))
		}
	}
	for _, group := range slices.Concat(s.declared(token.TYPE), s.declared(token.CONST), s.declared(token.VAR)) {
		for _, spec := range group.Specs {
			if name, doc := explained(group, spec); name.IsExported() && doc == "" {
				findings = append(findings, s.finding(spec, "%s is not explained", name.Name))
			}
		}
	}
	return findings
}

// explained is the name that spec declares and what is said about it. A sentence about a whole group of constants
// will do; each type has its own.
func explained(group *ast.GenDecl, spec ast.Spec) (*ast.Ident, string) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if group.Lparen.IsValid() {
			return spec.Name, spec.Doc.Text()
		}
		return spec.Name, group.Doc.Text()
	case *ast.ValueSpec:
		return spec.Names[0], group.Doc.Text() + spec.Doc.Text() + spec.Comment.Text()
	default:
		return &ast.Ident{}, ""
	}
}

// receiverExported says whether people outside can see the method; a function has no receiver to hide it.
func receiverExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	exported := false
	ast.Inspect(f.Recv.List[0].Type, func(node ast.Node) bool {
		name, is := node.(*ast.Ident)
		exported = exported || is && name.IsExported() && len(name.Name) > 1
		return !is
	})
	return exported
}
