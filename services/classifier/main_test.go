package classifier_test

import (
	"testing"

	"fct-scraper/pkg/fcttest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	fcttest.RareGC()
	goleak.VerifyTestMain(m)
}
