package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var errHome = errors.New("want HOME set to the home folder, or a path without ~")

// expandHome replaces ~ at the start of a path, alone or before a separator, by the home folder.
func expandHome(path, home string) (string, error) {
	rest, found := strings.CutPrefix(path, "~")
	switch {
	case !found, rest != "" && !os.IsPathSeparator(rest[0]):
		return path, nil
	case home == "":
		return "", errHome
	}
	return filepath.Join(home, rest), nil
}

// ExpandHome replaces ~ at the start of a path, alone or before a separator, by the home folder of
// the environment. It fails if there is none.
func ExpandHome(path string, environ []string) (string, error) {
	full, err := expandHome(path, homeOf(environ))
	if err != nil {
		return "", fmt.Errorf("%.80q: %w", path, err)
	}
	return full, nil
}

// homeOf is the home folder of the environment, by the variables of Unix and Windows; empty if
// none.
func homeOf(environ []string) string {
	values := variables(environ)
	return cmp.Or(values["HOME"], values["USERPROFILE"])
}
