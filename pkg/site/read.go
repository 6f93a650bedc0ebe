package site

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// readCase says what the exchanges for a case mean.
func (p *Profile) readCase(id contract.CaseID, exchanges []contract.Exchange) contract.Classification {
	r := caseReader{profile: p, id: id}
	for i := range exchanges {
		exchange := exchanges[i]
		if found, blocked := p.findBlock(id, exchange); blocked {
			return contract.Classification{
				Verdict: contract.VerdictBlocked, Rule: found.rule, Raw: i, RawType: rawType(exchange.Body),
				Error: fmt.Sprintf("%s call: blocked: %s, status %d", exchange.Call, found, exchange.Status),
			}
		}
		if err := r.add(exchanges, i); err != nil {
			return contract.Classification{
				Verdict: contract.VerdictTransient, Rule: err.rule, Raw: i, RawType: rawType(exchange.Body),
				Error: fmt.Sprintf("%s call: %s", exchange.Call, err), Notes: r.notes,
			}
		}
	}
	return r.result(exchanges)
}

// rawType is the kind of file that a raw answer makes.
func rawType(body []byte) string {
	if startsAsJSON(body) {
		return "json"
	}
	return "html"
}

// result is what all the answers together say.
func (r *caseReader) result(exchanges []contract.Exchange) contract.Classification {
	last := len(exchanges) - 1
	if last < 0 {
		return contract.Classification{Verdict: contract.VerdictTransient, Rule: "exchange", Error: "nothing was asked"}
	}
	reading := contract.Classification{Notes: r.notes, Raw: last}
	why := r.incomplete()
	switch {
	case why != nil:
		reading.Verdict, reading.Rule, reading.Error = contract.VerdictTransient, why.rule, fmt.Sprintf("%s call: %s", r.lastCall, why)
	case r.record != nil && r.disagreement() != "":
		reading.Verdict, reading.Rule, reading.Error = contract.VerdictTransient, "disagree", r.disagreement()
	case r.record != nil:
		r.finish()
		reading.Verdict, reading.Rule, reading.Record, reading.Raw = contract.VerdictSuccess, "record", r.record, r.source
		reading.Notes = r.notes
	case (r.hasProof || len(r.empty) >= r.profile.proofCalls) && len(r.empty) == r.answered:
		reading.Verdict, reading.Rule = contract.VerdictNoRecord, "proof"
	default:
		reading.Verdict, reading.Rule = contract.VerdictTransient, "proof"
		reading.Error = fmt.Sprintf("not there in %d of the %d answers that prove it", len(r.empty), r.profile.proofCalls)
	}
	reading.RawType = rawType(exchanges[reading.Raw].Body)
	return reading
}

// disagreement says which call is against there being a case that another one has shown, where all of them have to agree.
func (r *caseReader) disagreement() string {
	if !r.profile.agree {
		return ""
	}
	if len(r.empty) > 0 {
		return "there is such a case, and not by " + strings.Join(r.empty, ", ")
	}
	for _, c := range r.profile.calls {
		if c.when == whenAlways && !slices.Contains(r.answeredAlways, c.name) {
			return "no answer of " + c.name
		}
	}
	return ""
}

// isOK says whether a status is that of a whole answer: 200, or 203, which a proxy makes of it that has changed something.
// Of the others of its class each says that this is not the whole, or not the answer: accepted, no content, a part.
func isOK(status int) bool {
	return status == http.StatusOK || status == http.StatusNonAuthoritativeInfo
}

// statusError is the error of a status that is not that of a whole answer.
func statusError(status int) error {
	if status == http.StatusProxyAuthRequired {
		return fmt.Errorf("status %d: the proxy asks for credentials", status)
	}
	return fmt.Errorf("status %d", status)
}
