package courtsim

import (
	"net/http"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// faultKind is one way to misbehave. Of serve, spoil and rows at most one is there; with none of them the court itself
// answers wrongly (see exchange).
type faultKind struct {
	name, about string
	// block says that the answer tells the client to go away.
	block bool
	// serve carries out the exchange; right is the right answer.
	serve func(w http.ResponseWriter, r *http.Request, right reply)
	// changeBody makes another answer of the right one.
	changeBody func(right reply) reply
	// changeRows changes what the calls say about a case; page does the same to the HTML face, which without it answers rightly.
	changeRows func(c *Simulator, id contract.CaseID, rows *jsonRows)
	changePage func(c *Simulator, id contract.CaseID, v *view)
}

// Kinds that the court itself knows.
const (
	kindWrong     = "wrong"
	kindSoftBlock = "softblock"
)

// allKinds are all kinds of faults, in the order in which the help tells them.
func allKinds() []faultKind {
	return slices.Concat(statusKinds(), blockKinds(), wireKinds(), sizeKinds(), redirectKinds(), bodyKinds(), charsetKinds(), []faultKind{
		{name: kindWrong, about: "the well-formed answer of another case: the next that exists"},
		{name: kindSoftBlock, about: "the well-formed answer of a case that does not exist"},
	}, rowKinds(), fieldKinds())
}

// FaultKinds are the names of all kinds of faults; FaultHelp says what they do.
func FaultKinds() []string { return kindNames(func(faultKind) bool { return true }) }

// BlockKinds are the names of those whose answer tells the client to go away.
func BlockKinds() []string { return kindNames(func(k faultKind) bool { return k.block }) }

func kindNames(wanted func(faultKind) bool) (names []string) {
	for _, kind := range allKinds() {
		if wanted(kind) {
			names = append(names, kind.name)
		}
	}
	return names
}

// FaultHelp says what each kind of fault does, one a line.
func FaultHelp() string {
	var b strings.Builder
	for _, kind := range allKinds() {
		b.WriteString("  " + kind.name + strings.Repeat(" ", max(1, 17-len(kind.name))) + kind.about)
		if kind.block {
			b.WriteString(" (a block)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// kindsByName is allKinds to look up in.
func kindsByName() map[string]*faultKind {
	known := make(map[string]*faultKind)
	for _, kind := range allKinds() {
		known[kind.name] = &kind
	}
	return known
}

// send sends what a fault makes of the right answer.
func (k *faultKind) send(w http.ResponseWriter, r *http.Request, right reply) {
	switch {
	case k.serve != nil:
		k.serve(w, r, right)
	case k.changeBody != nil:
		k.changeBody(right).send(w)
	default: // it is wrong already
		right.send(w)
	}
}
