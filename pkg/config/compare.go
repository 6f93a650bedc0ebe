package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fct-scraper/pkg/loopback"
)

// checkCombinations checks settings against each other, unless one has a problem of its own.
func (l *loader) checkCombinations() {
	c := l.settings.Config
	l.requireAtMost("delay_min", "delay_max", c.DelayMin > c.DelayMax)
	l.requireAtMost("backoff_base", "backoff_max", c.BackoffBase > c.BackoffMax)
	l.requireAtMost("start", "end", c.End > 0 && c.Start > c.End)
	l.requireBoth("nats_cert", "nats_key", (c.NATSCert == "") != (c.NATSKey == ""))
	l.requireOutside("output", "data_dir", c.NATSURL == "")
	l.requireTLS("nats_url", c.unencryptedHosts())
	l.requireToken("http_addr", "http_token", c.HTTPAddr != "" && c.HTTPToken == "" && !loopback.IsListenAddr(c.HTTPAddr))
}

// requireToken refuses an address that others can reach if it has no token: they could read and stop
// the runs.
func (l *loader) requireToken(addr, token string, missing bool) {
	if !missing || l.bad[addr] || l.bad[token] {
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: others can reach it: want %s too, or a loopback address such as 127.0.0.1:8080",
		l.settings.origins[addr], addr, l.table.quoteValue(addr, l.text(addr)), token))
}

// requireTLS refuses addresses if hosts is not empty: others could read and change the connections.
func (l *loader) requireTLS(key string, hosts []string) {
	if len(hosts) == 0 || l.bad[key] {
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: %s is beyond this machine and without TLS: want tls://, or nats_ca, or insecure = true",
		l.settings.origins[key], key, l.table.quoteValue(key, l.text(key)), strings.Join(hosts, ", ")))
}

// requireOutside refuses a folder that is the same as, or inside of, another one in use: who
// removes or replaces the store would remove the files too. The other way round is allowed.
func (l *loader) requireOutside(inner, outer string, used bool) {
	if !used || l.bad[inner] || l.bad[outer] || !isWithin(l.text(inner), l.text(outer)) {
		return
	}
	blamed := inner
	if l.settings.origins[inner] == originDefault { // report the setting that was given
		blamed = outer
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %q: want %s = %q outside of %s = %q, which is the embedded server's alone",
		l.settings.origins[blamed], blamed, l.text(blamed), inner, l.text(inner), outer, l.text(outer)))
}

// isWithin reports whether a folder is the same as, or inside of, another one, after resolving
// symbolic links. Either may be missing.
func isWithin(inner, outer string) bool {
	in, out := resolvePath(inner), resolvePath(outer)
	whole, _ := os.Stat(out)
	for at := in; ; at = filepath.Dir(at) {
		if at == out {
			return true
		}
		// On a case-insensitive file system the names alone do not decide.
		if info, err := os.Stat(at); err == nil && whole != nil && os.SameFile(info, whole) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// resolvePath is the absolute path of a folder, with the symbolic links in its existing part
// resolved.
func resolvePath(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	rest := ""
	for at := full; ; at = filepath.Dir(at) {
		if there, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(there, rest)
		}
		if at == filepath.Dir(at) {
			return full
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// requireAtMost refuses a setting that is larger than another one, and names the origin of both.
func (l *loader) requireAtMost(low, high string, wrong bool) {
	if !wrong || l.bad[low] || l.bad[high] {
		return
	}
	given, want, other := low, "at most", high
	if l.settings.origins[low] == originDefault { // report the setting that was given, not the default
		given, want, other = high, "at least", low
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: want %s %s = %s (%s)", l.settings.origins[given], given,
		l.text(given), want, other, l.text(other), l.settings.origins[other]))
}

// requireBoth refuses one of two settings that are only useful together.
func (l *loader) requireBoth(one, other string, wrong bool) {
	if !wrong || l.bad[one] || l.bad[other] {
		return
	}
	if l.text(one) == "" {
		one, other = other, one
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: want %s too", l.settings.origins[one], one,
		l.table.quoteValue(one, l.text(one)), other))
}
