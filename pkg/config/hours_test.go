package config_test

import (
	"testing"
	"time"

	"fct-scraper/pkg/config"
)

func TestHoursAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Hours{
		"none":        {},
		"22:00-06:30": {From: 22 * time.Hour, To: 6*time.Hour + 30*time.Minute},
		"09:00-17:00": {From: 9 * time.Hour, To: 17 * time.Hour},
	} {
		s, err := config.Load(config.Sources{Now: day, Flags: map[string]string{"quiet_hours": text}})
		if err != nil || s.QuietHours != want || s.QuietHours.String() != text {
			t.Errorf("%s: %v, %v; want %v", text, s, err, want)
		}
	}
	for _, text := range []string{"", "22-6", "24:00-06:00", "06:00-06:00", "6:00-07:00", "06:00-07:60", "06:00 07:00", "06:00-07:00 "} {
		if _, err := config.Load(config.Sources{Now: day, Flags: map[string]string{"quiet_hours": text}}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
