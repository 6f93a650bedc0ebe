package site_test

import (
	"strings"
	"testing"

	"fct-scraper/pkg/site"
)

// A header of a profile may be a token: no message about the file repeats it.
func TestHeadersAreNotRepeatedInErrors(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		`Bearer canary`, `canary`, `"canary\q"`, `"Bearer canary`, `["canary"]`, `"can\u0007ary"`, `"canary\n"`, `"canary{canary1}"`, `"{Canary}"`, `'''canary`,
	} {
		_, err := site.Parse([]byte("name = \"x\"\ntime_zone = \"UTC\"\n[headers]\nAuthorization = " + value + "\n"))
		wantProfileError(t, err)
		if text := strings.ToLower(err.Error()); strings.Contains(text, "canary") || !strings.Contains(text, "authorization") {
			t.Errorf("%s: %v; want the header's name and not its value", value, err)
		}
	}
}
