package courtsim

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

const (
	bombSize   = 1 << 30
	hugeSize   = 256 << 20
	headerSize = 16 << 20
	writeSize  = 1 << 16 // what is written at once of what is large
	bodyBegin  = `{"Count":1,"data":[{"COURT_NO":"`
)

// sizeKinds are too large, or are not what Content-Encoding says. They are for connections: whoever records them in memory
// holds them there.
func sizeKinds() []faultKind {
	return []faultKind{
		{name: "gzipbomb", about: "a megabyte of gzip that becomes 1 GiB", serve: sendBomb},
		{name: "gzip-twice", about: "the right answer, gzip in gzip, said to be gzip", serve: encodedReply("gzip", func(b []byte) []byte { return gzipBytes(gzipBytes(b)) })},
		{name: "br", about: "the right answer, said to be Brotli's, which it is not", serve: encodedReply("br", func(b []byte) []byte { return b })},
		{name: "huge", about: "a body without end", serve: func(w http.ResponseWriter, r *http.Request, _ reply) {
			sendLarge(w, r, -1)
		}},
		{name: "huge-length", about: "a body of 256 MiB, as Content-Length says", serve: func(w http.ResponseWriter, r *http.Request, _ reply) {
			w.Header().Set("Content-Length", strconv.Itoa(hugeSize))
			sendLarge(w, r, hugeSize)
		}},
		{name: "big-header", about: "16 MiB of headers", serve: sendBigHeader},
		{name: "cookies", about: "the right answer with 200 cookies of a kilobyte", serve: func(w http.ResponseWriter, _ *http.Request, right reply) {
			for n := range 200 {
				setCookie(w, "padding"+strconv.Itoa(n), strings.Repeat("a", 1024))
			}
			right.send(w)
		}},
	}
}

// gzipBytes makes gzip of a text.
func gzipBytes(text []byte) []byte {
	var b bytes.Buffer
	out := gzip.NewWriter(&b)
	_, _ = out.Write(text) // memory takes everything
	_ = out.Close()
	return b.Bytes()
}

func encodedReply(encoding string, encode func([]byte) []byte) func(http.ResponseWriter, *http.Request, reply) {
	return func(w http.ResponseWriter, _ *http.Request, right reply) {
		w.Header().Set("Content-Encoding", encoding)
		reply{right.status, right.contentType, encode(right.body)}.send(w)
	}
}

// sendBomb sends one squeezed megabyte again and again: gzip that follows gzip is one text.
func sendBomb(w http.ResponseWriter, _ *http.Request, right reply) {
	w.Header().Set("Content-Type", right.contentType)
	w.Header().Set("Content-Encoding", "gzip")
	_, err := w.Write(gzipBytes([]byte(bodyBegin)))
	member := gzipBytes(bytes.Repeat([]byte("a"), 1<<20))
	for n := 0; n < bombSize>>20 && err == nil; n++ {
		_, err = w.Write(member)
	}
}

// sendLarge sends a body of so many bytes, or one that ends when the client goes for a negative size.
func sendLarge(w http.ResponseWriter, r *http.Request, size int) {
	w.Header().Set("Content-Type", asJSON)
	_, err := io.WriteString(w, bodyBegin)
	if size > 0 {
		size -= len(bodyBegin)
	}
	text := bytes.Repeat([]byte("a"), writeSize)
	for size != 0 && err == nil && r.Context().Err() == nil {
		part := text
		if size > 0 {
			part = text[:min(size, writeSize)]
			size -= len(part)
		}
		_, err = w.Write(part)
	}
}

// sendBigHeader goes around the server, which would hold the headers in memory.
func sendBigHeader(w http.ResponseWriter, _ *http.Request, _ reply) {
	hijack(w, func(conn net.Conn) {
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: "+asJSON+"\r\n")
		line := "X-Padding: " + strings.Repeat("a", writeSize) + "\r\n"
		for n := 0; n < headerSize/writeSize && err == nil; n++ {
			_, err = io.WriteString(conn, line)
		}
		_, _ = io.WriteString(conn, "Content-Length: 21\r\nConnection: close\r\n\r\n{\"Count\":0,\"data\":[]}")
	})
}
