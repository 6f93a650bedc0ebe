package generator

import (
	"errors"
	"slices"
	"testing"
)

func TestErrorChanged(t *testing.T) {
	t.Parallel()
	logged := make(map[string]string)
	away, rejected := errors.New("away"), errors.New("refused")
	var got []bool
	for _, err := range []error{away, away, rejected, rejected, nil, nil, rejected, away} {
		got = append(got, errorChanged(logged, "one", err))
	}
	if want := []bool{true, false, true, false, false, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !errorChanged(logged, "other", away) {
		t.Error("an error of one name hides that of another")
	}
}
