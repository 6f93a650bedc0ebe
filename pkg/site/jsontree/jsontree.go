// Package jsontree parses JSON into a tree for XPath. It is stricter than encoding/json: it does
// not repair invalid UTF-8 and rejects duplicate member names. Only control characters in strings
// are tolerated. Numbers are kept as written. It takes a fifth of the time that building a tree
// from encoding/json's maps takes, which matters because every response is parsed.
package jsontree

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/antchfx/xpath"
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds of JSON values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Node is one JSON value with its place in the tree. It does not change after Parse.
type Node struct {
	Kind Kind
	// Name is the name of a member; empty for the root and for list elements.
	Name string
	// Text is a string's text, a number as written, "true" or "false"; empty for other kinds.
	Text string
	// Parent is nil for the root.
	Parent *Node
	// First is the first member or element, Next the next sibling; nil if there is none.
	First, Next *Node
}

// Member returns the member with that name. It returns nil if n is nil, not an object, or has no
// such member.
func (n *Node) Member(name string) *Node {
	if n == nil || n.Kind != Object {
		return nil
	}
	for child := n.First; child != nil; child = child.Next {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// Children returns the members or elements in document order.
func (n *Node) Children() []*Node {
	var children []*Node
	for child := n.First; child != nil; child = child.Next {
		children = append(children, child)
	}
	return children
}

func (n *Node) root() *Node {
	for n.Parent != nil {
		n = n.Parent
	}
	return n
}

// ErrSyntax marks every error of a text that is not one JSON value.
var ErrSyntax = errors.New("invalid JSON")

// Limits of a text. The site's responses are 4 levels deep; one of 16 MiB has half a million
// values.
const (
	maxDepth  = 200
	maxValues = 1 << 20
)

// Parse parses exactly one JSON value (RFC 8259). Strings may contain raw control characters, which
// some servers fail to escape. Duplicate member names, invalid UTF-8, more than 200 levels and more
// than 1,048,576 values are errors. Every error wraps ErrSyntax. The tree keeps a reference to
// text.
func Parse(text string) (*Node, error) { return new(Parser).Parse(text) }

// Parser parses one text after the other and reuses the memory of its nodes. The zero value is
// ready to use. It is not safe for concurrent use.
type Parser struct {
	text string
	pos  int
	// lots are the nodes, in the order in which they are used: those of the first lots, up to
	// unused, which is the end of the last of them.
	lots   [][]Node
	inUse  int
	unused []Node
	// taken counts the nodes of the lots in use.
	taken int
}

// Parse is the function Parse. The tree is valid until the next Parse or Reset; the texts in it stay
// valid.
func (p *Parser) Parse(text string) (*Node, error) {
	p.Reset()
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	p.text = text
	root, err := p.node()
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if err := p.value(root, nil, 0); err != nil {
		return nil, err
	}
	if p.skipSpace(); p.pos < len(p.text) {
		return nil, p.syntaxError("unexpected data after the value")
	}
	return root, nil
}

// maxKeptNodes limits the nodes that a parser keeps for the next text: 1 MiB, enough for most texts
// of half a megabyte.
const maxKeptNodes = 1 << 14

// Reset empties the tree of the last Parse, so that nothing refers to its text any more.
func (p *Parser) Reset() {
	kept, nodes := 0, 0
	for i, lot := range p.lots {
		if nodes += len(lot); nodes > maxKeptNodes {
			break
		}
		if kept++; i < p.inUse {
			clear(lot)
		}
	}
	clear(p.lots[kept:])
	*p = Parser{lots: p.lots[:kept]}
}

func (p *Parser) syntaxError(what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrSyntax, p.pos, what)
}

// node returns an unused node. Nodes are allocated in lots, because single allocations would take
// most of the parsing time.
func (p *Parser) node() (*Node, error) {
	if len(p.unused) == 0 {
		left := maxValues - p.taken
		if left == 0 {
			return nil, p.syntaxError("too many values")
		}
		if p.inUse == len(p.lots) {
			p.lots = append(p.lots, make([]Node, min(max(8, len(p.text)/32), 1024)))
		}
		lot := p.lots[p.inUse]
		p.unused = lot[:min(len(lot), left)]
		p.inUse++
		p.taken += len(p.unused)
	}
	n := &p.unused[0]
	p.unused = p.unused[1:]
	return n, nil
}

func (p *Parser) skipSpace() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// skipToken skips c and the white space around it, and reports whether c was there.
func (p *Parser) skipToken(c byte) bool {
	p.skipSpace()
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	p.skipSpace()
	return true
}

// value parses a value into n; previous is the element before it in a list, or nil.
func (p *Parser) value(n, previous *Node, depth int) error {
	if p.pos == len(p.text) {
		return p.syntaxError("unexpected end")
	}
	if depth > maxDepth {
		return p.syntaxError("too deep")
	}
	switch p.text[p.pos] {
	case '{':
		return p.members(n, previous, depth)
	case '[':
		return p.elements(n, depth)
	case '"':
		text, err := p.string()
		n.Kind, n.Text = String, text
		return err
	case 't':
		return p.literal(n, Bool, "true")
	case 'f':
		return p.literal(n, Bool, "false")
	case 'n':
		return p.literal(n, Null, "null")
	default:
		return p.number(n)
	}
}

func (p *Parser) literal(n *Node, kind Kind, word string) error {
	if len(p.text)-p.pos < len(word) || p.text[p.pos:p.pos+len(word)] != word {
		return p.syntaxError("invalid value")
	}
	p.pos += len(word)
	if n.Kind = kind; kind == Bool {
		n.Text = word
	}
	return nil
}

// elements parses the rest of a list, up to its end.
func (p *Parser) elements(n *Node, depth int) error {
	n.Kind = Array
	p.pos++
	if p.skipToken(']') {
		return nil
	}
	for last := (*Node)(nil); ; {
		child, err := p.child(n, last)
		if err != nil {
			return err
		}
		if err := p.value(child, last, depth+1); err != nil {
			return err
		}
		if last = child; p.skipToken(']') {
			return nil
		}
		if !p.skipToken(',') {
			return p.syntaxError("expected a comma or the end of the list")
		}
	}
}

// members parses the rest of an object, up to its end.
func (p *Parser) members(n, previous *Node, depth int) error {
	n.Kind = Object
	p.pos++
	if p.skipToken('}') {
		return nil
	}
	names := nameSet{object: n}
	if previous != nil && previous.Kind == Object {
		names.model = previous.First
	}
	for last := (*Node)(nil); ; {
		name, err := p.memberName(&names)
		if err != nil {
			return err
		}
		child, err := p.child(n, last)
		if err != nil {
			return err
		}
		child.Name = name
		if err := p.value(child, nil, depth+1); err != nil {
			return err
		}
		if last = child; p.skipToken('}') {
			return nil
		}
		if !p.skipToken(',') {
			return p.syntaxError("expected a comma or the end of the object")
		}
	}
}

// memberName parses the name of a member and the colon after it.
func (p *Parser) memberName(names *nameSet) (string, error) {
	if p.pos == len(p.text) || p.text[p.pos] != '"' {
		return "", p.syntaxError("expected a member name")
	}
	name, err := p.string()
	switch {
	case err != nil:
		return "", err
	case !names.add(name):
		return "", p.syntaxError("duplicate member name")
	case !p.skipToken(':'):
		return "", p.syntaxError("expected a colon")
	}
	return name, nil
}

// child adds the node after last, which is nil for the first child.
func (p *Parser) child(parent, last *Node) (*Node, error) {
	child, err := p.node()
	if err != nil {
		return nil, err
	}
	if child.Parent = parent; last == nil {
		parent.First = child
	} else {
		last.Next = child
	}
	return child, nil
}

// nameSet holds the member names of an object so far. It searches the members while they are few,
// and uses a map for many.
type nameSet struct {
	object *Node
	// model is the member of the previous object in the list that the next member is compared with,
	// as long as all members before it had the names of that object's members, in its order. Such a
	// name is new, because names of an object differ. The rows of a table mostly have the same names.
	model *Node
	count int
	set   map[string]bool
}

const linearLimit = 32

// add reports whether the name is new to the object.
func (s *nameSet) add(name string) bool {
	s.count++
	if s.model != nil && s.model.Name == name {
		s.model = s.model.Next
		return true
	}
	s.model = nil
	if s.count <= linearLimit {
		return s.object.Member(name) == nil
	}
	if s.set == nil {
		s.set = make(map[string]bool)
		for child := s.object.First; child != nil; child = child.Next {
			s.set[child.Name] = true
		}
	}
	if s.set[name] {
		return false
	}
	s.set[name] = true
	return true
}

// string parses a string. Raw control characters, including line ends, are kept. A string without
// escapes, the usual case, is a substring of the text.
func (p *Parser) string() (string, error) {
	p.pos++
	from := p.pos
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case '"':
			p.pos++
			return p.text[from : p.pos-1], nil
		case '\\':
			return p.unescape(from)
		default:
			p.pos++
		}
	}
	return "", p.syntaxError("unterminated string")
}

// unescape parses a string with escapes that starts at from; there are no escapes before p.pos.
func (p *Parser) unescape(from int) (string, error) {
	var b strings.Builder
	for plain := from; p.pos < len(p.text); {
		switch p.text[p.pos] {
		case '"':
			b.WriteString(p.text[plain:p.pos])
			p.pos++
			return b.String(), nil
		case '\\':
			b.WriteString(p.text[plain:p.pos])
			r, ok := p.escape()
			if !ok {
				return "", p.syntaxError("invalid escape")
			}
			b.WriteRune(r)
			plain = p.pos
		default:
			p.pos++
		}
	}
	return "", p.syntaxError("unterminated string")
}

// escape parses one escape. Half a surrogate pair gives the replacement character, as in
// encoding/json.
func (p *Parser) escape() (rune, bool) {
	if len(p.text)-p.pos < 2 {
		return 0, false
	}
	if c := p.text[p.pos+1]; c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		p.pos += 2
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := p.codeUnit()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	before := p.pos
	if second, ok := p.codeUnit(); ok {
		if whole := utf16.DecodeRune(r, second); whole != utf8.RuneError {
			return whole, true
		}
	}
	p.pos = before
	return utf8.RuneError, true
}

// codeUnit parses \uXXXX.
func (p *Parser) codeUnit() (rune, bool) {
	const size = len(`\u0000`)
	if len(p.text)-p.pos < size || p.text[p.pos:p.pos+2] != `\u` {
		return 0, false
	}
	digits := p.text[p.pos+2 : p.pos+size]
	if strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	// Four hexadecimal digits are always a number.
	value, _ := strconv.ParseUint(digits, 16, 16)
	p.pos += size
	return rune(value), true
}

// number parses a number and keeps it as written.
func (p *Parser) number(n *Node) error {
	from := p.pos
	p.skipByte('-')
	if !p.skipByte('0') && !p.skipDigits() {
		return p.syntaxError("invalid value")
	}
	if p.skipByte('.') && !p.skipDigits() {
		return p.syntaxError("no digits after the decimal point")
	}
	if p.skipByte('e') || p.skipByte('E') {
		if !p.skipByte('+') {
			p.skipByte('-')
		}
		if !p.skipDigits() {
			return p.syntaxError("no digits in the exponent")
		}
	}
	n.Kind, n.Text = Number, p.text[from:p.pos]
	return nil
}

func (p *Parser) skipByte(c byte) bool {
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

// skipDigits skips digits and reports whether there were any.
func (p *Parser) skipDigits() bool {
	from := p.pos
	for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > from
}

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
