package facts

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameWords is the largest number of words of a name, particles included.
const maxNameWords = 6

// nameRules say where a name ends in the text after a title.
type nameRules struct {
	// particles are folded words that a name may contain in lower case, such as "de" and "von".
	particles map[string]bool
	// ends are folded words that never belong to a name, such as "at" and "language".
	ends map[string]bool
}

// clean returns the name at the start of a text as it is written there, "" if there is none. The
// name ends before a word of ends and, unless the whole text is in one case, before a word in lower
// case that is no particle. A text in one case is returned in mixed case.
func (n *nameRules) clean(text string) string {
	words := strings.Fields(text)
	oneCase := inOneCase(words, n)
	var name []string
	for _, word := range words {
		plain := foldWord(word)
		bare := strings.Trim(plain, ".,;:\"'")
		if bare == "" && len(name) == 0 {
			continue
		}
		if len(name) == maxNameWords || bare == "" || n.ends[bare] || !oneCase && !n.particles[bare] &&
			!startsName(word) {
			break
		}
		name = append(name, word)
		if last := strings.TrimRight(word, ".,;:\""); last != word &&
			(utf8.RuneCountInString(last) > 3 || word[len(last)] != '.') {
			break // the end of a sentence, not an initial
		}
	}
	for len(name) > 0 && n.particles[foldWord(name[len(name)-1])] {
		name = name[:len(name)-1]
	}
	if len(name) == 0 {
		return ""
	}
	last := len(name) - 1
	name[last] = trimEnd(name[last])
	if joined := strings.Join(name, ""); oneCase || len(joined) > 3 && strings.ToUpper(joined) == joined {
		for i, word := range name {
			name[i] = n.mixedCase(word)
		}
	}
	return strings.Join(name, " ")
}

func trimEnd(word string) string {
	trimmed := strings.TrimRight(word, ",;:\"'’”»")
	if bare := strings.TrimRight(trimmed, "."); utf8.RuneCountInString(bare) > 2 {
		return bare
	}
	return trimmed
}

// inOneCase reports whether the words before the first end word have no upper-case or no lower-case
// letters.
func inOneCase(words []string, n *nameRules) bool {
	upper, lower := false, false
	for i, word := range words {
		bare := strings.Trim(foldWord(word), ".,;:\"'")
		if n.ends[bare] || i == maxNameWords {
			break
		}
		if strings.IndexFunc(word, unicode.IsLower) >= 0 && !(i == 0 && n.particles[bare]) {
			lower = true
		}
		if strings.IndexFunc(word, unicode.IsUpper) >= 0 && utf8.RuneCountInString(word) > 1 {
			upper = true
		}
	}
	return upper != lower
}

// startsName reports whether a word begins as a name does: in upper case, also after d' or l'.
func startsName(word string) bool {
	word = strings.TrimLeft(word, "\"“«")
	if i := strings.IndexAny(word, "'’"); i == 1 {
		_, size := utf8.DecodeRuneInString(word[i:])
		rest, _ := utf8.DecodeRuneInString(word[i+size:])
		if unicode.IsUpper(rest) {
			return true
		}
	}
	first, _ := utf8.DecodeRuneInString(word)
	return unicode.IsUpper(first)
}

// mixedCase returns a word of one case with capital letters where a name has them.
func (n *nameRules) mixedCase(word string) string {
	lower := strings.ToLower(word)
	if n.particles[foldWord(word)] {
		return lower
	}
	var b strings.Builder
	capital := true
	for i, r := range lower {
		if capital && unicode.IsLetter(r) {
			r = unicode.ToUpper(r)
			capital = false
		} else if r == '-' || r == '\'' || r == '’' || r == '.' || i == 1 && strings.HasPrefix(lower, "mc") &&
			r == 'c' {
			capital = true
		}
		b.WriteRune(r)
	}
	return b.String()
}

func foldWord(word string) string {
	var f folded
	f.fold(word)
	return string(f.text)
}

func newNameRules(particles, ends []string) nameRules {
	set := func(words []string) map[string]bool {
		m := make(map[string]bool, len(words))
		for _, word := range words {
			m[foldWord(word)] = true
		}
		return m
	}
	return nameRules{particles: set(particles), ends: set(ends)}
}
