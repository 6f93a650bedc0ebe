package courtsim

import "fct-scraper/pkg/contract"

// Salts of the random streams. Each purpose has its own, so that they are independent.
const (
	saltMissing uint64 = iota + 1
	saltFault
	saltFile
	saltDocket
	saltHeaderOnly
	saltPrefix
	saltRelated
	saltSession
	saltCookie
	saltState
	saltValidation
	saltVerification
)

// random is a splitmix64 generator. Unlike math/rand its values are the same in every release of
// Go.
type random uint64

func newRandom(parts ...uint64) random {
	var d random
	for _, part := range parts {
		d ^= random(part)
		d = random(d.next())
	}
	return d
}

func (d *random) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below returns 0 to n-1; n is at least 1.
func (d *random) below(n int) int { return int(d.next() >> 33 % uint64(n)) }

func (d *random) between(from, to int) int { return from + d.below(to-from+1) }

// chance returns true with the given probability: never for 0, always for 1.
func (d *random) chance(share float64) bool { return float64(d.next()>>11)/(1<<53) < share }

func pick[T any](d *random, from []T) *T { return &from[d.below(len(from))] }

// hashText returns the FNV-1a hash of a text.
func hashText(text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return h
}

// randomFor returns the generator of one case for one purpose.
func (c *Simulator) randomFor(salt uint64, id contract.CaseID) random {
	return newRandom(c.opts.Seed, salt, hashText(id.Series), hashText(id.Year), uint64(id.Number))
}
