package config

import (
	"errors"
	"strings"
)

// ErrConfig is matched by every error about refused settings.
var ErrConfig = errors.New("bad configuration")

// Error holds all problems of the settings. It matches ErrConfig.
type Error struct {
	// Problems are in order: those of the file by line, of the environment, of the call, of the
	// flags, then of combinations. Each is one line with the setting's origin, key and value, and
	// what is allowed.
	Problems []string
}

// Mistake is a mistake in a call that belongs to no setting, such as an unknown flag.
type Mistake struct {
	// Problem is one line, as in Error.
	Problem string
	// Key is the setting that was perhaps meant, which is not checked against others; empty for
	// none.
	Key string
}

// Mistaken is the error of a call that has only mistakes.
func Mistaken(mistakes []Mistake) error {
	e := &Error{}
	for _, m := range mistakes {
		e.Problems = append(e.Problems, m.Problem)
	}
	return e
}

// Error returns the problems, a line each.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Is reports whether target is ErrConfig.
func (e *Error) Is(target error) bool { return target == ErrConfig }
