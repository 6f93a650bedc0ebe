package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Duration is a length of time, never negative and at most ten years. As text it is a bare number
// of seconds ("300", "0.5") or Go's form ("90s", "5m", "250ms").
type Duration time.Duration

const maxDuration = 10 * 365 * 24 * time.Hour

var errDuration = errors.New("allowed is a number of seconds, or a form such as 90s, 5m or 250ms, up to ten years")

// UnmarshalText reads a Duration.
func (d *Duration) UnmarshalText(text []byte) error {
	form := string(text)
	if strings.Trim(form, "0123456789.") == "" {
		form += "s"
	}
	parsed, err := time.ParseDuration(form)
	if err != nil || parsed < 0 || parsed > maxDuration {
		return fmt.Errorf("duration %.40q: %w", text, errDuration)
	}
	*d = Duration(parsed)
	return nil
}

// String returns Go's form without zero parts: "5m", not "5m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Std converts to time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }
