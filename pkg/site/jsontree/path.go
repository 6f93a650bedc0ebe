package jsontree

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/antchfx/xpath"
)

// ErrPath marks every error of an invalid XPath, or of one that cannot be evaluated.
var ErrPath = errors.New("not a usable XPath")

// Path is a compiled XPath that finds nodes. It is safe for concurrent use.
type Path struct {
	// Text is the expression as written.
	Text string
	// Holder is the path without a final "/*": it finds the parent of the nodes. It is nil for
	// other expressions.
	Holder *Path
	// steps are the names of a path that consists of names only; the last may be "*". Such a path
	// is followed without the XPath library, which takes ten times as long.
	steps    []string
	absolute bool
	expr     *xpath.Expr
}

// namesOnly matches most paths of a site profile: COURT_NO, /Count, /data/*, Party/*.
var namesOnly = regexp.MustCompile(`^/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*(/\*)?$`)

// sample is a document on which every path is evaluated when it is compiled.
const sample = `{"Count":1,"data":[{"COURT_NO":"T-1-25","Party":["A",null],"RE_NO":1}]}`

// Compile compiles an XPath that finds nodes; its error wraps ErrPath.
func Compile(text string) (*Path, error) {
	expr, err := xpath.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %.60q: %w", ErrPath, text, err)
	}
	p := &Path{Text: text, expr: expr}
	if namesOnly.MatchString(text) {
		p.absolute = text[0] == '/'
		p.steps = strings.Split(strings.TrimPrefix(text, "/"), "/")
	}
	root, err := Parse(sample)
	if err != nil {
		return nil, err
	}
	if err := p.checkNodes(root); err != nil {
		return nil, err
	}
	if holder, found := strings.CutSuffix(text, "/*"); found && holder != "" {
		if p.Holder, err = Compile(holder); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// All returns the nodes that the path finds from n, in document order. Its error wraps ErrPath.
func (p *Path) All(n *Node) ([]*Node, error) {
	if p.steps == nil {
		return p.evaluate(n)
	}
	last := len(p.steps) - 1
	if p.steps[last] != "*" {
		if found := p.follow(n, p.steps); found != nil {
			return []*Node{found}, nil
		}
		return nil, nil
	}
	if holder := p.follow(n, p.steps[:last]); holder != nil {
		return holder.Children(), nil
	}
	return nil, nil
}

// First returns the first node that the path finds from n, or nil. Its error wraps ErrPath.
func (p *Path) First(n *Node) (*Node, error) {
	if p.steps != nil && p.steps[len(p.steps)-1] != "*" {
		return p.follow(n, p.steps), nil
	}
	all, err := p.All(n)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// Member returns the name if the path is a single relative name.
func (p *Path) Member() (string, bool) {
	if len(p.steps) != 1 || p.absolute {
		return "", false
	}
	return p.steps[0], true
}

func (p *Path) follow(n *Node, steps []string) *Node {
	if p.absolute {
		n = n.root()
	}
	for _, step := range steps {
		n = n.Member(step)
	}
	return n
}

// checkNodes evaluates the path on a document and rejects results that are not nodes, such as a
// count or a string.
func (p *Path) checkNodes(root *Node) (err error) {
	defer p.recoverPanic(&err)
	if _, nodes := p.expr.Evaluate(&navigator{node: root, root: root}).(*xpath.NodeIterator); !nodes {
		return fmt.Errorf("%w: %.60q: it finds no nodes", ErrPath, p.Text)
	}
	_, err = p.evaluate(root)
	return err
}

// evaluate finds the nodes with the XPath library.
func (p *Path) evaluate(n *Node) (found []*Node, err error) {
	defer p.recoverPanic(&err)
	walk := p.expr.Select(&navigator{node: n, root: n.root()})
	for walk.MoveNext() {
		if at, ok := walk.Current().(*navigator); ok {
			found = append(found, at.node)
		}
	}
	return found, nil
}

// recoverPanic turns a panic into an error: the library panics on some expressions only during
// evaluation.
func (p *Path) recoverPanic(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: %.60q: %.100q", ErrPath, p.Text, fmt.Sprint(cause))
	}
}

// navigator presents a tree to the XPath library: members and list elements are elements, the root
// is the document.
type navigator struct{ node, root *Node }

var _ xpath.NodeNavigator = (*navigator)(nil)

// NodeType implements xpath.NodeNavigator.
func (v *navigator) NodeType() xpath.NodeType {
	if v.node.Parent == nil {
		return xpath.RootNode
	}
	return xpath.ElementNode
}

// LocalName returns the member's name.
func (v *navigator) LocalName() string { return v.node.Name }

// Prefix is empty: JSON has no namespaces.
func (v *navigator) Prefix() string { return "" }

// Value returns the text of a scalar; lists and objects have none.
func (v *navigator) Value() string { return v.node.Text }

// Copy returns an independent navigator at the same node.
func (v *navigator) Copy() xpath.NodeNavigator {
	other := *v
	return &other
}

// MoveToRoot moves to the root.
func (v *navigator) MoveToRoot() { v.node = v.root }

// MoveToParent moves to the parent, if there is one.
func (v *navigator) MoveToParent() bool { return v.moveTo(v.node.Parent) }

// MoveToNextAttribute returns false: JSON has no attributes.
func (v *navigator) MoveToNextAttribute() bool { return false }

// MoveToChild moves to the first member or element.
func (v *navigator) MoveToChild() bool { return v.moveTo(v.node.First) }

// MoveToFirst moves to the first sibling.
func (v *navigator) MoveToFirst() bool {
	if v.node.Parent != nil {
		v.node = v.node.Parent.First
	}
	return true
}

// MoveToNext moves to the next sibling.
func (v *navigator) MoveToNext() bool { return v.moveTo(v.node.Next) }

// MoveToPrevious moves to the previous sibling.
func (v *navigator) MoveToPrevious() bool {
	if v.node.Parent == nil {
		return false
	}
	for child := v.node.Parent.First; child != nil; child = child.Next {
		if child.Next == v.node {
			return v.moveTo(child)
		}
	}
	return false
}

// MoveTo moves to the node of another navigator of the same tree.
func (v *navigator) MoveTo(other xpath.NodeNavigator) bool {
	o, ok := other.(*navigator)
	return ok && o.root == v.root && v.moveTo(o.node)
}

func (v *navigator) moveTo(n *Node) bool {
	if n == nil {
		return false
	}
	v.node = n
	return true
}
