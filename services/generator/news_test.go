package generator

import (
	"errors"
	"slices"
	"testing"
)

func TestErrorChanged(t *testing.T) {
	t.Parallel()
	told := make(map[string]string)
	away, refused := errors.New("away"), errors.New("refused")
	var got []bool
	for _, err := range []error{away, away, refused, refused, nil, nil, refused, away} {
		got = append(got, errorChanged(told, "one", err))
	}
	if want := []bool{true, false, true, false, false, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !errorChanged(told, "other", away) {
		t.Error("what is told of one consumer is not told of another")
	}
}
