package config

import (
	"strings"
)

// keyLines finds on which line of a TOML file each key of its top level stands; the decoder does not tell. What lies
// inside strings of several lines is passed over.
func keyLines(data []byte) map[string]int {
	lines := make(map[string]int)
	open := "" // the quotes that end the string that is open
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if open != "" {
			if _, rest, closed := strings.Cut(line, open); closed {
				open = opened(rest)
			}
			continue
		}
		name, value := keyOf(line)
		if name == "" {
			continue
		}
		if lines[name] == 0 {
			lines[name] = n
		}
		open = opened(value)
	}
	return lines
}

// keyOf splits `name = value`, `"name" = value` or `[name]`; empty when the line is none of them.
func keyOf(line string) (name, value string) {
	line = strings.TrimSpace(line)
	if table, isTable := strings.CutPrefix(line, "["); isTable {
		table, _, _ = strings.Cut(strings.TrimPrefix(table, "["), "]")
		table, _, _ = strings.Cut(table, ".")
		return unquoted(table), ""
	}
	name, value, found := strings.Cut(line, "=")
	if !found || strings.HasPrefix(name, "#") {
		return "", ""
	}
	name, _, _ = strings.Cut(name, ".")
	return unquoted(name), value
}

func unquoted(name string) string { return strings.Trim(strings.TrimSpace(name), `"'`) }

// opened is the quotes that end a string of several lines which is still open at the end of text.
func opened(text string) string {
	for _, quotes := range []string{`"""`, `'''`} {
		if strings.Count(text, quotes)%2 == 1 {
			return quotes
		}
	}
	return ""
}
