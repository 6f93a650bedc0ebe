//go:build soak

package e2e_test

import (
	"strings"
	"testing"
)

func TestMaxBody_LargerThanBrokerAllows(t *testing.T) {
	t.Parallel()
	sim := startSim(t)
	for _, c := range []struct {
		size string
		code int
	}{{"31MiB", codeCompleted}, {"32MiB", codeUsage}, {"64MiB", codeUsage}} {
		place := newPlace(t, sim, "--end", "3", "--delay-min", "0", "--delay-max", "0", "--max-body", c.size)
		said := didIn(t, nil, c.code, place.args...)
		if c.code == codeUsage && !strings.Contains(said.stderr+said.stdout, "max_body "+c.size) {
			t.Errorf("%s: %s", c.size, said.stderr)
		}
	}
}
