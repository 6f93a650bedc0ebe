// Package prober finds the highest number of a series and year that exists, with few questions.
package prober

import (
	"cmp"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// Finding is what is known of one number.
type Finding int

// The findings. Unknown is no evidence at all: a number whose requests all failed does not lie "past the end".
const (
	Unknown Finding = iota
	Exists
	Absent
)

// Observation is what is known of one number, and what it cost to know it.
type Observation struct {
	Number  int
	Finding Finding
	// FiledOn is the filing day of a record, YYYY-MM-DD, when it is known.
	FiledOn string
	// Requests is how many requests of this search it took; 0 for what was known before.
	Requests int
	// KnownSince is when an answer was given that is older than the search; zero for one of its own.
	KnownSince time.Time
}

// Settings of a search.
type Settings struct {
	// Year is the year of the series in two digits: a day of another year tells nothing. Empty takes every day.
	Year string
	// Range is where the bound is looked for: no number outside of it is asked for.
	Range contract.Range
	// Budget is how many requests the search may take, retries included.
	Budget int
	// MaxRequestsPerAttempt is how many requests one attempt may take at most; 2 when 0.
	MaxRequestsPerAttempt int
	// PreviousYearMax is the highest number of the year before, DayOfYear today's day in a year that is not over; 0 is unknown.
	PreviousYearMax int
	DayOfYear       int
}

// Ending is why a search ended.
type Ending string

// The endings. All but Done leave the bound the best that was confirmed.
const (
	Done        Ending = "done"        // no question is worth its requests
	Budget      Ending = "budget"      // the next question could pass the budget
	Waste       Ending = "waste"       // too many numbers did not exist: max(12, twice the bound)
	Unreachable Ending = "unreachable" // several numbers in a row gave no answer
)

// Bound is what a search has found so far.
type Bound struct {
	// Number is the highest number confirmed to exist; 0 when there is none. FiledOn is its filing day.
	Number  int
	FiledOn string
	// Exact is the chance that no higher number exists, Confidence that none exists that is more than Tolerance higher.
	// Both hold on the condition that no gap of Tolerance or more numbers lies close under the highest number, and are
	// mostSure at most.
	Exact, Confidence float64
	// Ending is why the search ended; empty while it goes on.
	Ending Ending
	// Questions and Requests are what the search took.
	Questions, Requests int
	// Absences are the numbers above Number that were confirmed not to exist, ascending. KnownSince is the time of the oldest of
	// these answers that is older than the search; zero when none is.
	Absences   []int
	KnownSince time.Time
	// RequestsLeft is how many requests of the budget are left, Dear how many one attempt may take.
	RequestsLeft, MaxRequestsPerAttempt int
}

// Question is a number to ask for.
type Question struct {
	Number int
	// LikelyAbsent says that the number probably does not exist.
	LikelyAbsent bool
}

const (
	// maxConfidence is the highest confidence that is stated: the model does not know everything.
	maxConfidence = 0.999
	// maxFailuresInRow is how many numbers in a row may give no answer.
	maxFailuresInRow = 3
	// minInformation is what a question must tell about where the numbers end.
	minInformation = 0.02
	// minGain is what a question must be worth once the numbers seem to end; where no filing days help, a search takes
	// more questions, and each is worth less.
	minGain        = 0.001
	minGainUndated = 0.004
	// patience is after how many questions a small miss is worth no more questions, and after how many only one beyond
	// the tolerance is.
	patience     = 35
	lastPatience = 60
)

// Search is a search for the highest number. It is a function of the answers: fed with the same ones, it asks the same
// next question; their order matters only to Unreachable. It does no I/O and looks at no clock; it is not for several goroutines.
type Search struct {
	settings Settings
	model    *hmm
	prior    survival
	today    int
	evidence evidence
	// unanswered are the numbers without an answer, failing is how many of them came last in a row.
	unanswered                                 map[int]bool
	questions, requests, absent, failuresInRow int
	filedOn                                    map[int]string
	knownSince                                 map[int]time.Time
}

// New begins a search with what is known already.
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
	known = slices.SortedStableFunc(slices.Values(known), func(a, b Observation) int { return cmp.Compare(a.Number, b.Number) })
	for _, answer := range known {
		s.Observe(answer)
	}
	return s
}

// Observe takes in an answer.
func (s *Search) Observe(a Observation) {
	s.requests += a.Requests
	asked := a.Requests > 0
	if asked {
		s.questions++
	}
	switch a.Finding {
	case Exists:
		s.evidence = s.evidence.with(fact{number: a.Number, exists: true, day: s.dayOfYear(a.FiledOn)})
		s.filedOn[a.Number] = a.FiledOn
	case Absent:
		s.evidence = s.evidence.with(fact{number: a.Number})
		s.knownSince[a.Number] = a.KnownSince
		if asked {
			s.absent++
		}
	default:
		s.unanswered[a.Number] = true
		s.failuresInRow++
		return
	}
	s.failuresInRow = 0
}

// dayOfYear is the day of a date in the year of the search; 0 when it does not lie in it, or lies ahead.
func (s *Search) dayOfYear(date string) int {
	at, err := time.Parse(time.DateOnly, date)
	if err != nil || s.settings.Year != "" && at.Format("06") != s.settings.Year {
		return 0
	}
	day := at.YearDay()
	if s.settings.DayOfYear == 0 {
		day = min(day, yearDays) // a leap year's last day
	}
	if day > s.today {
		return 0
	}
	return day
}

// Next is the question to ask now; false when the search has ended.
func (s *Search) Next() (Question, bool) {
	c, ending := s.next(s.posterior())
	return Question{Number: c.number, LikelyAbsent: c.exists < 0.5}, ending == ""
}

// Resume forgets how many numbers in a row gave no answer: the site may have recovered.
func (s *Search) Resume() { s.failuresInRow = 0 }

// RequestsLeft is how many requests of the budget are left.
func (s *Search) RequestsLeft() int { return s.settings.Budget - s.requests }

func (s *Search) next(b *posterior) (choice, Ending) {
	switch {
	case s.failuresInRow >= maxFailuresInRow:
		return choice{}, Unreachable
	case len(b.points) == 0:
		return choice{}, Done
	case s.absent >= max(12, 2*b.bound):
		return choice{}, Waste
	}
	ask := func(n int) bool { return n >= s.settings.Range.Start && !s.unanswered[n] }
	c := b.best(informationValue, ask)
	if b.tailProbability(0) < 0.5 || c.gain < minInformation {
		if c = b.best(b.correctionValue(s.relevantMisses()), ask); c.gain < s.minGain(b) {
			return choice{}, s.endingWithoutQuestion(b)
		}
	}
	if s.RequestsLeft() < s.settings.MaxRequestsPerAttempt {
		return choice{}, Budget
	}
	return c, ""
}

// endingWithoutQuestion is how a search ends that has no question left. It is not done when no record was seen and a number without an answer
// probably has one, nor when such a number could show that the bound misses more than it may.
func (s *Search) endingWithoutQuestion(b *posterior) Ending {
	without := func(n int) bool { return s.unanswered[n] }
	if c := b.best(b.correctionValue(anyMiss), without); b.bound == 0 && c.exists >= 0.5 {
		return Unreachable
	}
	if c := b.best(b.correctionValue(missBeyondTolerance), without); c.gain >= s.minGain(b) {
		return Unreachable
	}
	return Done
}

// relevantMisses is which misses are still worth a question.
func (s *Search) relevantMisses() int {
	switch {
	case s.questions >= lastPatience:
		return missBeyondTolerance
	case s.questions >= patience:
		return missBeyondNear
	default:
		return anyMiss
	}
}

func (s *Search) minGain(b *posterior) float64 {
	if b.dated {
		return minGain
	}
	return minGainUndated
}

// Result is what the search has found.
func (s *Search) Result() Bound {
	b := s.posterior()
	_, ending := s.next(b)
	found := Bound{
		Number: b.bound, FiledOn: s.filedOn[b.bound], Exact: min(maxConfidence, 1-b.tailProbability(0)), Confidence: min(maxConfidence, 1-b.tailProbability(Tolerance)),
		Ending: ending, Questions: s.questions, Requests: s.requests, Absences: []int{},
		RequestsLeft: s.RequestsLeft(), MaxRequestsPerAttempt: s.settings.MaxRequestsPerAttempt,
	}
	if found.Number == 0 && s.settings.Range.Start > 1 { // where the numbers end below the range is not known
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
