package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const maxDuration = 10 * 365 * 24 * time.Hour

var errDuration = errors.New("allowed is a number of seconds, or a form such as 90s, 5m or 250ms, up to ten years")

// ParseDuration reads a duration, never negative and at most ten years: a bare number of seconds
// ("300", "0.5") or Go's form ("90s", "5m", "250ms").
func ParseDuration(text string) (time.Duration, error) {
	form := text
	if strings.Trim(form, "0123456789.") == "" {
		form += "s"
	}
	d, err := time.ParseDuration(form)
	if err != nil || d < 0 || d > maxDuration {
		return 0, fmt.Errorf("duration %.40q: %w", text, errDuration)
	}
	return d, nil
}

// FormatDuration returns Go's form without zero parts: "5m", not "5m0s".
func FormatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
