package htmltree

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/antchfx/htmlquery"
	"github.com/antchfx/xpath"
)

// ErrPath marks every error of an invalid XPath, or of one that cannot be evaluated.
var ErrPath = errors.New("not a usable XPath")

// Path is a compiled XPath that finds nodes or returns a string. It is safe for concurrent use.
type Path struct {
	// Text is the expression as written.
	Text string
	expr *xpath.Expr
	// mu guards an expression that returns a string: the library evaluates those in place.
	mu        sync.Mutex
	makesText bool
}

// sample is a page on which every path is evaluated when it is compiled.
const sample = `<!DOCTYPE html><html lang="en"><body><p><b>A :</b> b</p><table id="t" class="c"><caption>C</caption><thead><tr><th>A</th></tr></thead>` +
	`<tbody><tr><td>1<br>2</td><td><a href="/a?b=1">c</a></td></tr></tbody></table></body></html>`

// CompileNodes compiles an XPath that finds nodes; its error wraps ErrPath.
func CompileNodes(text string) (*Path, error) {
	p, err := Compile(text)
	if err == nil && p.makesText {
		return nil, fmt.Errorf("%w: %.60q: it finds no nodes", ErrPath, text)
	}
	return p, err
}

// Compile compiles an XPath that finds nodes or returns a string; its error wraps ErrPath.
func Compile(text string) (p *Path, err error) {
	p = &Path{Text: text}
	defer p.recoverPanic(&err)
	if p.expr, err = xpath.Compile(text); err != nil {
		return nil, fmt.Errorf("%w: %.60q: %w", ErrPath, text, err)
	}
	root, err := Parse(sample)
	if err != nil {
		return nil, err
	}
	switch p.expr.Evaluate(htmlquery.CreateXPathNavigator(root)).(type) {
	case *xpath.NodeIterator:
		_, err = p.All(root)
	case string:
		p.makesText = true
	default:
		err = fmt.Errorf("%w: %.60q: it finds neither nodes nor a text", ErrPath, text)
	}
	return p, err
}

// All returns the nodes that the path finds from n, in document order. An attribute is returned as
// an element with its name and value. The error wraps ErrPath.
func (p *Path) All(n *Node) (found []*Node, err error) {
	defer p.recoverPanic(&err)
	return htmlquery.QuerySelectorAll(n, p.expr), nil
}

// One returns the only node that the path finds; none and several are errors that wrap ErrPage.
func (p *Path) One(n *Node) (*Node, error) {
	switch found, err := p.All(n); {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("%w: no %s", ErrPage, p.Text)
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %d of %s", ErrPage, len(found), p.Text)
	default:
		return found[0], nil
	}
}

// Value returns the trimmed text of the first node that the path finds, or the trimmed string that
// it returns; empty if it finds nothing. Its error wraps ErrPath.
func (p *Path) Value(n *Node) (string, error) {
	if p.makesText {
		return p.evaluate(n)
	}
	found, err := p.All(n)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return Text(found[0]), nil
}

func (p *Path) evaluate(n *Node) (text string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.recoverPanic(&err)
	text, _ = p.expr.Evaluate(htmlquery.CreateXPathNavigator(n)).(string)
	return strings.TrimSpace(text), nil
}

// recoverPanic turns a panic into an error: the library panics on some expressions only during
// evaluation.
func (p *Path) recoverPanic(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: %.60q: %.100q", ErrPath, p.Text, fmt.Sprint(cause))
	}
}
