package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"
)

func TestHours_RoundTrip(t *testing.T) {
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

// TestLoad_QuietHoursUnknownZone checks that quiet hours are not taken for hours in UTC because TZ
// was mistyped.
func TestLoad_QuietHoursUnknownZone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte("no zone"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(zone, quiet string, asks bool) error {
		_, err := config.Load(config.Sources{Environ: []string{"TZ=" + zone}, Flags: map[string]string{"quiet_hours": quiet, "contact": "me@example.org"}, SendsRequests: asks})
		return err
	}
	for zone, known := range map[string]bool{
		"": true, ":": true, "UTC": true, "America/Toronto": true, ":America/Toronto": true,
		"Mars/Base": false, "EST5EDT,M3.2.0,M11.1.0": false, "Local": false, "../UTC": false, file: false, file + "s": false,
	} {
		err := load(zone, "22:00-06:00", true)
		if known != (err == nil) {
			t.Errorf("TZ %q: %v", zone, err)
		}
		for _, name := range []string{"$TZ: TZ = ", strconv.Quote(zone), "America/Toronto", "quiet_hours = 22:00-06:00 (--quiet-hours)"} {
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("TZ %q: %v does not name %s", zone, err, name)
			}
		}
		if err := errors.Join(load(zone, "none", true), load(zone, "22:00-06:00", false)); err != nil {
			t.Errorf("TZ %q where no hour counts: %v", zone, err)
		}
	}
}
