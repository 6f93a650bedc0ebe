package site

// What the tests look at from inside.
var (
	Day        = day
	RetryAfter = retryAfter
	Normalized = normalized
)

// MaxWait is the longest that a site is believed.
const MaxWait = maxWait
