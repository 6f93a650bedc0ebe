package config

import (
	"errors"
	"strings"
)

// ErrConfig marks every error of settings that are refused.
var ErrConfig = errors.New("bad configuration")

// Error is all that is wrong with the settings. It is ErrConfig.
type Error struct {
	// Problems are in order: the file's by line, the environment's, the flags', then those between settings. Each is one
	// line that says where the setting stands, its key, its value and what is allowed.
	Problems []string
}

// Error has one line a problem.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Is says that every Error is ErrConfig.
func (e *Error) Is(target error) bool { return target == ErrConfig }
