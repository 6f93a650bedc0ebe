package courtsim

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
)

// bodyKinds are complete HTTP responses with an unexpected body.
func bodyKinds() []faultKind {
	same := func(name, about, text string) faultKind {
		return faultKind{name: name, about: about, changeBody: func(right reply) reply { return reply{0, right.contentType, []byte(text)} }}
	}
	typed := func(name, about, contentType string) faultKind {
		return faultKind{name: name, about: about, changeBody: func(right reply) reply { return reply{right.status, contentType, right.body} }}
	}
	behind := func(name, about string, more func(right reply) []byte) faultKind {
		return faultKind{name: name, about: about, changeBody: func(right reply) reply {
			return reply{right.status, right.contentType, slices.Concat(right.body, more(right))}
		}}
	}
	return []faultKind{
		{name: "halfjson", about: "half of the right answer, well framed", changeBody: func(right reply) reply {
			return reply{right.status, right.contentType, right.body[:len(right.body)/2]}
		}},
		{name: "html", about: "an error page under status 200", changeBody: fixedReply(asHTML, sorryPage)},
		same("empty", "status 200 and no body at all", ""),
		same("garbage", "bytes that are no text", "\x00\xff\xfe\x81garbage\x9d\x00"),
		{name: "error-object", about: "an error as a JSON object under status 200", changeBody: fixedReply(asJSON, `{"Message":"An error has occurred."}`)},
		{name: "json-null", about: "null", changeBody: fixedReply(asJSON, "null")},
		{name: "json-list", about: "an empty list", changeBody: fixedReply(asJSON, "[]")},
		{name: "json-deep", about: "200,000 lists in each other", changeBody: func(reply) reply {
			return reply{0, asJSON, bytes.Repeat([]byte("["), 200_000)}
		}},
		behind("trailing", "the right answer and an error page behind it", func(reply) []byte { return []byte(sorryPage) }),
		behind("twice", "the right answer twice in one body", func(right reply) []byte { return right.body }),
		typed("plain", "the right answer, said to be text/plain", "text/plain; charset=utf-8"),
		typed("untyped", "the right answer without Content-Type", ""),
	}
}

// charsetKinds are correct answers in another encoding.
func charsetKinds() []faultKind {
	in := func(name, about, charset string, encode func(string) []byte) faultKind {
		return faultKind{name: name, about: about, changeBody: func(right reply) reply {
			contentType, _, _ := strings.Cut(right.contentType, ";")
			return reply{right.status, contentType + "; charset=" + charset, encode(string(right.body))}
		}}
	}
	return []faultKind{
		in("charset", "the right answer in Latin-1, said to be UTF-8", "utf-8", latin1),
		in("latin1", "the right answer in Latin-1, and said to be", "iso-8859-1", latin1),
		in("bom", "the right answer in UTF-8 behind a byte order mark", "utf-8", func(text string) []byte { return []byte("\ufeff" + text) }),
		in("utf16", "the right answer in UTF-16, said to be UTF-8", "utf-8", func(text string) []byte {
			b := []byte{0xff, 0xfe}
			for _, unit := range utf16.Encode([]rune(text)) {
				b = binary.LittleEndian.AppendUint16(b, unit)
			}
			return b
		}),
	}
}

// latin1 writes a question mark for letters outside of Latin-1, as servers with that encoding do.
func latin1(text string) []byte {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return b
}
