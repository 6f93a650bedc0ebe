package fcttest

import "testing"

// SkipIfShort skips a slow test with -short, which .ci/run sets under the race detector. It runs
// the tests again without.
func SkipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}

// Soak reports whether long tests run: with the build tag soak and without -short.
func Soak() bool { return soak && !testing.Short() }

// SkipUnlessSoak skips a long test without the build tag soak, so that go test ./... is quick, and
// with -short. task soak runs all of them, .ci/run most.
func SkipUnlessSoak(t *testing.T) {
	t.Helper()
	if !Soak() {
		t.Skip("it takes long: with -tags soak only")
	}
}

// Scaled returns how many numbers a test asks for: long with the build tag soak, else quick. With
// -short it is quick in any case.
func Scaled(quick, long int) int {
	if Soak() {
		return long
	}
	return quick
}

// SkipWithout leaves a test out where a program is not installed that .ci/run installs.
func SkipWithout(t *testing.T, program string, installed bool) {
	t.Helper()
	if !installed {
		t.Skipf("%s is not installed; .ci/run installs it", program)
	}
}
