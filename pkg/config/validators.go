package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// validator describes the allowed values of a setting, and checks a value of the setting's type.
type validator struct {
	text string
	ok   func(value any) bool
	// allowsNone: the word none is allowed too and stands for zero.
	allowsNone bool
}

// ofBatchField is the validator of a setting that contract.Batch declares.
func ofBatchField(f contract.BatchField) validator {
	switch f.Value(contract.Batch{}).(type) {
	case bool:
		return boolean()
	case time.Duration:
		return positiveDuration()
	case int:
		if f.Optional {
			return wholeNumberOrNone(f.Min, f.Max)
		}
		return wholeNumber(f.Min, f.Max)
	}
	if f.Name == "year" {
		return year()
	}
	return series()
}

func wholeNumber(low, high int) validator {
	return validator{text: fmt.Sprintf("a whole number, %d to %d", low, high), ok: func(value any) bool {
		v := value.(int)
		return v >= low && v <= high
	}}
}

func wholeNumberOrNone(low, high int) validator {
	l := wholeNumber(low, high)
	l.text, l.allowsNone = l.text+`, or "none"`, true
	return l
}

func number(low, high float64) validator {
	return validator{text: fmt.Sprintf("a number, %g to %g", low, high), ok: func(value any) bool {
		v := value.(float64)
		return v >= low && v <= high // which NaN is not
	}}
}

func boolean() validator {
	return validator{text: "true or false", ok: func(any) bool { return true }}
}

const durationForm = "a duration: seconds, or a form such as 90s, 5m or 250ms; "

func duration() validator {
	return validator{text: durationForm + "0 to ten years", ok: func(any) bool { return true }}
}

func positiveDuration() validator {
	return validator{text: durationForm + "1ms to ten years", ok: func(value any) bool {
		return value.(time.Duration) >= time.Millisecond
	}}
}

func hours() validator {
	return validator{text: `hours of the day such as 22:00-06:00, or "none"`, ok: func(any) bool { return true }}
}

func size(low, high Bytes) validator {
	return validator{text: fmt.Sprintf("a size such as 500kB or 16MiB, %v to %v", low, high), ok: func(value any) bool {
		v := value.(Bytes)
		return v >= low && v <= high
	}}
}

func text(words string, ok func(string) bool) validator {
	return validator{text: words, ok: func(value any) bool {
		v := value.(string)
		return utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl) && ok(v)
	}}
}

func oneOf(words ...string) validator {
	return text("one of "+strings.Join(words, ", "), func(v string) bool { return slices.Contains(words, v) })
}

func series() validator {
	return text("1 to 5 capital letters A to Z", func(v string) bool { return contract.CheckSeries(v) == nil })
}

func year() validator {
	return text(`the year's last two digits, such as "25", or all four, 2000 to 2099`, func(v string) bool { return contract.CheckYear(v) == nil })
}

func printable(low, high int) validator {
	return text(fmt.Sprintf("printable ASCII, %d to %d characters", low, high), func(v string) bool {
		outside := func(r rune) bool { return r < ' ' || r > '~' }
		return len(v) >= low && len(v) <= high && !strings.ContainsFunc(v, outside)
	})
}

func folder() validator {
	return text("the path of a folder, not empty", func(v string) bool { return v != "" })
}

// credential is the path of a file. A key itself is refused, because settings are shown and
// reported.
func credential() validator {
	return text("the path of a file, or empty", func(v string) bool { return maskKey(v) == v })
}

func profile() validator {
	names := site.BuiltIn()
	return text("one of "+strings.Join(names, ", ")+", or an existing file", func(v string) bool {
		info, err := os.Stat(v)
		return slices.Contains(names, v) || err == nil && info.Mode().IsRegular()
	})
}

func origin() validator {
	return text("https://host[:port], the port from 1 to 65535, or http:// to this machine alone, without credentials, path or query; or empty",
		func(v string) bool { return v == "" || site.CheckOrigin(v) == nil })
}

func proxy() validator {
	return text("[scheme://][user:password@]host[:port], the scheme http, https, socks5 or socks5h; none; or empty", func(v string) bool {
		_, err := site.ParseProxy(v)
		return v == "" || v == site.NoProxy || err == nil
	})
}

func natsURLs() validator {
	return text("nats://host[:port], several with commas between; tls, ws and wss are allowed too; or empty", isNATS)
}

func listen() validator {
	return text("host:port, such as 127.0.0.1:8080, or a range of ports, 127.0.0.1:8080-8089; or empty", func(v string) bool { return v == "" || isListen(v) })
}
