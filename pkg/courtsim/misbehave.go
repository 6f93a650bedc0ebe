package courtsim

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// slowness is how long a slow answer takes; the longest that working clients have seen.
	slowness = 25 * time.Second
	// dripPause is the pause between two bytes of an answer that drips.
	dripPause = 100 * time.Millisecond
)

// misbehave answers with a fault; right is the right answer.
func misbehave(w http.ResponseWriter, r *http.Request, kind string, right reply) {
	switch kind {
	case kind500, kind502, kind503:
		status, _ := strconv.Atoi(kind) // the kinds are numbers
		if kind == kind503 {
			w.Header().Set("Retry-After", "1")
		}
		sendPage(w, status, "<html><head><title>Error</title></head><body><h1>Server Error in '/' Application.</h1></body></html>")
	case kind403:
		sendPage(w, http.StatusForbidden, "<html><body><h1>403 - Forbidden: Access is denied.</h1></body></html>")
	case kind429:
		w.Header().Set("Retry-After", "2")
		sendPage(w, http.StatusTooManyRequests, "<html><body>Too many requests.</body></html>")
	case kindTimeout:
		pause(r.Context(), maxLatency)
		panic(http.ErrAbortHandler)
	case kindSlow:
		if pause(r.Context(), slowness) {
			right.send(w)
		}
	case kindDrip:
		drip(w, r, right)
	case kindReset:
		reset(w)
	case kindTruncated:
		truncate(w, right)
	default:
		falseAnswer(kind, right).send(w)
	}
}

// falseAnswer is what comes well framed.
func falseAnswer(kind string, right reply) reply {
	switch kind {
	case kindHalfJSON:
		return reply{right.status, right.contentType, right.body[:len(right.body)/2]}
	case kindHTML:
		return reply{0, asHTML, []byte("<html><head><title>Error</title></head><body><h2>Sorry, an error occurred while processing your request.</h2></body></html>")}
	case kindWAF:
		return reply{0, asHTML, []byte("<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Please consult with your administrator.<br><br>Your support ID is: 9128374655647382910</body></html>")}
	case kindChallenge:
		return reply{0, asHTML, []byte(`<html><body><form id="challenge-form"><div class="h-captcha"></div>Please verify you are human.</form></body></html>`)}
	case kindGarbage:
		return reply{0, right.contentType, []byte("\x00\xff\xfe\x81garbage\x9d\x00")}
	case kindEmpty:
		return reply{0, right.contentType, nil}
	default: // kindWrong: the answer is another number's
		return right
	}
}

func sendPage(w http.ResponseWriter, status int, text string) {
	sendStatus(w, status, asHTML, []byte(text))
}

// drip sends a body byte by byte.
func drip(w http.ResponseWriter, r *http.Request, right reply) {
	body := right.body
	w.Header().Set("Content-Type", right.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	out := http.NewResponseController(w)
	end := time.Now().Add(maxLatency)
	for i := range body {
		if _, err := w.Write(body[i : i+1]); err != nil || out.Flush() != nil {
			return
		}
		if time.Now().After(end) || !pause(r.Context(), dripPause) {
			panic(http.ErrAbortHandler)
		}
	}
}

// truncate promises the whole body, sends half of it and ends the connection.
func truncate(w http.ResponseWriter, right reply) {
	w.Header().Set("Content-Type", right.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(right.body)))
	_, _ = w.Write(right.body[:len(right.body)/2])
	panic(http.ErrAbortHandler) // the server's own word for ending a connection without an answer
}

// reset ends the connection by a reset, which is what closing does that waits for nothing (SO_LINGER 0).
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
