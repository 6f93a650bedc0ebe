package fcttest

import (
	"net"
	"strconv"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

// Site is a simulator with these options.
func Site(t testing.TB, options courtsim.Options) *courtsim.Simulator {
	t.Helper()
	sim, err := courtsim.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

// Truth counts which numbers of IMM-25 a simulator has in a range, and which it has not.
func Truth(sim *courtsim.Simulator, r contract.Range) (exist, missing int) {
	for n := r.Start; n <= r.End; n++ {
		if sim.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}) {
			exist++
		} else {
			missing++
		}
	}
	return exist, missing
}

// Number reads a key of courtsim.Stats.PerNumber.
func Number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Total sums up the calls for one number.
func Total(calls map[string]int) int {
	sum := 0
	for _, times := range calls {
		sum += times
	}
	return sum
}

// Repeated counts the requests that were made more than once, canaries included. requests are the
// calls for each number, as in courtsim.Stats.PerNumber.
func Repeated(requests map[string]map[string]int) int {
	n := 0
	for _, calls := range requests {
		for _, times := range calls {
			n += times - 1
		}
	}
	return n
}

// FreeAddr is a loopback address that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}
