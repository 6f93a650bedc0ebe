package runtime

import (
	"testing"
)

func TestServicesAPI_Version(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"v1.2.3": "1.2.3", "1.2.3-rc.1": "1.2.3-rc.1", "devel": "0.0.0+devel", "v0.0.0-20261125143550-3837dc3b1c5a+dirty": "0.0.0-20261125143550-3837dc3b1c5a+dirty",
		"": "0.0.0+devel", "v1.2": "0.0.0+1-2",
	} {
		if got := semverOf(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
