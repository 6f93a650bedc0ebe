package courtsim

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	// hopsParameter is the query's word for how many redirects follow this one; hopsForever for a loop.
	hopsParameter = "__hop"
	hopsForever   = "loop"
	chainLength   = 5
	// strayPath is what somebody asks for who was led to another origin.
	strayPath = "/__elsewhere"
)

// redirectKinds lead somewhere else. A form that is posted is to be posted there again.
func redirectKinds() []faultKind {
	hop := func(name, about, hops string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, r *http.Request, _ reply) { redirect(w, r, withHops(r.URL, hops)) }}
	}
	away := func(name, about string, to func(r *http.Request) string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, r *http.Request, _ reply) { redirect(w, r, to(r)) }}
	}
	return []faultKind{
		hop("redirect", "one redirect within the origin, then the right answer", "0"),
		hop("redirect-chain", "five redirects within the origin, then the right answer", strconv.Itoa(chainLength-1)),
		hop("redirect-loop", "redirects within the origin without end", hopsForever),
		away("redirect-away", "a redirect to another name of this machine, which answers (strays)", func(r *http.Request) string {
			return "http://" + otherHost(r.Host) + strayPath
		}),
		away("redirect-user", "a redirect to the same host with a name and a password", func(r *http.Request) string {
			return "http://somebody:secret@" + r.Host + strayPath
		}),
		away("redirect-scheme", "a redirect to the same host by another scheme (gopher)", func(r *http.Request) string {
			return "gopher://" + r.Host + r.URL.RequestURI()
		}),
		away("redirect-local", "a redirect to the link-local address 169.254.169.254", func(*http.Request) string {
			return "http://169.254.169.254/latest/meta-data/"
		}),
	}
}

// redirect leads to a place by the status that browsers follow with the same method.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	status := http.StatusFound
	if r.Method != http.MethodGet {
		status = http.StatusTemporaryRedirect
	}
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}

// continueRedirect answers a request that a redirect led here: with the next redirect, or not at all after the last.
func continueRedirect(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, hopsParameter+"=") {
		return false
	}
	left := r.URL.Query().Get(hopsParameter)
	if left == hopsForever {
		redirect(w, r, withHops(r.URL, left))
		return true
	}
	n, err := plainNumber(left)
	if err != nil || n < 1 {
		return false
	}
	redirect(w, r, withHops(r.URL, strconv.Itoa(n-1)))
	return true
}

// wasRedirected says that a redirect led here: whoever came this way has had his fault.
func wasRedirected(u *url.URL) bool { return strings.Contains(u.RawQuery, hopsParameter+"=") }

func withHops(u *url.URL, hops string) string {
	query := u.Query()
	query.Set(hopsParameter, hops)
	return u.EscapedPath() + "?" + query.Encode()
}

// otherHost is another name of the machine that a host is on, with the same port.
func otherHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "80"
	}
	if name == "localhost" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return net.JoinHostPort("localhost", port)
}
