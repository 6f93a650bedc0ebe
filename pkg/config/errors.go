package config

import (
	"errors"
	"strings"
)

// ErrConfig marks every error of settings that are refused.
var ErrConfig = errors.New("bad configuration")

// Error is all that is wrong with the settings. It is ErrConfig.
type Error struct {
	// Problems are in order: the file's by line, the environment's, those of the call, the flags', then those between settings. Each is
	// one line that says where the setting stands, its key, its value and what is allowed.
	Problems []string
}

// Mistake is something wrong with a call that no setting holds, such as a flag that is not known.
type Mistake struct {
	// Problem is one line, as in Error.
	Problem string
	// Key is the setting that was meant, perhaps; it is not compared with others. Empty for none.
	Key string
}

// Mistaken is the error of a call that has mistakes alone.
func Mistaken(mistakes []Mistake) error {
	e := &Error{}
	for _, m := range mistakes {
		e.Problems = append(e.Problems, m.Problem)
	}
	return e
}

// Error has one line a problem.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Is says that every Error is ErrConfig.
func (e *Error) Is(target error) bool { return target == ErrConfig }
