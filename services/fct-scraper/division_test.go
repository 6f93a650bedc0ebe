package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSim_InvalidDivision(t *testing.T) {
	t.Parallel()
	var out, problems bytes.Buffer
	if code := run(t.Context(), []string{"sim", "--division", "x"}, nil, &out, &problems); code != codeUsage || !strings.Contains(problems.String(), `division "x": allowed is any, number or t`) {
		t.Errorf("exit code %d: %s", code, problems.String())
	}
}
