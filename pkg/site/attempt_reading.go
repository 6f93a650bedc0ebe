package site

import (
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
)

// robotsCall names the exchanges that were made for a site's robots.txt. They lie before those for the case by whose attempt
// it was read.
const robotsCall = "robots.txt"

// countRobots is how many of the exchanges were made for robots.txt.
func countRobots(exchanges []contract.Exchange) int {
	n := 0
	for n < len(exchanges) && exchanges[n].Call == robotsCall {
		n++
	}
	return n
}

// Read says what the exchanges of one attempt mean. The list is closed: what is not positively a record, a proven
// no-record or a block is transient. It depends on its arguments alone.
func (p *Profile) Read(id contract.CaseID, exchanges []contract.Exchange) contract.Classification {
	n := countRobots(exchanges)
	if n < len(exchanges) || n == 0 { // it was read, and what it says was obeyed
		reading := p.readCase(id, exchanges[n:])
		reading.Raw += n
		return reading
	}
	last := exchanges[n-1]
	reading := contract.Classification{
		Verdict: contract.VerdictTransient, Rule: "robots", Raw: n - 1, RawType: rawType(last.Body),
		Error: "robots.txt was not read, so nothing may be asked: " + exchangeResult(last),
	}
	if found, blocked := p.robotsBlocked(last); blocked {
		reading.Verdict, reading.Rule = contract.VerdictBlocked, found.rule
		reading.Error = fmt.Sprintf("reading robots.txt: blocked: %s, status %d", found, last.Status)
	}
	return reading
}

// exchangeResult is what came of an exchange, in words.
func exchangeResult(x contract.Exchange) string {
	if x.Error != "" {
		return x.Error
	}
	return fmt.Sprintf("status %d", x.Status)
}

// Blocked says whether the exchanges of one attempt show that the site told us to go away, by which rule, and for how long if
// the site said so; wait is 0 when it did not, and never more than a day. It agrees with Read.
func (p *Profile) Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool) {
	return p.attemptBlocked(id, exchanges, now, 0)
}

// attemptBlocked is Blocked where a Retry-After that cannot be read means no less than least.
func (p *Profile) attemptBlocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time, least time.Duration,
) (rule string, wait time.Duration, blocked bool) {
	n := countRobots(exchanges)
	if n < len(exchanges) || n == 0 {
		return p.caseBlocked(id, exchanges[n:], now, least)
	}
	found, blocked := p.robotsBlocked(exchanges[n-1])
	if !blocked {
		return "", 0, false
	}
	return found.rule, retryAfter(exchanges[n-1].RetryAfter, now, least), true
}
