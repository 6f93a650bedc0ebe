package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// compare checks the settings against each other, those that are good by themselves.
func (l *loader) compare() {
	c := l.settings.Config
	l.atMost("delay_min", "delay_max", c.DelayMin > c.DelayMax)
	l.atMost("backoff_base", "backoff_max", c.BackoffBase > c.BackoffMax)
	l.atMost("start", "end", c.End > 0 && c.Start > c.End)
	l.together("nats_cert", "nats_key", (c.NATSCert == "") != (c.NATSKey == ""))
	l.apart("output", "data_dir", c.NATSURL == "")
	l.encrypted("nats_url", c.plainBeyond())
}

// encrypted refuses addresses whose connections others could read and change, hosts being those.
func (l *loader) encrypted(key string, hosts []string) {
	if len(hosts) == 0 || l.bad[key] {
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: %s is beyond this machine and without TLS: want tls://, or nats_ca, or insecure = true",
		l.settings.origins[key], key, l.table.show(key, l.settings.text(key)), strings.Join(hosts, ", ")))
}

// apart refuses a folder that is, or lies in, another one that is used: who removes or replaces the store would take the files with it. The
// other way round each stays whole.
func (l *loader) apart(inner, outer string, used bool) {
	if !used || l.bad[inner] || l.bad[outer] || !within(l.settings.text(inner), l.settings.text(outer)) {
		return
	}
	blamed := inner
	if l.settings.origins[inner] == byDefault { // the one that was given is to blame
		blamed = outer
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %q: want %s = %q outside of %s = %q, which is the embedded server's alone",
		l.settings.origins[blamed], blamed, l.settings.text(blamed), inner, l.settings.text(inner), outer, l.settings.text(outer)))
}

// within says whether a folder is, or lies in, another one, symbolic links followed. Either may be missing still.
func within(inner, outer string) bool {
	in, out := resolved(inner), resolved(outer)
	whole, _ := os.Stat(out)
	for at := in; ; at = filepath.Dir(at) {
		if at == out {
			return true
		}
		// Of a file system that takes Data and data for one, the names do not tell.
		if info, err := os.Stat(at); err == nil && whole != nil && os.SameFile(info, whole) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// resolved is the full path of a folder, the symbolic links in the part of it that exists followed.
func resolved(path string) string {
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

// atMost refuses a setting that is larger than another one, naming where both come from.
func (l *loader) atMost(low, high string, wrong bool) {
	if !wrong || l.bad[low] || l.bad[high] {
		return
	}
	// The one that was given is to blame, not the default.
	if l.settings.origins[low] == byDefault {
		l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: want at least %s = %s (%s)", l.settings.origins[high], high,
			l.settings.text(high), low, l.settings.text(low), l.settings.origins[low]))
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: want at most %s = %s (%s)", l.settings.origins[low], low,
		l.settings.text(low), high, l.settings.text(high), l.settings.origins[high]))
}

// together refuses one of two settings that are of use only together.
func (l *loader) together(one, other string, wrong bool) {
	if !wrong || l.bad[one] || l.bad[other] {
		return
	}
	if l.settings.text(one) == "" {
		one, other = other, one
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: %s = %s: want %s too", l.settings.origins[one], one, l.table.show(one, l.settings.text(one)), other))
}
