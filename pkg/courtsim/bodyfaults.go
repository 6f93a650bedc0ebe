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
		return faultKind{name: name, about: about, changeBody: func(correct reply) reply { return reply{0, correct.contentType, []byte(text)} }}
	}
	typed := func(name, about, contentType string) faultKind {
		return faultKind{name: name, about: about, changeBody: func(correct reply) reply { return reply{correct.status, contentType, correct.body} }}
	}
	behind := func(name, about string, more func(correct reply) []byte) faultKind {
		return faultKind{name: name, about: about, changeBody: func(correct reply) reply {
			return reply{correct.status, correct.contentType, slices.Concat(correct.body, more(correct))}
		}}
	}
	return []faultKind{
		{name: "halfjson", about: "half of the correct response, well framed", changeBody: func(correct reply) reply {
			return reply{correct.status, correct.contentType, correct.body[:len(correct.body)/2]}
		}},
		{name: "html", about: "an error page under status 200", changeBody: fixedReply(asHTML, sorryPage)},
		same("empty", "status 200 and no body at all", ""),
		same("garbage", "bytes that are not text", "\x00\xff\xfe\x81garbage\x9d\x00"),
		{name: "error-object", about: "an error as a JSON object under status 200", changeBody: fixedReply(asJSON, `{"Message":"An error has occurred."}`)},
		{name: "json-null", about: "null", changeBody: fixedReply(asJSON, "null")},
		{name: "json-list", about: "an empty list", changeBody: fixedReply(asJSON, "[]")},
		{name: "json-deep", about: "200,000 nested lists", changeBody: func(reply) reply {
			return reply{0, asJSON, bytes.Repeat([]byte("["), 200_000)}
		}},
		behind("trailing", "the correct response followed by an error page", func(reply) []byte { return []byte(sorryPage) }),
		behind("twice", "the correct response twice in one body", func(correct reply) []byte { return correct.body }),
		typed("plain", "the correct response, labelled text/plain", "text/plain; charset=utf-8"),
		typed("untyped", "the correct response without Content-Type", ""),
	}
}

// charsetKinds are correct responses in another encoding.
func charsetKinds() []faultKind {
	in := func(name, about, charset string, encode func(string) []byte) faultKind {
		return faultKind{name: name, about: about, changeBody: func(correct reply) reply {
			contentType, _, _ := strings.Cut(correct.contentType, ";")
			return reply{correct.status, contentType + "; charset=" + charset, encode(string(correct.body))}
		}}
	}
	return []faultKind{
		in("charset", "the correct response in Latin-1, labelled UTF-8", "utf-8", latin1),
		in("latin1", "the correct response in Latin-1, labelled as such", "iso-8859-1", latin1),
		in("bom", "the correct response in UTF-8 after a byte order mark", "utf-8", func(text string) []byte { return []byte("\ufeff" + text) }),
		in("utf16", "the correct response in UTF-16, labelled UTF-8", "utf-8", func(text string) []byte {
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
