//go:build !race

package e2e_test

// raceDetector is whether the program is built with the race detector, as these tests are.
const raceDetector = false
