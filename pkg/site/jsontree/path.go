package jsontree

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/antchfx/xpath"
)

// ErrPath marks every error of an expression that is no XPath, or that cannot be worked out.
var ErrPath = errors.New("not a usable XPath")

// Path is an XPath that finds nodes, compiled. It is used by many goroutines.
type Path struct {
	// Text is the expression as it was written.
	Text string
	// Holder is the path to what the found nodes are elements of, for an expression that ends in "/*"; else nil.
	Holder *Path
	// steps are the names of a path of nothing but names; the last may be "*". Those are walked without the machinery,
	// which takes ten times as long.
	steps    []string
	absolute bool
	expr     *xpath.Expr
}

// namesOnly is what most paths of a site profile are: COURT_NO, /Count, /data/*, Party/*.
var namesOnly = regexp.MustCompile(`^/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*(/\*)?$`)

// sample is a document on which every path is tried when it is compiled.
const sample = `{"Count":1,"data":[{"COURT_NO":"T-1-25","Party":["A",null],"RE_NO":1}]}`

// Compile reads an XPath that finds nodes; its error wraps ErrPath.
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

// All are the nodes that the path finds from n on, in the order of the text. Its error wraps ErrPath.
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

// First is the first node that the path finds from n on; nil when there is none. Its error wraps ErrPath.
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

// Member is the name when the path is a bare one.
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

// checkNodes works the path out on a document and refuses what gives no nodes, such as a count or a text.
func (p *Path) checkNodes(root *Node) (err error) {
	defer p.recoverPanic(&err)
	if _, nodes := p.expr.Evaluate(&navigator{node: root, root: root}).(*xpath.NodeIterator); !nodes {
		return fmt.Errorf("%w: %.60q: it finds no nodes", ErrPath, p.Text)
	}
	_, err = p.evaluate(root)
	return err
}

// evaluate works the path out by the XPath machinery.
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

// recoverPanic makes an error of a panic: the machinery panics over some expressions only when it works on a document.
func (p *Path) recoverPanic(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: %.60q: %.100q", ErrPath, p.Text, fmt.Sprint(cause))
	}
}

// navigator walks a tree for the XPath machinery: members and elements are XPath's elements, the root is its document.
type navigator struct{ node, root *Node }

var _ xpath.NodeNavigator = (*navigator)(nil)

// NodeType says what the node is to XPath.
func (v *navigator) NodeType() xpath.NodeType {
	if v.node.Parent == nil {
		return xpath.RootNode
	}
	return xpath.ElementNode
}

// LocalName is the member's name.
func (v *navigator) LocalName() string { return v.node.Name }

// Prefix is empty: JSON has no namespaces.
func (v *navigator) Prefix() string { return "" }

// Value is a scalar's text; lists and objects have none.
func (v *navigator) Value() string { return v.node.Text }

// Copy is a navigator of its own at the same place.
func (v *navigator) Copy() xpath.NodeNavigator {
	other := *v
	return &other
}

// MoveToRoot goes to where the walk began.
func (v *navigator) MoveToRoot() { v.node = v.root }

// MoveToParent goes up, if there is an up.
func (v *navigator) MoveToParent() bool { return v.moveTo(v.node.Parent) }

// MoveToNextAttribute finds none: JSON has no attributes.
func (v *navigator) MoveToNextAttribute() bool { return false }

// MoveToChild goes to the first member or element.
func (v *navigator) MoveToChild() bool { return v.moveTo(v.node.First) }

// MoveToFirst goes to the first sibling.
func (v *navigator) MoveToFirst() bool {
	if v.node.Parent != nil {
		v.node = v.node.Parent.First
	}
	return true
}

// MoveToNext goes to the sibling after this.
func (v *navigator) MoveToNext() bool { return v.moveTo(v.node.Next) }

// MoveToPrevious goes to the sibling before this.
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

// MoveTo goes where another navigator of the same walk is.
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
