package courtsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Forever as a Fault's Times: the number never heals.
const Forever = -1

// maxTimes is how often a number can get a fault that heals.
const maxTimes = 1000

// Fault is one way in which the court misbehaves.
type Fault struct {
	// Kind is one of FaultKinds.
	Kind string
	// Share is the share of NUMBERS that it hits, 0 to 1; which ones is decided by seed, kind and number alone.
	Share float64
	// Times is how many requests for a case of a hit number get it, counted over all calls, before the number heals: 1
	// to 1000; 0 is 1 or 2, drawn by number; Forever is always. With a Share of 1, 0 is for ever too: a court that is
	// down.
	Times int
}

// The kinds of faults. See FaultKinds.
const (
	kind500       = "500"
	kind502       = "502"
	kind503       = "503"
	kindTimeout   = "timeout"
	kindSlow      = "slow"
	kindDrip      = "drip"
	kindReset     = "reset"
	kindTruncated = "truncated"
	kindHalfJSON  = "halfjson"
	kindHTML      = "html"
	kindEmpty     = "empty"
	kindWAF       = "waf"
	kindChallenge = "challenge"
	kind403       = "403"
	kind429       = "429"
	kindWrong     = "wrong"
	kindGarbage   = "garbage"
)

// FaultKinds are all kinds of faults:
//
//   - 500, 502, 503: that status with an error page; 503 says Retry-After: 1
//   - timeout: no answer until the client goes, at most 10 minutes
//   - slow: the right answer after 25 seconds
//   - drip: the right answer byte by byte, 10 a second, at most 10 minutes
//   - reset: the connection is reset instead of an answer
//   - truncated: Content-Length promises the right answer, half of it comes, the connection ends
//   - halfjson: half of the right answer, well framed
//   - html: an error page under status 200
//   - empty: status 200 and no body at all
//   - waf: the page "Request Rejected" under status 200
//   - challenge: a captcha page under status 200
//   - 403, 429: that status; 429 says Retry-After: 2
//   - wrong: the rows of another number. Rows of parties do not say whose they are: there nobody can tell
//   - garbage: bytes that are no text, said to be JSON
//
// waf, challenge, 403 and 429 are blocks; a court that has sent one goes on answering.
func FaultKinds() []string {
	return []string{
		kind500, kind502, kind503, kindTimeout, kindSlow, kindDrip, kindReset, kindTruncated, kindHalfJSON, kindHTML,
		kindEmpty, kindWAF, kindChallenge, kind403, kind429, kindWrong, kindGarbage,
	}
}

func isBlock(kind string) bool {
	return kind == kindWAF || kind == kindChallenge || kind == kind403 || kind == kind429
}

// ParseFault reads "kind:share", "kind:share:times" or "kind:share:forever", such as 500:0.2, timeout:0.01:forever. Its
// error wraps ErrOptions.
func ParseFault(text string) (Fault, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Fault{}, fmt.Errorf("%w: fault %.60q: allowed is <kind>:<share>, <kind>:<share>:<times> or <kind>:<share>:forever", ErrOptions, text)
	}
	share, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return Fault{}, fmt.Errorf("%w: fault %.60q: share %.40q: allowed is a number from 0 to 1", ErrOptions, text, parts[1])
	}
	fault := Fault{Kind: parts[0], Share: share}
	if len(parts) == 3 {
		if fault.Times, err = parseTimes(parts[2]); err != nil {
			return Fault{}, fmt.Errorf("%w: fault %.60q: %w", ErrOptions, text, err)
		}
	}
	if err := fault.check(); err != nil {
		return Fault{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return fault, nil
}

func parseTimes(text string) (int, error) {
	if text == "forever" {
		return Forever, nil
	}
	times, err := plainNumber(text)
	if err != nil || times < 1 {
		return 0, fmt.Errorf("times %.40q: allowed is 1 to %d, or forever", text, maxTimes)
	}
	return times, nil
}

// String is the form that ParseFault reads.
func (f Fault) String() string {
	text := f.Kind + ":" + strconv.FormatFloat(f.Share, 'g', -1, 64)
	switch f.Times {
	case 0:
		return text
	case Forever:
		return text + ":forever"
	default:
		return text + ":" + strconv.Itoa(f.Times)
	}
}

func (f Fault) check() error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("fault kind %.40q: allowed are %s", f.Kind, strings.Join(FaultKinds(), ", "))
	}
	if !isShare(f.Share) {
		return fmt.Errorf("fault %s: share %v: allowed is a number from 0 to 1", f.Kind, f.Share)
	}
	if f.Times < Forever || f.Times > maxTimes {
		return fmt.Errorf("fault %s: times %d: allowed is 1 to %d, or forever", f.Kind, f.Times, maxTimes)
	}
	return nil
}
