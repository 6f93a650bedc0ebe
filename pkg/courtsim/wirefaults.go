package courtsim

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/delay"
)

const (
	// slowDelay is the delay of a slow response: the longest that working clients of the real site
	// have seen.
	slowDelay = 25 * time.Second
	// dripPause is the pause between two bytes of a slow body or header.
	dripPause = time.Second
	// hintPause is the pause between two early hints; it is short enough to send many within any
	// deadline.
	hintPause = 10 * time.Millisecond
)

// wireKinds are faults of timing, framing and connections.
func wireKinds() []faultKind {
	raw := func(name, about, text string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, _ *http.Request, _ reply) {
			hijack(w, func(conn net.Conn) { _, _ = io.WriteString(conn, text) })
		}}
	}
	return []faultKind{
		{name: "timeout", about: "no response until the client goes, at most 10 minutes", serve: func(_ http.ResponseWriter, r *http.Request, _ reply) {
			_ = delay.Sleep(r.Context(), maxLatency)
			abortConnection()
		}},
		{name: "slow", about: "the correct response after 25 seconds", serve: func(w http.ResponseWriter, r *http.Request, correct reply) {
			if delay.Sleep(r.Context(), slowDelay) == nil {
				correct.send(w)
			}
		}},
		{name: "drip", about: "the correct response, a byte a second, at most 10 minutes", serve: sendDrip},
		{name: "slowheader", about: "headers, a byte a second, at most 10 minutes", serve: sendSlowHeader},
		{name: "hints", about: "endless early hints (103), at most 10 minutes", serve: sendHints},
		{name: "reset", about: "the connection is reset instead of a response", serve: sendReset},
		{name: "truncated", about: "half of the correct response, then the connection ends", serve: sendTruncated},
		raw("bad-status", "HTTP/1.1 banana", "HTTP/1.1 banana\r\n\r\n"),
		raw("bad-chunk", "a body whose second chunk has no size", "HTTP/1.1 200 OK\r\nContent-Type: "+asJSON+
			"\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"Count\":\r\nbanana\r\n"),
		raw("two-lengths", "two Content-Lengths that disagree", "HTTP/1.1 200 OK\r\nContent-Type: "+asJSON+
			"\r\nContent-Length: 21\r\nContent-Length: 22\r\n\r\n{\"Count\":0,\"data\":[]} "),
	}
}

// abortConnection ends the connection without a response, by the panic that net/http reserves for
// it.
func abortConnection() { panic(http.ErrAbortHandler) }

// sendDrip sends a body byte by byte.
func sendDrip(w http.ResponseWriter, r *http.Request, correct reply) {
	w.Header().Set("Content-Type", correct.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(correct.body)))
	out := http.NewResponseController(w)
	end := time.Now().Add(maxLatency)
	for i := range correct.body {
		if _, err := w.Write(correct.body[i : i+1]); err != nil || out.Flush() != nil {
			return
		}
		if !time.Now().Before(end) || delay.Sleep(r.Context(), dripPause) != nil {
			abortConnection()
		}
	}
}

// sendSlowHeader sends headers byte by byte and never ends them.
func sendSlowHeader(w http.ResponseWriter, r *http.Request, _ reply) {
	hijack(w, func(conn net.Conn) {
		head := []byte("HTTP/1.1 200 OK\r\nContent-Type: " + asJSON + "\r\nX-Padding: " + strings.Repeat("a", int(maxLatency/dripPause)) + "\r\n")
		for i := range int(maxLatency / dripPause) {
			if _, err := conn.Write(head[i : i+1]); err != nil || delay.Sleep(r.Context(), dripPause) != nil {
				return
			}
		}
	})
}

// sendHints sends informational responses and never a final one.
func sendHints(w http.ResponseWriter, r *http.Request, _ reply) {
	w.Header().Set("Link", "</style.css>; rel=preload; as=style")
	for end := time.Now().Add(maxLatency); time.Now().Before(end) && delay.Sleep(r.Context(), hintPause) == nil; {
		w.WriteHeader(http.StatusEarlyHints)
	}
	abortConnection()
}

// sendTruncated announces the complete body, sends half of it and ends the connection.
func sendTruncated(w http.ResponseWriter, _ *http.Request, correct reply) {
	w.Header().Set("Content-Type", correct.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(correct.body)))
	_, _ = w.Write(correct.body[:len(correct.body)/2])
	abortConnection()
}

// sendReset resets the connection, by closing it with SO_LINGER 0.
func sendReset(w http.ResponseWriter, _ *http.Request, _ reply) {
	hijack(w, func(conn net.Conn) {
		if tcp, isTCP := conn.(*net.TCPConn); isTCP {
			_ = tcp.SetLinger(0)
		}
	})
}

// hijack takes over the connection for a malformed response, and closes it.
func hijack(w http.ResponseWriter, use func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		abortConnection()
	}
	use(conn)
	_ = conn.Close() // an error means that the client has gone
}

const (
	bombSize   = 1 << 30
	hugeSize   = 256 << 20
	headerSize = 16 << 20
	writeSize  = 1 << 16 // bytes per write of a large response
	bodyBegin  = `{"Count":1,"data":[{"COURT_NO":"`
)

// sizeKinds are too large, or are not encoded as Content-Encoding says. They need a real
// connection: a recorder would hold them in memory.
func sizeKinds() []faultKind {
	return []faultKind{
		{name: "gzipbomb", about: "a megabyte of gzip that becomes 1 GiB", serve: sendBomb},
		{name: "gzip-twice", about: "the correct response, gzip in gzip, labelled gzip", serve: encodedReply("gzip", func(b []byte) []byte { return gzipBytes(gzipBytes(b)) })},
		{name: "br", about: "the correct response, wrongly labelled Brotli", serve: encodedReply("br", func(b []byte) []byte { return b })},
		{name: "huge", about: "an endless body", serve: func(w http.ResponseWriter, r *http.Request, _ reply) {
			sendLarge(w, r, -1)
		}},
		{name: "huge-length", about: "a body of 256 MiB, as Content-Length says", serve: func(w http.ResponseWriter, r *http.Request, _ reply) {
			w.Header().Set("Content-Length", strconv.Itoa(hugeSize))
			sendLarge(w, r, hugeSize)
		}},
		{name: "big-header", about: "16 MiB of headers", serve: sendBigHeader},
		{name: "cookies", about: "the correct response with 200 cookies of a kilobyte", serve: func(w http.ResponseWriter, _ *http.Request, correct reply) {
			for n := range 200 {
				setCookie(w, "padding"+strconv.Itoa(n), strings.Repeat("a", 1024))
			}
			correct.send(w)
		}},
	}
}

func gzipBytes(text []byte) []byte {
	var b bytes.Buffer
	out := gzip.NewWriter(&b)
	_, _ = out.Write(text) // a buffer never fails
	_ = out.Close()
	return b.Bytes()
}

func encodedReply(encoding string, encode func([]byte) []byte) func(http.ResponseWriter, *http.Request, reply) {
	return func(w http.ResponseWriter, _ *http.Request, correct reply) {
		w.Header().Set("Content-Encoding", encoding)
		reply{correct.status, correct.contentType, encode(correct.body)}.send(w)
	}
}

// sendBomb sends the same compressed megabyte again and again: concatenated gzip members are one
// text.
func sendBomb(w http.ResponseWriter, _ *http.Request, correct reply) {
	w.Header().Set("Content-Type", correct.contentType)
	w.Header().Set("Content-Encoding", "gzip")
	_, err := w.Write(gzipBytes([]byte(bodyBegin)))
	member := gzipBytes(bytes.Repeat([]byte("a"), 1<<20))
	for n := 0; n < bombSize>>20 && err == nil; n++ {
		_, err = w.Write(member)
	}
}

// sendLarge sends a body of size bytes; a negative size continues until the client disconnects.
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

// sendBigHeader bypasses http.Server, which would hold the headers in memory.
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
