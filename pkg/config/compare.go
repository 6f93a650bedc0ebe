package config

import (
	"fmt"
	"strings"
)

// compare checks the settings against each other, those that are good by themselves.
func (l *loader) compare() {
	c := l.settings.Config
	l.atMost("delay_min", "delay_max", c.DelayMin > c.DelayMax)
	l.atMost("backoff_base", "backoff_max", c.BackoffBase > c.BackoffMax)
	l.atMost("start", "end", c.End > 0 && c.Start > c.End)
	l.together("nats_cert", "nats_key", (c.NATSCert == "") != (c.NATSKey == ""))
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
