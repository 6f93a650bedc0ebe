package courtsim

import "fct-scraper/pkg/contract"

// What is decided by dice. Each has its own, so that none disturbs another.
const (
	saltHole uint64 = iota + 1
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

// dice are thrown by a fixed rule (splitmix64): the same from every release of Go and on every machine, which math/rand
// does not promise.
type dice uint64

func throw(parts ...uint64) dice {
	var d dice
	for _, part := range parts {
		d ^= dice(part)
		d = dice(d.next())
	}
	return d
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below is 0 to n-1; n is at least 1.
func (d *dice) below(n int) int { return int(d.next() >> 33 % uint64(n)) }

// between is from to to, both included.
func (d *dice) between(from, to int) int { return from + d.below(to-from+1) }

// chance is true with that probability: never with 0, always with 1.
func (d *dice) chance(share float64) bool { return float64(d.next()>>11)/(1<<53) < share }

func pick[T any](d *dice, from []T) *T { return &from[d.below(len(from))] }

// textSeed is a text as a seed (FNV-1a).
func textSeed(text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return h
}

// diceFor are the dice of one case for one purpose.
func (c *Court) diceFor(salt uint64, id contract.CaseID) dice {
	return throw(c.opts.Seed, salt, textSeed(id.Series), textSeed(id.Year), uint64(id.Number))
}
