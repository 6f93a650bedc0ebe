package site

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// robotsCall is the call name of requests for robots.txt. They precede the exchanges of the attempt
// that triggered them.
const robotsCall = "robots.txt"

// countRobots returns how many of the leading exchanges fetched robots.txt.
func countRobots(exchanges []contract.Exchange) int {
	n := 0
	for n < len(exchanges) && exchanges[n].Call == robotsCall {
		n++
	}
	return n
}

// Read decides what the exchanges of one attempt mean. Anything that is not clearly a record, a
// proven no-record or a block is transient. The result depends only on the arguments. The texts of a
// record may refer to the bodies of the exchanges, which must not change while the record is used.
func (p *Profile) Read(id contract.CaseID, exchanges []contract.Exchange) contract.Classification {
	n := countRobots(exchanges)
	if n < len(exchanges) || n == 0 { // robots.txt was read and allowed the attempt
		reading := p.readCase(id, exchanges[n:])
		reading.Raw += n
		return reading
	}
	last, unreachable := exchanges[n-1], ErrRobotsUnreachable.Error()+": "
	reading := contract.Classification{
		Verdict: contract.VerdictTransient, Rule: "robots", Raw: n - 1, RawType: rawType(last.Body),
		Error: unreachable + strings.TrimPrefix(cmp.Or(last.Error, fmt.Sprintf("status %d", last.Status)), unreachable),
	}
	if found, blocked := p.robotsBlocked(last); blocked {
		reading.Verdict, reading.Rule = contract.VerdictBlocked, found.rule
		reading.Error = fmt.Sprintf("reading robots.txt: blocked: %s, status %d", found, last.Status)
	}
	return reading
}

// Blocked reports whether the exchanges of one attempt show a block, which rule found it, and the
// wait that the site requested: 0 if it requested none, at most a day. It agrees with Read.
func (p *Profile) Blocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time,
) (rule string, wait time.Duration, blocked bool) {
	return p.attemptBlocked(id, exchanges, now, 0)
}

// attemptBlocked is Blocked with a minimum wait for a Retry-After that cannot be read.
func (p *Profile) attemptBlocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time, minWait time.Duration,
) (rule string, wait time.Duration, blocked bool) {
	n := countRobots(exchanges)
	if n < len(exchanges) || n == 0 {
		return p.caseBlocked(id, exchanges[n:], now, minWait)
	}
	found, blocked := p.robotsBlocked(exchanges[n-1])
	if !blocked {
		return "", 0, false
	}
	return found.rule, retryAfter(exchanges[n-1].RetryAfter, now, minWait), true
}

// readCase decides what the exchanges for a case mean.
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

// rawType returns the file type for storing a raw response.
func rawType(body []byte) string {
	if startsAsJSON(body) {
		return "json"
	}
	return "html"
}

// result decides what all responses together mean.
func (r *caseReader) result(exchanges []contract.Exchange) contract.Classification {
	last := len(exchanges) - 1
	if last < 0 {
		return contract.Classification{Verdict: contract.VerdictTransient, Rule: "exchange", Error: "no request was made"}
	}
	reading := contract.Classification{Notes: r.notes, Raw: last}
	failure := r.incomplete()
	switch {
	case failure != nil:
		reading.Verdict, reading.Rule, reading.Error = contract.VerdictTransient, failure.rule, fmt.Sprintf("%s call: %s", r.lastCall, failure)
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
		reading.Error = fmt.Sprintf("%d of %d required answers report that there is no such case", len(r.empty), r.profile.proofCalls)
	}
	reading.RawType = rawType(exchanges[reading.Raw].Body)
	return reading
}

// disagreement describes which call contradicts a case that another call has shown, for a profile
// whose calls have to agree.
func (r *caseReader) disagreement() string {
	if !r.profile.agree {
		return ""
	}
	if len(r.empty) > 0 {
		return "shown by another call, but not by " + strings.Join(r.empty, ", ")
	}
	for _, c := range r.profile.calls {
		if c.when == whenAlways && !slices.Contains(r.answeredAlways, c.name) {
			return "no answer from " + c.name
		}
	}
	return ""
}

// isOK reports whether a status is that of a complete response: 200, or 203 from a proxy that
// changed something. The other 2xx statuses mean that the response is elsewhere, later or partial.
func isOK(status int) bool {
	return status == http.StatusOK || status == http.StatusNonAuthoritativeInfo
}

// statusError returns the error for a status that is not that of a complete response.
func statusError(status int) error {
	if status == http.StatusProxyAuthRequired {
		return fmt.Errorf("status %d: the proxy asks for credentials", status)
	}
	return fmt.Errorf("status %d", status)
}

// caseReader collects what the responses of one attempt say.
type caseReader struct {
	profile *Profile
	id      contract.CaseID
	record  *contract.Record
	// source is the index of the first exchange that showed the case.
	source int
	// empty are the calls that reported, well-formed, that there is no such case; hasProof is set
	// if one of them is proof by itself.
	empty    []string
	hasProof bool
	notes    []string
	// answered counts the answered calls, with all pages of a call as one. answeredAlways are the
	// calls with when = "always" among them, if the profile needs all of those.
	answered       int
	answeredAlways []string
	// foreignRows is set if a page before the case's own had rows of other cases.
	foreignRows bool
	// lastCall is the name of the last call read, paging the state of its pages, inputs the hidden
	// inputs of the last page.
	lastCall string
	paging   paging
	inputs   [][2]string
	// stale is set if the last response only meant that the hidden inputs were stale;
	// staleResponses counts such responses.
	stale          bool
	staleResponses int
}

// add reads the exchange at index, or returns why it cannot be used. It skips exchanges that only
// led to another one: redirects, the page with the hidden inputs, and the first response to stale
// inputs.
func (r *caseReader) add(exchanges []contract.Exchange, index int) *responseError {
	exchange := exchanges[index]
	if exchange.Error != "" {
		return &responseError{"exchange", errors.New(exchange.Error)}
	}
	if wasFollowed(exchanges, index) {
		return nil
	}
	if r.profile.tokens != nil && exchange.Call == tokensCall {
		_, failure := r.profile.tokens.readInputs(exchange)
		return failure
	}
	c := r.profile.callByName(exchange.Call)
	if c == nil {
		return &responseError{"call", fmt.Errorf("the profile %s has no such call", r.profile.Name)}
	}
	if r.lastCall != c.name {
		if failure := r.incomplete(); failure != nil {
			return failure
		}
		r.lastCall = c.name
	}
	if r.paging.next == "" { // the last call is complete
		r.paging = paging{}
	}
	parser := r.profile.parser()
	defer r.profile.release(parser)
	t, failure := c.read(parser, r.id, exchange, r.paging)
	if failure != nil {
		return r.checkStale(c, exchange, failure)
	}
	r.stale, r.paging, r.inputs = false, t.paging, t.inputs
	return r.addTable(c, t, index, exchange)
}

// checkStale returns failure, unless the response only means that the hidden inputs were stale for
// the first time.
func (r *caseReader) checkStale(c *call, exchange contract.Exchange, failure *responseError) *responseError {
	rule, stale := r.profile.tokens.findStale(exchange)
	if !stale || c.method != http.MethodPost {
		return failure
	}
	r.stale, r.inputs = true, nil
	if r.staleResponses++; r.staleResponses > 1 {
		return &responseError{"token", fmt.Errorf("stale twice: %s", rule)}
	}
	return nil
}

// incomplete returns what the last call still lacks, or nil.
func (r *caseReader) incomplete() *responseError {
	switch {
	case r.stale:
		return &responseError{"token", errors.New("stale inputs, and no new request")}
	case r.paging.next != "":
		return &responseError{"pages", fmt.Errorf("not on the first %d pages, and there are more", r.paging.pages)}
	default:
		return nil
	}
}

// addTable adds the rows of a call, or of one of its pages.
func (r *caseReader) addTable(c *call, t table, index int, exchange contract.Exchange) *responseError {
	if len(t.foreign) > 0 {
		r.note("other-rows", t.foreignCases())
	}
	if len(t.rows) == 0 && t.unrelated && c.gives != partyRows {
		return &responseError{"other-rows", fmt.Errorf("only rows of other cases: %.100q", t.foreignCases())}
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

func (r *caseReader) addRows(c *call, t table, index int, exchange contract.Exchange) {
	if r.record == nil {
		r.source = index
		r.record = &contract.Record{
			Version: contract.RecordVersion, CaseID: r.id, Docket: []contract.DocketEntry{}, Flags: []string{},
			FetchedAt: exchange.StartedAt.UTC(), Source: exchange.URL,
		}
	}
	x := extraction{zone: r.profile.zone}
	if c.gives == entryRows {
		r.record.Docket = slices.Grow(r.record.Docket, len(t.rows))
	}
	for _, row := range t.rows {
		x.fill(&r.record.Header, c.header, row)
		if c.gives != entryRows {
			continue
		}
		last := len(r.record.Docket)
		r.record.Docket = append(r.record.Docket, contract.DocketEntry{})
		entry := &r.record.Docket[last]
		if x.fill(entry, c.entry, row); entry.EntryNumber == 0 && entry.Text == "" && entry.DocumentNumber == 0 {
			r.record.Docket = r.record.Docket[:last]
		}
	}
	if len(t.foreign) > 0 || r.foreignRows {
		r.flag("other-rows")
	}
	if c.page != nil && c.gives == headerRows && len(t.rows) > 1 { // a page does not show how they differ
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
	if r.record.Parties == nil {
		r.record.Parties = []contract.Party{}
	}
	x := extraction{zone: r.profile.zone}
	for _, row := range t.rows {
		var party contract.Party
		if x.fill(&party, c.party, row); party.Name != "" {
			r.record.Parties = append(r.record.Parties, party)
		}
	}
	r.addBadValues(x)
}

// finish sorts the docket and flags what is unusual about it.
func (r *caseReader) finish() {
	docket := sortedUnique(r.record.Docket)
	if len(docket) < len(r.record.Docket) {
		r.flag("duplicate-rows")
		r.note("duplicate-rows", strconv.Itoa(len(r.record.Docket)-len(docket)))
	}
	r.record.Docket, r.record.Entries = docket, len(docket)
	if slices.ContainsFunc(r.profile.calls, func(c call) bool { return c.proves && slices.Contains(r.empty, c.name) }) {
		r.flag("not-listed") // the list of files, asked for the header, lacks a case that has a docket
	}
	if len(docket) == 0 {
		r.flag(contract.FlagHeaderOnly)
		r.note(contract.FlagHeaderOnly, "")
	}
}

// addBadValues flags the fields whose value could not be used, and notes the value.
func (r *caseReader) addBadValues(x extraction) {
	for _, bad := range x.bad {
		r.flag("bad-value:" + bad.field)
		r.note("bad-value:"+bad.field, bad.value)
	}
}

// note adds a remark for the attempt's ledger entry, at most once.
func (r *caseReader) note(name, value string) {
	if value != "" {
		name += fmt.Sprintf(": %.200q", value)
	}
	if !slices.Contains(r.notes, name) {
		r.notes = append(r.notes, name)
	}
}

// flag adds a flag to the record, at most once.
func (r *caseReader) flag(name string) {
	if !slices.Contains(r.record.Flags, name) {
		r.record.Flags = append(r.record.Flags, name)
	}
}

// sortedUnique sorts a docket by entry number and removes duplicate entries.
func sortedUnique(docket []contract.DocketEntry) []contract.DocketEntry {
	inOrder := func(a, b contract.DocketEntry) int { return a.EntryNumber - b.EntryNumber }
	if !slices.IsSortedFunc(docket, inOrder) {
		slices.SortStableFunc(docket, inOrder)
	}
	unique := docket[:0]
	var seen map[contract.DocketEntry]bool // entries with the same number
	for i, entry := range docket {
		switch {
		case i == 0 || entry.EntryNumber != unique[len(unique)-1].EntryNumber:
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
