package generator

import (
	"errors"
	"fmt"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// ErrCommand marks every error of a command that starts or stops nothing.
var ErrCommand = errors.New("command refused")

// maxReportedProblems is how many problems of one command are told: somebody may send thousands.
const maxReportedProblems = 10

// ValidationError is what is wrong with a command.
type ValidationError []contract.Problem

func invalid(problems ...contract.Problem) error { return ValidationError(problems) }

// Error names every field with its value and what is allowed.
func (r ValidationError) Error() string {
	var parts []string
	for _, p := range r.reported() {
		text := strings.TrimSpace(p.Field + " " + p.Value)
		if p.Reason != "" {
			text += ": " + p.Reason
		}
		parts = append(parts, text+": allowed is "+p.Allowed)
	}
	if more := len(r) - maxReportedProblems; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return ErrCommand.Error() + ": " + strings.Join(parts, "; ")
}

// Is says that a refusal is ErrCommand.
func (r ValidationError) Is(target error) bool { return target == ErrCommand }

func (r ValidationError) reported() []contract.Problem { return r[:min(maxReportedProblems, len(r))] }

// asWritten is a value of JSON as it was written, so that 25 and "25" are told apart: short, and without control characters.
func asWritten(value []byte) string {
	start := sanitize.Truncate(string(value), 60)
	if start != sanitize.Line(string(value)) {
		start += "..."
	}
	return start
}

// show quotes a value of somebody else's so that it can stand in a message: short, and without control characters.
func quote(value []byte) string { return fmt.Sprintf("%.60q", value) }
