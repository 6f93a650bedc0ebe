package config

import (
	"cmp"
	"fmt"
	"iter"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/site"
)

// validator describes the allowed values of a setting, and checks a value of the setting's type.
type validator struct {
	text string
	ok   func(value any) bool
	// allowsNone: the word none is allowed too and stands for zero.
	allowsNone bool
	// words are all allowed values, or those with a name if a path is allowed too; nil if they are not
	// words.
	words []string
}

// newValidator returns the validator of a field of Config, by its type and its tags.
func newValidator(f reflect.StructField, name string) validator {
	low, _ := strconv.Atoi(f.Tag.Get("min"))
	high, err := strconv.Atoi(f.Tag.Get("max"))
	if err != nil {
		high = contract.MaxNumber
	}
	switch reflect.Zero(f.Type).Interface().(type) {
	case bool:
		return validator{text: "true or false", ok: func(any) bool { return true }, words: []string{"true", "false"}}
	case time.Duration:
		if len(f.Index) > 1 { // of a run
			v := validator{text: durationForm + "1ms to ten years", ok: func(value any) bool {
				return value.(time.Duration) >= time.Millisecond
			}}
			if v.allowsNone = f.Tag.Get("default") == "none"; v.allowsNone {
				v.text += `, or "none"`
			}
			return v
		}
		return validator{text: durationForm + "0 to ten years", ok: func(any) bool { return true }}
	case int:
		if f.Tag.Get("default") == "none" {
			l := wholeNumber(low, high)
			l.text, l.allowsNone = l.text+`, or "none"`, true
			return l
		}
		return wholeNumber(low, high)
	case float64:
		return validator{text: fmt.Sprintf("a number, %d to %d", low, high), ok: func(value any) bool {
			v := value.(float64)
			return v >= float64(low) && v <= float64(high) // which NaN is not
		}}
	case Hours:
		return validator{text: `hours of the day such as 22:00-06:00, or "none"`, ok: func(any) bool { return true }}
	case Bytes:
		return validator{text: fmt.Sprintf("a size such as 500kB or 16MiB, %v to %v", KiB, GiB), ok: func(value any) bool {
			v := value.(Bytes)
			return v >= KiB && v <= GiB
		}}
	}
	switch form := cmp.Or(f.Tag.Get("form"), name); form {
	case "prefix":
		return text("1 to 5 capital letters A to Z", func(v string) bool { return contract.CheckSeries(v) == nil })
	case "year":
		return text(`the year's last two digits, such as "25", or all four, 2000 to 2099`,
			func(v string) bool { return contract.CheckYear(v) == nil })
	case "ascii":
		return text(fmt.Sprintf("printable ASCII, %d to %d characters", low, high), func(v string) bool {
			outside := func(r rune) bool { return r < ' ' || r > '~' }
			return len(v) >= low && len(v) <= high && !strings.ContainsFunc(v, outside)
		})
	case "secret":
		return text(fmt.Sprintf("%d to %d printable ASCII characters without spaces, or empty", low, high), func(v string) bool {
			outside := func(r rune) bool { return r <= ' ' || r > '~' }
			return v == "" || len(v) >= low && len(v) <= high && !strings.ContainsFunc(v, outside)
		})
	case "folder":
		return text("the path of a folder, not empty", func(v string) bool { return v != "" })
	case "file":
		// A key itself is refused, because settings are shown and reported.
		return text("the path of a file, or empty", func(v string) bool { return maskKey(v) == v })
	case "profile":
		names := site.BuiltIn()
		v := text("one of "+strings.Join(names, ", ")+", or an existing file", func(v string) bool {
			info, err := os.Stat(v)
			return slices.Contains(names, v) || err == nil && info.Mode().IsRegular()
		})
		v.words = names
		return v
	case "origin":
		return text("https://host[:port], the port from 1 to 65535, or http:// to this machine alone, "+
			"without credentials, path or query; or empty",
			func(v string) bool { return v == "" || site.CheckOrigin(v) == nil })
	case "proxy":
		return text("[scheme://][user:password@]host[:port], the scheme http, https, socks5 or socks5h; none; or empty",
			func(v string) bool {
				_, err := site.ParseProxy(v)
				return v == "" || v == site.NoProxy || err == nil
			})
	case "servers":
		return text("nats://host[:port], several with commas between; tls, ws and wss are allowed too; or empty", isNATS)
	case "listen":
		return text("host:port, such as 127.0.0.1:8080, or a range of ports, 127.0.0.1:8080-8089; or empty",
			func(v string) bool { return v == "" || isListen(v) })
	default:
		words := strings.Fields(form)
		v := text("one of "+strings.Join(words, ", "), func(v string) bool { return slices.Contains(words, v) })
		v.words = words
		return v
	}
}

func wholeNumber(low, high int) validator {
	return validator{text: fmt.Sprintf("a whole number, %d to %d", low, high), ok: func(value any) bool {
		v := value.(int)
		return v >= low && v <= high
	}}
}

const durationForm = "a duration in seconds, or in a form such as 90s, 5m or 250ms, from "

func text(words string, ok func(string) bool) validator {
	return validator{text: words, ok: func(value any) bool {
		v := value.(string)
		return utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl) && ok(v)
	}}
}

// isNATS reports whether text is empty or a list of addresses of NATS servers.
func isNATS(text string) bool {
	for u, err := range parseServers(text) {
		if err != nil || !isServer(u) {
			return false
		}
	}
	return true
}

// parseServers iterates over a list of NATS servers, read as the NATS library does.
func parseServers(text string) iter.Seq2[*url.URL, error] {
	return func(yield func(*url.URL, error) bool) {
		if text == "" {
			return
		}
		for part := range strings.SplitSeq(text, ",") {
			part = strings.TrimSpace(part)
			if !strings.Contains(part, "://") {
				part = "nats://" + part
			}
			if !yield(url.Parse(part)) {
				return
			}
		}
	}
}

func isServer(u *url.URL) bool {
	return slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && isHost(u.Hostname()) &&
		(u.Port() == "" || isPort(u.Port())) && u.RawQuery == "" && u.Fragment == ""
}

func isEncrypted(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "wss" }

// NATSTLS reports whether every connection to nats_url must use TLS: an address requires it, or a
// setting that only TLS uses is set.
func (c Config) NATSTLS() bool {
	for u, err := range parseServers(c.NATSURL) {
		if err == nil && isEncrypted(u) {
			return true
		}
	}
	return c.NATSCA != "" || c.NATSCert != ""
}

// unencryptedHosts returns the remote servers of nats_url that would be connected to without TLS,
// unless insecure allows that.
func (c Config) unencryptedHosts() (hosts []string) {
	if c.Insecure || c.NATSCA != "" || c.NATSCert != "" {
		return nil
	}
	for u, err := range parseServers(c.NATSURL) {
		if err == nil && !isEncrypted(u) && !loopback.IsHost(u.Hostname()) {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// isListen reports whether text is an address to listen on, with one port or a range; without a
// host it is every address of this machine.
func isListen(text string) bool {
	host, ports, err := net.SplitHostPort(text)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	first, last, isRange := strings.Cut(ports, "-")
	from, low := strconv.ParseUint(first, 10, 16)
	to, high := strconv.ParseUint(last, 10, 16)
	return low == nil && (!isRange || high == nil && 0 < from && from <= to)
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func isHost(text string) bool {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}
	return net.ParseIP(text) != nil || text != "" && !strings.ContainsFunc(text, outside)
}

// requireContact refuses an empty contact for a site that is not loopback: its operators must be
// able to reach whoever sends the requests.
func (l *loader) requireContact() {
	s := l.settings
	if strings.TrimSpace(s.Contact) != "" || l.bad["contact"] || l.bad["site"] || l.bad["base_url"] {
		return
	}
	origin := s.origin()
	if u, err := url.Parse(origin); origin == "" || err != nil || loopback.IsHost(u.Hostname()) {
		return
	}
	place := s.origins["contact"] + ": "
	if s.origins["contact"] == originDefault {
		place = "--contact, $FCT_CONTACT or a settings file: "
	}
	l.problems = append(l.problems, fmt.Sprintf("%scontact = %q: want an e-mail address or URL at which the operators of %s can reach you",
		place, s.Contact, origin))
}

// origin is the origin of the site: base_url, or that of the profile. It is empty if the profile
// has none, as the simulator's, or cannot be read; opening it reports why.
func (s *Settings) origin() string {
	if s.BaseURL != "" {
		return s.BaseURL
	}
	load := site.LoadFile
	if slices.Contains(site.BuiltIn(), s.Site) {
		load = site.Load
	}
	profile, err := load(s.Site)
	if err != nil {
		return ""
	}
	return profile.Origin
}
