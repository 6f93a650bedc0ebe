package fetcher_test

import (
	"testing"
	"time"

	"fct-scraper/services/fetcher"
)

func TestHours(t *testing.T) {
	t.Parallel()
	night := fetcher.Hours{From: 22 * time.Hour, To: 6 * time.Hour}
	office := fetcher.Hours{From: 9 * time.Hour, To: 17*time.Hour + 30*time.Minute}
	for _, test := range []struct {
		hours fetcher.Hours
		at    string
		want  time.Duration
	}{
		{fetcher.Hours{}, "03:00:00", 0},
		{night, "21:59:59", 0},
		{night, "22:00:00", 8 * time.Hour},
		{night, "23:59:59", 6*time.Hour + time.Second},
		{night, "00:00:00", 6 * time.Hour},
		{night, "05:59:59", time.Second},
		{night, "06:00:00", 0},
		{office, "08:59:59", 0},
		{office, "09:00:00", 8*time.Hour + 30*time.Minute},
		{office, "17:29:59", time.Second},
		{office, "17:30:00", 0},
	} {
		at, err := time.Parse("15:04:05", test.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.hours.Left(at); got != test.want {
			t.Errorf("%v at %s: %s left, want %s", test.hours, test.at, got, test.want)
		}
	}
}
