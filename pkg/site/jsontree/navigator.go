package jsontree

import "github.com/antchfx/xpath"

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
