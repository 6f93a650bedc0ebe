package fold

import (
	"regexp"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// causeCount counts the failed numbers of one cause, with the first of them as a sample.
type causeCount struct {
	contract.ErrorSample
	Cause string `json:"cause"`
}

// caseSpecific matches what differs between errors of one cause, and also status codes, which
// causeOf keeps.
var caseSpecific = regexp.MustCompile(`(?i)status \d{3}\b` +
	`|"(?:[^"\\]|\\.)*(?:"|$)` + // quoted text of the site
	`|\b[A-Z]{1,5}-\d+-\d{2}\b` + // case ids
	`|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b` + // UUIDs and digests
	`|\[[0-9a-f:.]+\](?::\d+)?|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}` + // IPv6 addresses
	`|(?:\d+(?:[.,:]\d+)*(?:[nµm]?s\b|[mh]|\b)?)+`) // IPv4 addresses, sizes, durations and other numbers

// causeOf returns an error's text without the parts that are specific to a case: numbers,
// addresses, sizes, quoted text.
func causeOf(text string) string {
	return caseSpecific.ReplaceAllStringFunc(text, func(part string) string {
		if strings.HasPrefix(strings.ToLower(part), "status ") {
			return part
		}
		return "#"
	})
}

// countFailure counts a failed number under its cause. Causes beyond those that a report shows are
// counted as one.
func (t *Tally) countFailure(sample contract.ErrorSample) {
	sample.Count = 1
	cause := causeOf(sample.Error)
	at := slices.IndexFunc(t.Errors, func(f causeCount) bool { return f.Cause == cause })
	last := contract.MaxErrorSamples - 1
	switch {
	case at >= 0:
		t.Errors[at].Count++
	case len(t.Errors) <= last:
		t.Errors = append(t.Errors, causeCount{sample, cause})
	default:
		if other := &t.Errors[last]; other.Cause != "" {
			other.Cause, other.Error = "", "other causes, such as: "+other.Error
		}
		t.Errors[last].Count++
	}
}

// ErrorSamples returns the failed numbers by cause, the most frequent one first.
func (t *Tally) ErrorSamples() []contract.ErrorSample {
	samples := make([]contract.ErrorSample, 0, len(t.Errors))
	for _, f := range t.Errors {
		samples = append(samples, f.ErrorSample)
	}
	slices.SortStableFunc(samples, func(a, b contract.ErrorSample) int { return b.Count - a.Count })
	return samples
}
