// Package search finds the highest existing number of a series and year with few requests.
package search

import (
	"cmp"
	"math"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// Finding is the knowledge about one number.
type Finding int

// The findings. Unknown is not evidence: a number whose requests all failed may exist.
const (
	Unknown Finding = iota
	Exists
	Absent
)

// Observation is the knowledge about one number and its cost.
type Observation struct {
	Number  int
	Finding Finding
	// FiledOn is the filing date of a record, YYYY-MM-DD, or "" if unknown.
	FiledOn string
	// Requests is the number of requests of this search; 0 for knowledge from before the search.
	Requests int
	// KnownSince is the time of an answer from before the search; zero for an answer of this
	// search.
	KnownSince time.Time
}

// Settings configures a search.
type Settings struct {
	// Year is the year of the series in two digits. Filing dates of other years are ignored; an
	// empty Year accepts all.
	Year string
	// Range limits the numbers that are requested.
	Range contract.Range
	// Budget limits the requests of the search, including retries.
	Budget int
	// MaxRequestsPerAttempt is the maximum number of requests of one attempt; 0 means 2.
	MaxRequestsPerAttempt int
	// PreviousYearMax is the highest number of the previous year, DayOfYear today's day in a year
	// that has not ended; 0 means unknown.
	PreviousYearMax int
	DayOfYear       int
}

// Ending is the reason why a search ended.
type Ending string

// The endings. After every ending except Done, the bound is the highest number confirmed so far.
const (
	Done        Ending = "done"        // no question is worth its requests
	Budget      Ending = "budget"      // the next question could exceed the budget
	Waste       Ending = "waste"       // too many numbers did not exist: max(12, twice the bound)
	Unreachable Ending = "unreachable" // several numbers in a row gave no answer
)

// Bound is the result of a search so far.
type Bound struct {
	// Number is the highest number confirmed to exist, 0 if there is none. FiledOn is its filing
	// date.
	Number  int
	FiledOn string
	// Exact is the probability that no higher number exists, Confidence the probability that none
	// exists more than Tolerance above Number. Both assume that no gap of Tolerance or more numbers
	// lies close below Number, and are at most maxConfidence.
	Exact, Confidence float64
	// Ending is the reason why the search ended, "" while it continues.
	Ending Ending
	// Questions and Requests count what the search used.
	Questions, Requests int
	// Absences are the numbers above Number that were confirmed not to exist, ascending. KnownSince
	// is the time of the oldest such answer from before the search, zero if there is none.
	Absences   []int
	KnownSince time.Time
	// RequestsLeft is the rest of the budget, MaxRequestsPerAttempt the maximum number of requests
	// of one attempt.
	RequestsLeft, MaxRequestsPerAttempt int
}

// Question is a number to request.
type Question struct {
	Number int
	// LikelyAbsent reports that the number probably does not exist.
	LikelyAbsent bool
}

const (
	// maxConfidence is the highest confidence reported, because the model is incomplete.
	maxConfidence = 0.999
	// maxFailuresInRow is the number of consecutive numbers without an answer that ends the search.
	maxFailuresInRow = 3
	// minInformation is the information, in bits per request, that a question must give about where
	// the numbers end.
	minInformation = 0.02
	// minGain is the minimum value of a question per request once the numbers seem to end. Without
	// filing dates, a search takes more questions and each is worth less.
	minGain        = 0.001
	minGainUndated = 0.004
	// After ignoreNearMissesAfter questions, a near miss of the bound is worth no more questions.
	// After ignoreTolerableAfter, only a miss beyond Tolerance is.
	ignoreNearMissesAfter = 35
	ignoreTolerableAfter  = 60
)

// Search is a search for the highest existing number. It is a deterministic function of its
// observations: the same ones lead to the same next question. Their order matters only for the
// ending Unreachable. A Search does no I/O and reads no clock. It is not safe for concurrent use.
type Search struct {
	settings Settings
	model    *hmm
	prior    survival
	today    int
	evidence evidence
	// unanswered holds the numbers without an answer, failuresInRow counts those that came last in
	// a row.
	unanswered                                 map[int]bool
	questions, requests, absent, failuresInRow int
	filedOn                                    map[int]string
	knownSince                                 map[int]time.Time
}

// New starts a search with the evidence that is known already.
func New(settings Settings, known []Observation) *Search {
	s := &Search{
		settings: settings, model: newHMM(), today: settings.DayOfYear,
		unanswered: make(map[int]bool), filedOn: make(map[int]string), knownSince: make(map[int]time.Time),
	}
	if s.today == 0 {
		s.today = yearDays
	}
	s.settings.MaxRequestsPerAttempt = max(s.settings.MaxRequestsPerAttempt, RequestsIfUnexpected)
	s.prior = calendarPrior(settings.PreviousYearMax, s.today)
	known = slices.SortedStableFunc(slices.Values(known),
		func(a, b Observation) int { return cmp.Compare(a.Number, b.Number) })
	for _, answer := range known {
		s.Observe(answer)
	}
	return s
}

// Observe adds an observation to the evidence.
func (s *Search) Observe(a Observation) {
	s.requests += a.Requests
	requested := a.Requests > 0
	if requested {
		s.questions++
	}
	switch a.Finding {
	case Exists:
		s.evidence = s.evidence.with(fact{number: a.Number, exists: true, day: s.dayOfYear(a.FiledOn)})
		s.filedOn[a.Number] = a.FiledOn
	case Absent:
		s.evidence = s.evidence.with(fact{number: a.Number})
		s.knownSince[a.Number] = a.KnownSince
		if requested {
			s.absent++
		}
	default:
		s.unanswered[a.Number] = true
		s.failuresInRow++
		return
	}
	s.failuresInRow = 0
}

// dayOfYear returns the day of the year of a filing date, or 0 if it is in another year or in the
// future.
func (s *Search) dayOfYear(date string) int {
	at, err := time.Parse(time.DateOnly, date)
	if err != nil || s.settings.Year != "" && at.Format("06") != s.settings.Year {
		return 0
	}
	day := at.YearDay()
	if s.settings.DayOfYear == 0 {
		day = min(day, yearDays) // the last day of a leap year
	}
	if day > s.today {
		return 0
	}
	return day
}

// Next returns the next question, or false if the search has ended.
func (s *Search) Next() (Question, bool) {
	c, ending := s.next(s.posterior())
	return Question{Number: c.number, LikelyAbsent: c.exists < 0.5}, ending == ""
}

// Resume resets the count of consecutive failures, because the site may have recovered.
func (s *Search) Resume() { s.failuresInRow = 0 }

// RequestsLeft returns how many requests of the budget are left.
func (s *Search) RequestsLeft() int { return s.settings.Budget - s.requests }

func (s *Search) next(post *posterior) (choice, Ending) {
	switch {
	case s.failuresInRow >= maxFailuresInRow:
		return choice{}, Unreachable
	case len(post.points) == 0:
		return choice{}, Done
	case s.absent >= max(12, 2*post.bound):
		return choice{}, Waste
	}
	ask := func(n int) bool { return n >= s.settings.Range.Start && !s.unanswered[n] }
	c := post.best(informationValue, ask)
	if post.tailProbability(0) < 0.5 || c.gain < minInformation {
		if c = post.best(post.correctionValue(s.relevantMisses()), ask); c.gain < s.minGain(post) {
			return choice{}, s.endingWithoutQuestion(post)
		}
	}
	if s.RequestsLeft() < s.settings.MaxRequestsPerAttempt {
		return choice{}, Budget
	}
	return c, ""
}

// endingWithoutQuestion returns the ending of a search without a question left. It is not Done if
// there is no record and an unanswered number probably exists, or if an unanswered number could
// show that the bound is off by more than Tolerance.
func (s *Search) endingWithoutQuestion(post *posterior) Ending {
	without := func(n int) bool { return s.unanswered[n] }
	if c := post.best(post.correctionValue(anyMiss), without); post.bound == 0 && c.exists >= 0.5 {
		return Unreachable
	}
	if c := post.best(post.correctionValue(missBeyondTolerance), without); c.gain >= s.minGain(post) {
		return Unreachable
	}
	return Done
}

// relevantMisses returns which misses are still worth a question.
func (s *Search) relevantMisses() int {
	switch {
	case s.questions >= ignoreTolerableAfter:
		return missBeyondTolerance
	case s.questions >= ignoreNearMissesAfter:
		return missBeyondNear
	default:
		return anyMiss
	}
}

func (s *Search) minGain(post *posterior) float64 {
	if post.dated {
		return minGain
	}
	return minGainUndated
}

// Result returns the bound found so far.
func (s *Search) Result() Bound {
	post := s.posterior()
	_, ending := s.next(post)
	found := Bound{
		Number: post.bound, FiledOn: s.filedOn[post.bound], Exact: min(maxConfidence, 1-post.tailProbability(0)),
		Confidence: min(maxConfidence, 1-post.tailProbability(Tolerance)),
		Ending:     ending, Questions: s.questions, Requests: s.requests, Absences: []int{},
		RequestsLeft: s.RequestsLeft(), MaxRequestsPerAttempt: s.settings.MaxRequestsPerAttempt,
	}
	if found.Number == 0 && s.settings.Range.Start > 1 { // the end of the numbers below the range is unknown
		found.Exact, found.Confidence = 0, 0
	}
	_, above := s.evidence.split()
	for _, f := range above {
		found.Absences = append(found.Absences, f.number)
		if at := s.knownSince[f.number]; !at.IsZero() && (found.KnownSince.IsZero() || at.Before(found.KnownSince)) {
			found.KnownSince = at
		}
	}
	slices.Sort(found.Absences)
	return found
}

// The cost of a question in requests. The call that confirms the expected answer is made first, so
// another answer takes a second request.
const (
	requestsIfExpected   = 1
	RequestsIfUnexpected = 2
)

// expectedRequests returns the expected cost of a question about a number that exists with this
// probability.
func expectedRequests(exists float64) float64 {
	likely := max(exists, 1-exists)
	return requestsIfExpected*likely + RequestsIfUnexpected*(1-likely)
}

// Tolerance is the acceptable distance between the bound and the highest existing number.
const Tolerance = 200

// nearMiss is a distance to the highest existing number that hardly matters.
const nearMiss = 20

// choice is a number to request. gain is the value of the question per request.
type choice struct {
	number int
	// exists is the probability that the number exists.
	exists float64
	gain   float64
}

// best returns the number with the highest worth per request among those that ask permits. A
// negative gain means that there is none.
func (post *posterior) best(worth func(p point, exists, reached float64) float64, ask func(int) bool) choice {
	best := choice{gain: -1}
	for _, p := range post.points {
		if p.absent || !ask(p.number) {
			continue
		}
		exists, reached := post.probabilities(p)
		if gain := worth(p, exists, reached) / expectedRequests(exists); gain > best.gain {
			best = choice{number: p.number, exists: exists, gain: gain}
		}
	}
	return best
}

// informationValue returns the information, in bits, that the answer gives about where the numbers
// end.
func informationValue(_ point, exists, reached float64) float64 {
	if reached < 1e-12 {
		return 0
	}
	return entropy(exists) - reached*entropy(min(1, exists/reached))
}

func entropy(p float64) float64 {
	if p <= 1e-15 || p >= 1-1e-15 {
		return 0
	}
	return -(p*math.Log2(p) + (1-p)*math.Log2(1-p))
}

// The worth of a record that shows the bound to be too low: by anything, by more than a near miss,
// by more than Tolerance.
const (
	worthAnyMiss         = 0.10
	worthBeyondNear      = 0.25
	worthBeyondTolerance = 0.70
)

// correctionValue returns the worth of a record above the bound, once the numbers seem to end
// there, as a function of a point. misses selects the misses that count.
func (post *posterior) correctionValue(misses int) func(point, float64, float64) float64 {
	return func(p point, exists, _ float64) float64 {
		worth := 0.0
		if misses == anyMiss {
			worth += worthAnyMiss
		}
		if misses <= missBeyondNear && p.number > post.bound+nearMiss {
			worth += worthBeyondNear
		}
		if p.number > post.bound+Tolerance {
			worth += worthBeyondTolerance
		}
		return exists * worth
	}
}

const (
	anyMiss = iota
	missBeyondNear
	missBeyondTolerance
)

// fact is the knowledge about one number. day is the day of the year on which its record was filed,
// 0 if unknown.
type fact struct {
	number int
	exists bool
	day    int
}

// evidence is all facts, ascending, one for each number.
type evidence []fact

func byNumber(f fact, n int) int { return cmp.Compare(f.number, n) }

// with adds a fact, or replaces the fact of the same number.
func (e evidence) with(f fact) evidence {
	at, known := slices.BinarySearchFunc(e, f.number, byNumber)
	if known {
		e[at] = f
		return e
	}
	return slices.Insert(e, at, f)
}

// knows reports whether there is a fact about the number.
func (e evidence) knows(number int) bool {
	_, known := slices.BinarySearchFunc(e, number, byNumber)
	return known
}

// split splits the evidence after the highest existing number.
func (e evidence) split() (upTo, above evidence) {
	for i := len(e); i > 0; i-- {
		if e[i-1].exists {
			return e[:i], e[i:]
		}
	}
	return nil, e
}

// bound returns the highest number known to exist, or the zero fact.
func (e evidence) bound() fact {
	upTo, _ := e.split()
	if len(upTo) == 0 {
		return fact{}
	}
	return upTo[len(upTo)-1]
}

// from returns the facts about number and above.
func (e evidence) from(number int) evidence {
	at, _ := slices.BinarySearchFunc(e, number, byNumber)
	return e[at:]
}
