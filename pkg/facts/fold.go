package facts

import (
	"unicode"
	"unicode/utf8"
)

// folded is a text in the form that expressions are written for: lower case, without accents, in
// ASCII, each run of white space one space. It keeps where each byte came from.
type folded struct {
	text []byte
	// origin has, for each byte of text, the offset in the original; nil if the offsets are equal.
	origin   []int32
	original string
}

// fold sets f to the folded form of original. It reuses the memory of f.
func (f *folded) fold(original string) {
	f.text, f.origin, f.original = f.text[:0], f.origin[:0], original
	space := true // no space at the start
	for at := 0; at < len(original); {
		r, size := rune(original[at]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(original[at:])
		}
		start := at
		at += size
		if r < utf8.RuneSelf {
			switch {
			case 'A' <= r && r <= 'Z':
				r += 'a' - 'A'
			case r <= ' ' || r == 0x7f:
				if !space {
					f.add(' ', start)
				}
				space = true
				continue
			}
			f.add(byte(r), start)
			space = false
			continue
		}
		replaced := foldRune(r)
		for i := range len(replaced) {
			if replaced[i] != ' ' || !space {
				f.add(replaced[i], start)
			}
			space = replaced[i] == ' '
		}
	}
}

func (f *folded) add(b byte, from int) {
	f.text = append(f.text, b)
	f.origin = append(f.origin, int32(from))
}

// slice returns the part of the original that text[start:end] came from.
func (f *folded) slice(start, end int) string {
	if start >= end || end > len(f.text) {
		return ""
	}
	last := len(f.original)
	if end < len(f.origin) {
		last = int(f.origin[end])
	}
	return f.original[f.origin[start]:last]
}

// foldRune returns the ASCII form of a rune: a letter without its accent, nothing for a combining
// mark, a space for what has no ASCII form.
func foldRune(r rune) string {
	switch unicode.ToLower(r) {
	case 'à', 'á', 'â', 'ã', 'ä', 'å', 'ā', 'ă', 'ą':
		return "a"
	case 'ç', 'ć', 'č':
		return "c"
	case 'è', 'é', 'ê', 'ë', 'ē', 'ė', 'ę', 'ě':
		return "e"
	case 'ì', 'í', 'î', 'ï', 'ī', 'į':
		return "i"
	case 'ñ', 'ń', 'ň':
		return "n"
	case 'ò', 'ó', 'ô', 'õ', 'ö', 'ø', 'ō', 'ő', '°', 'º':
		return "o"
	case 'ù', 'ú', 'û', 'ü', 'ū', 'ů', 'ű':
		return "u"
	case 'ý', 'ÿ':
		return "y"
	case 'š', 'ś', 'ş':
		return "s"
	case 'ž', 'ź', 'ż':
		return "z"
	case 'ł':
		return "l"
	case 'ř':
		return "r"
	case 'ť', 'ţ':
		return "t"
	case 'ď', 'đ':
		return "d"
	case 'ğ':
		return "g"
	case 'œ':
		return "oe"
	case 'æ':
		return "ae"
	case 'ß':
		return "ss"
	case '’', '‘', '´', 'ʼ', '′':
		return "'"
	case '“', '”', '«', '»', '„':
		return `"`
	case '–', '—', '‐', '‑', '‒', '−':
		return "-"
	case '…':
		return "..."
	}
	if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r) {
		return ""
	}
	return " "
}

// Fold returns a text in lower case, without accents and in ASCII, with single spaces: names that are
// spelled alike have the same folded form.
func Fold(text string) string { return foldWord(text) }
