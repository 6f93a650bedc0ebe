package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// keyLines returns the line of a TOML file on which each top-level name first occurs, which the
// decoder does not report. The file must be valid TOML.
func keyLines(data []byte) map[string]int {
	lines := make(map[string]int)
	text := strings.TrimPrefix(string(data), "\ufeff")
	inTable := false
	for line := 1; text != ""; {
		size := statementLength(text)
		name, found := topName(text[:size])
		isHeader := strings.HasPrefix(strings.TrimSpace(text[:size]), "[")
		if inTable = inTable || isHeader; found && (isHeader || !inTable) && lines[name] == 0 {
			lines[name] = line
		}
		line += strings.Count(text[:size], "\n")
		text = text[size:]
	}
	return lines
}

// topName is the first part of the key or header of a statement.
func topName(statement string) (string, bool) {
	var ignored map[string]any
	meta, err := toml.Decode(statement, &ignored)
	if err != nil || len(meta.Keys()) == 0 {
		return "", false
	}
	return meta.Keys()[0][0], true
}

// statementLength is the length of the first statement of text, its line end included: a line, or
// several if a string or brackets are open at its end.
func statementLength(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"', '\'':
			i += stringLength(text[i:]) - 1
		case '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				return len(text)
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// stringLength is the length of the string at the start of text, quotes included.
func stringLength(text string) int {
	quotes := text[:1]
	if long := strings.Repeat(quotes, 3); strings.HasPrefix(text, long) {
		quotes = long
	}
	i := len(quotes)
	for ; i < len(text) && !strings.HasPrefix(text[i:], quotes); i++ {
		switch {
		case text[i] == '\\' && quotes[0] == '"':
			i++ // what follows is no quote
		case text[i] == '\n' && len(quotes) == 1:
			return i // never closed
		}
	}
	i += len(quotes)
	for range 2 { // a long string may end with quotes of its own
		if len(quotes) == 3 && i < len(text) && text[i] == quotes[0] {
			i++
		}
	}
	return min(i, len(text))
}
