package site

import (
	"bytes"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// maxWait is the longest that a site is believed when it says for how long to stay away.
const maxWait = 24 * time.Hour

// searched is how much of an answer is searched for the texts of block pages; those are short pages.
const searched = 256 << 10

// Blocked says whether the exchanges show that the site told us to go away, by which rule, and for how long if the site
// said so.
func (p *Profile) Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool) {
	for _, exchange := range exchanges {
		if rule, blocked := p.blockedBy(id, exchange); blocked {
			return rule, retryAfter(exchange.RetryAfter, now), true
		}
	}
	return "", 0, false
}

// blockedBy names the rule that finds a block in an exchange. The texts count only in an answer that is not what the
// call should give: a docket may well speak of a request that was rejected.
func (p *Profile) blockedBy(id contract.CaseID, exchange contract.Exchange) (string, bool) {
	if exchange.Status == 0 {
		return "", false
	}
	body := bytes.ToLower(exchange.Body[:min(len(exchange.Body), searched)])
	for _, rule := range p.blocks {
		if slices.Contains(rule.status, exchange.Status) {
			return rule.name, true
		}
		for _, text := range rule.text {
			if !bytes.Contains(body, []byte(text)) {
				continue
			}
			if c := p.callNamed(exchange.Call); c != nil {
				if _, err := c.read(id, exchange); err == nil {
					return "", false
				}
			}
			return rule.name, true
		}
	}
	return "", false
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3). What makes no sense, or says "now", is no word at all: 0. It is
// never more than maxWait.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if math.IsNaN(seconds) || seconds <= 0 {
			return 0
		}
		return time.Duration(min(seconds, maxWait.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0
	}
	return min(at.Sub(now), maxWait)
}
