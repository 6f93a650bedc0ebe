package site

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

// caseReader gathers what the answers of one attempt say.
type caseReader struct {
	profile *Profile
	id      contract.CaseID
	record  *contract.Record
	// source is the index of the exchange that showed the case first.
	source int
	// empty are the calls that said, well-formed, that there is no such case; proven, that one of them is proof by itself.
	empty    []string
	hasProof bool
	notes    []string
	// answered counts what calls were answered with, the pages of one as one; always are those of the calls that are made
	// always, when all of them are needed.
	answered       int
	answeredAlways []string
	// foreignRows says that a page before the case's own had rows of other cases.
	foreignRows bool
	// lastCall is the name of the last one that was read, so how far its pages were, inputs the last page's hidden inputs.
	lastCall string
	paging   paging
	inputs   [][2]string
	// stale says that the last answer was none because the hidden inputs were too old; wasted counts those.
	stale        bool
	staleAnswers int
}

// add reads the exchange of that index, or says by which rule it is not usable. It leaves aside what only led to another
// one: redirects, the page with the hidden inputs, and the first answer that these were too old.
func (r *caseReader) add(exchanges []contract.Exchange, index int) *answerError {
	exchange := exchanges[index]
	if exchange.Error != "" {
		return &answerError{"exchange", errors.New(exchange.Error)}
	}
	if wasFollowed(exchanges, index) {
		return nil
	}
	if r.profile.tokens != nil && exchange.Call == tokensCall {
		_, why := r.profile.tokens.readInputs(exchange)
		return why
	}
	c := r.profile.callByName(exchange.Call)
	if c == nil {
		return &answerError{"call", fmt.Errorf("the profile %s has no such call", r.profile.Name)}
	}
	if r.lastCall != c.name {
		if why := r.incomplete(); why != nil {
			return why
		}
		r.lastCall = c.name
	}
	if r.paging.next == "" { // the last call is answered whole
		r.paging = paging{}
	}
	t, why := c.read(r.id, exchange, r.paging)
	if why != nil {
		return r.checkStale(c, exchange, why)
	}
	r.stale, r.paging, r.inputs = false, t.paging, t.inputs
	return r.addTable(c, t, index, exchange)
}

// checkStale looks whether an answer is no answer because the hidden inputs were too old; why is what else is wrong with it.
func (r *caseReader) checkStale(c *call, exchange contract.Exchange, why *answerError) *answerError {
	rule, worn := r.profile.tokens.findStale(exchange)
	if !worn || c.method != http.MethodPost {
		return why
	}
	r.stale, r.inputs = true, nil
	if r.staleAnswers++; r.staleAnswers > 1 {
		return &answerError{"token", fmt.Errorf("stale twice: %s", rule)}
	}
	return nil
}

// incomplete says what the last call that was read still lacks.
func (r *caseReader) incomplete() *answerError {
	switch {
	case r.stale:
		return &answerError{"token", errors.New("stale, and not asked again")}
	case r.paging.next != "":
		return &answerError{"pages", fmt.Errorf("not on the first %d pages, and there are more", r.paging.pages)}
	default:
		return nil
	}
}

// addTable takes the rows of a call, or of one of its pages.
func (r *caseReader) addTable(c *call, t table, index int, exchange contract.Exchange) *answerError {
	if len(t.foreign) > 0 {
		r.note("other-rows", t.foreignCases())
	}
	if len(t.rows) == 0 && t.unrelated && c.gives != partyRows {
		return &answerError{"other-rows", fmt.Errorf("rows of other cases alone: %.100q", t.foreignCases())}
	}
	if t.paging.next != "" {
		r.foreignRows = r.foreignRows || len(t.foreign) > 0
		return nil
	}
	r.answered++
	if r.profile.agree && c.when == whenAlways {
		r.answeredAlways = append(r.answeredAlways, c.name)
	}
	switch {
	case c.gives == partyRows:
		r.addParties(c, t)
	case len(t.rows) > 0:
		if c.otherQuery != nil && slices.Contains(r.empty, c.name) {
			r.note("other-query", c.name)
		}
		r.addRows(c, t, index, exchange)
	case !slices.Contains(r.empty, c.name):
		r.empty, r.hasProof = append(r.empty, c.name), r.hasProof || c.proves
	}
	return nil
}

// addRows puts the case's rows into the record.
func (r *caseReader) addRows(c *call, t table, index int, exchange contract.Exchange) {
	if r.record == nil {
		r.source = index
		r.record = &contract.Record{
			Version: contract.RecordVersion, CaseID: r.id, Docket: []contract.DocketEntry{},
			FetchedAt: exchange.StartedAt.UTC(), Source: exchange.URL,
		}
	}
	x := extraction{zone: r.profile.zone}
	if c.gives == entryRows {
		r.record.Docket = slices.Grow(r.record.Docket, len(t.rows))
	}
	for _, row := range t.rows {
		x.header(&r.record.Header, c.header, row)
		if c.gives != entryRows {
			continue
		}
		if entry := x.entry(c.entry, row); entry.Entry != 0 || entry.Text != "" || entry.Document != 0 {
			r.record.Docket = append(r.record.Docket, entry)
		}
	}
	if len(t.foreign) > 0 || r.foreignRows {
		r.flag("other-rows")
	}
	if c.page != nil && c.gives == headerRows && len(t.rows) > 1 { // nothing on a page says what tells them apart
		r.flag("several-rows")
		r.note("several-rows", strconv.Itoa(len(t.rows)))
	}
	if divisions := c.divisions(t); len(divisions) > 1 {
		r.flag("several-divisions")
		r.note("several-divisions", strings.Join(divisions, " "))
	}
	r.addBadValues(x)
}

func (r *caseReader) addParties(c *call, t table) {
	if r.record == nil {
		return
	}
	x := extraction{zone: r.profile.zone}
	for _, row := range t.rows {
		if party := x.party(c.party, row); party.Name != "" {
			r.record.Parties = append(r.record.Parties, party)
		}
	}
	r.addBadValues(x)
}

// finish puts the docket in order and says what is odd about it.
func (r *caseReader) finish() {
	docket := sortedUnique(r.record.Docket)
	if len(docket) < len(r.record.Docket) {
		r.flag("duplicate-rows")
		r.note("duplicate-rows", strconv.Itoa(len(r.record.Docket)-len(docket)))
	}
	r.record.Docket, r.record.Entries = docket, len(docket)
	if len(docket) == 0 {
		r.flag(contract.FlagHeaderOnly)
		r.note(contract.FlagHeaderOnly, "")
	}
}

// addBadValues flags the fields whose value was left out because it made no sense, and notes the value.
func (r *caseReader) addBadValues(x extraction) {
	for _, bad := range x.bad {
		r.flag("bad-value:" + bad.field)
		r.note("bad-value:"+bad.field, bad.value)
	}
}

// note says what is odd in a form that fits a line of the attempts.
func (r *caseReader) note(name, value string) {
	if value != "" {
		name += fmt.Sprintf(": %.200q", value)
	}
	if !slices.Contains(r.notes, name) {
		r.notes = append(r.notes, name)
	}
}

// flag marks the record.
func (r *caseReader) flag(name string) {
	if !slices.Contains(r.record.Flags, name) {
		r.record.Flags = append(r.record.Flags, name)
	}
}

// sortedUnique is a docket in the court's order, without the entries that were there twice.
func sortedUnique(docket []contract.DocketEntry) []contract.DocketEntry {
	inOrder := func(a, b contract.DocketEntry) int { return a.Entry - b.Entry }
	if !slices.IsSortedFunc(docket, inOrder) {
		slices.SortStableFunc(docket, inOrder)
	}
	unique := docket[:0]
	var seen map[contract.DocketEntry]bool // those of one number; entries without a number can be many
	for i, entry := range docket {
		switch {
		case i == 0 || entry.Entry != unique[len(unique)-1].Entry:
			seen = nil
		case seen == nil:
			seen = map[contract.DocketEntry]bool{unique[len(unique)-1]: true}
		}
		if seen[entry] {
			continue
		}
		if seen != nil {
			seen[entry] = true
		}
		unique = append(unique, entry)
	}
	return unique
}
