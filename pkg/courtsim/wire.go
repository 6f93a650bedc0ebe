package courtsim

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/delay"
)

const (
	// slowDelay is how long a slow answer takes; the longest that working clients have seen.
	slowDelay = 25 * time.Second
	// dripPause is the pause between two bytes of what drips.
	dripPause = time.Second
	// hintPause is the pause between two early hints: enough of them come within any deadline.
	hintPause = 10 * time.Millisecond
)

// wireKinds go wrong below what is said: in time, in framing, in the connection.
func wireKinds() []faultKind {
	raw := func(name, about, text string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, _ *http.Request, _ reply) {
			hijack(w, func(conn net.Conn) { _, _ = io.WriteString(conn, text) })
		}}
	}
	return []faultKind{
		{name: "timeout", about: "no answer until the client goes, at most 10 minutes", serve: func(_ http.ResponseWriter, r *http.Request, _ reply) {
			_ = delay.Sleep(r.Context(), maxLatency)
			abortConnection()
		}},
		{name: "slow", about: "the right answer after 25 seconds", serve: func(w http.ResponseWriter, r *http.Request, right reply) {
			if delay.Sleep(r.Context(), slowDelay) == nil {
				right.send(w)
			}
		}},
		{name: "drip", about: "the right answer, a byte a second, at most 10 minutes", serve: sendDrip},
		{name: "slowheader", about: "headers, a byte a second, at most 10 minutes", serve: sendSlowHeader},
		{name: "hints", about: "early hints (103) without end, at most 10 minutes", serve: sendHints},
		{name: "reset", about: "the connection is reset instead of an answer", serve: sendReset},
		{name: "truncated", about: "Content-Length promises the right answer, half of it comes, the connection ends", serve: sendTruncated},
		raw("bad-status", "HTTP/1.1 banana", "HTTP/1.1 banana\r\n\r\n"),
		raw("bad-chunk", "a body whose second chunk has no size", "HTTP/1.1 200 OK\r\nContent-Type: "+asJSON+
			"\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"Count\":\r\nbanana\r\n"),
		raw("two-lengths", "two Content-Lengths that disagree", "HTTP/1.1 200 OK\r\nContent-Type: "+asJSON+
			"\r\nContent-Length: 21\r\nContent-Length: 22\r\n\r\n{\"Count\":0,\"data\":[]} "),
	}
}

// abortConnection ends the connection without an answer; the server's own word for it.
func abortConnection() { panic(http.ErrAbortHandler) }

// sendDrip sends a body byte by byte.
func sendDrip(w http.ResponseWriter, r *http.Request, right reply) {
	w.Header().Set("Content-Type", right.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(right.body)))
	out := http.NewResponseController(w)
	end := time.Now().Add(maxLatency)
	for i := range right.body {
		if _, err := w.Write(right.body[i : i+1]); err != nil || out.Flush() != nil {
			return
		}
		if !time.Now().Before(end) || delay.Sleep(r.Context(), dripPause) != nil {
			abortConnection()
		}
	}
}

// sendSlowHeader sends headers byte by byte and never comes to their end.
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

// sendHints sends informational answers, and never one of the right kind.
func sendHints(w http.ResponseWriter, r *http.Request, _ reply) {
	w.Header().Set("Link", "</style.css>; rel=preload; as=style")
	for end := time.Now().Add(maxLatency); time.Now().Before(end) && delay.Sleep(r.Context(), hintPause) == nil; {
		w.WriteHeader(http.StatusEarlyHints)
	}
	abortConnection()
}

// sendTruncated promises the whole body, sends half of it and ends the connection.
func sendTruncated(w http.ResponseWriter, _ *http.Request, right reply) {
	w.Header().Set("Content-Type", right.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(right.body)))
	_, _ = w.Write(right.body[:len(right.body)/2])
	abortConnection()
}

// sendReset ends the connection by a reset, which is what closing does that waits for nothing (SO_LINGER 0).
func sendReset(w http.ResponseWriter, _ *http.Request, _ reply) {
	hijack(w, func(conn net.Conn) {
		if tcp, isTCP := conn.(*net.TCPConn); isTCP {
			_ = tcp.SetLinger(0)
		}
	})
}

// hijack takes the connection for what no well-formed answer is, and ends it.
func hijack(w http.ResponseWriter, use func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		abortConnection()
	}
	use(conn)
	_ = conn.Close() // when the client has gone nobody is left to be told
}
