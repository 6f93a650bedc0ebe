package fetcher_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"
)

// readVerdict reads an answer of these tests: its body is the verdict, and "panic" panics.
func readVerdict(_ contract.CaseID, exchanges []contract.Exchange) contract.Classification {
	body := string(exchanges[0].Body)
	if body == "panic" {
		panic("not readable")
	}
	return contract.Classification{Verdict: contract.Verdict(body), Rule: "test", RawType: "json"}
}

// requestCanary requests canaries from the fetcher. The site answers a number with its verdict.
func (f fixture) requestCanary(verdicts map[int]string, numbers ...int) contract.CanaryReply {
	f.t.Helper()
	f.site.mu.Lock()
	f.site.answer = func(_ context.Context, number int) (contract.Exchange, error) {
		status := 200
		if verdicts[number] == "blocked" {
			status = 403
		}
		return contract.Exchange{Call: "docket", Status: status, StartedAt: time.Now(),
			Body: []byte(verdicts[number])}, nil
	}
	f.site.mu.Unlock()
	request := contract.CanaryRequest{Version: contract.MessageVersion, RunID: runID}
	for _, number := range numbers {
		request.CaseIDs = append(request.CaseIDs, contract.CaseID{Series: "IMM", Year: "25", Number: number})
	}
	data, err := json.Marshal(request)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.sendCanaryRequest(data)
}

// sendCanaryRequest sends a canary request and returns the reply.
func (f fixture) sendCanaryRequest(data []byte) (reply contract.CanaryReply) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	msg, err := f.bus.Conn().RequestWithContext(ctx, contract.CanaryService("court"), data)
	if err == nil {
		err = json.Unmarshal(msg.Data, &reply)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return reply
}

// storedCanary returns the entries that the ledger holds of a canary.
func (f fixture) storedCanary(sequence uint64) []contract.Entry {
	f.t.Helper()
	stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
	if err != nil {
		f.t.Fatal(err)
	}
	msg, err := stream.GetMsg(f.t.Context(), sequence)
	if err != nil || msg.Subject != runID.CanarySubject() {
		f.t.Fatalf("message %d: %v", sequence, err)
	}
	pack, err := ledger.Decode[contract.EntryPack](msg.Data)
	if err != nil || pack.RunID != runID {
		f.t.Fatal(err)
	}
	return pack.Entries
}

// blockAndHalt returns the rule of the block of the site and the status of the halt of the run;
// each is empty if there is none.
func (f fixture) blockAndHalt() (rule string, halt contract.Status) {
	f.t.Helper()
	sites, err := f.bus.KV(f.t.Context(), contract.BucketSites)
	if err != nil {
		f.t.Fatal(err)
	}
	if block, err := runs.Get[contract.SiteBlock](f.t.Context(), sites, contract.BlockKey("court")); err == nil {
		rule = block.Rule
	}
	if h, err := runs.Get[contract.Halt](f.t.Context(), f.runs, runID.HaltKey()); err == nil {
		halt = h.Status
	}
	return rule, halt
}

// newCanaryFixture returns a fixture without jobs and with a fetcher that answers canary requests.
func newCanaryFixture(t *testing.T) fixture {
	t.Helper()
	f := newFixture(t, 0)
	t.Cleanup(f.startFetcher(func(o *fetcher.Options) {
		o.SiteName, o.Read, o.Concurrency, o.Cooldown = "court", readVerdict, 1, time.Hour
	}))
	limit := time.After(time.Minute)
	for { // until it is subscribed
		_, err := f.bus.Conn().Request(contract.CanaryService("court"), nil, time.Second)
		if err == nil {
			return f
		}
		select {
		case <-limit:
			t.Fatal(err)
		default:
		}
	}
}

func TestCanaryRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		says    map[int]string
		numbers []int
		verdict contract.Verdict
		kept    int
		rule    string
		halt    contract.Status
	}{
		{"shown", map[int]string{5: "success"}, []int{5, 6}, contract.VerdictSuccess, 1, "", ""},
		{"first one vanished", map[int]string{5: "no-record", 6: "success"}, []int{5, 6}, contract.VerdictSuccess,
			2, "", ""},
		{"all vanished", map[int]string{5: "no-record", 6: "no-record"}, []int{5, 6}, contract.VerdictNoRecord, 2,
			"canary", contract.Blocked},
		{"only one vanished", map[int]string{5: "no-record"}, []int{5}, contract.VerdictNoRecord, 1, "canary",
			contract.Blocked},
		{"blocked", map[int]string{5: "blocked"}, []int{5, 6}, contract.VerdictBlocked, 1, "status 403",
			contract.Blocked},
		{"one vanished, then blocked", map[int]string{5: "no-record", 6: "blocked"}, []int{5, 6},
			contract.VerdictBlocked, 2, "status 403", contract.Blocked},
		{"transient", map[int]string{5: "transient"}, []int{5, 6}, contract.VerdictTransient, 1, "", ""},
		{"unreadable", map[int]string{5: "panic"}, []int{5}, contract.VerdictTransient, 1, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newCanaryFixture(t)
			reply := f.requestCanary(c.says, c.numbers...)
			rule, halt := f.blockAndHalt()
			if reply.Verdict != c.verdict || rule != c.rule || halt != c.halt {
				t.Fatalf("%s: %s; block %q, halt %q; want %+v", reply.Verdict, reply.Error, rule, halt, c)
			}
			entries := f.storedCanary(reply.Sequence)
			last := entries[len(entries)-1]
			if verdict, _ := contract.CanaryVerdict(entries); verdict != c.verdict || len(entries) != c.kept ||
				len(last.Requests) != 1 || last.StartedAt.IsZero() || last.Outcome != "" {
				t.Errorf("stored %+v", entries)
			}
			if evidence := string(last.Raw); c.rule != "" && evidence != c.says[last.CaseID.Number] {
				t.Errorf("evidence %q", evidence)
			}
		})
	}
}

func TestCanaryRequest_SiteBlocked(t *testing.T) {
	t.Parallel()
	f := newCanaryFixture(t)
	if reply := f.requestCanary(map[int]string{5: "blocked"}, 5); reply.Verdict != contract.VerdictBlocked {
		t.Fatalf("%+v", reply)
	}
	if err := f.runs.Delete(t.Context(), runID.HaltKey()); err != nil {
		t.Fatal(err)
	}
	before, _ := f.site.requests()
	reply := f.requestCanary(map[int]string{5: "success"}, 5)
	after, _ := f.site.requests()
	if _, halt := f.blockAndHalt(); reply.Verdict != contract.VerdictBlocked || reply.Sequence != 0 ||
		after != before || halt != contract.Blocked || !strings.Contains(reply.Error, "IMM-5-25 (status 403), until ") {
		t.Errorf("%+v after %d requests, halt %q", reply, after-before, halt)
	}
}

func TestCanaryRequest_Malformed(t *testing.T) {
	t.Parallel()
	f := newCanaryFixture(t)
	for _, text := range []string{"", "{}", `{"v":1,"run_id":"run"}`, `{"v":1,"run_id":"run","case_ids":["x"]}`,
		`{"v":9,"run_id":"run","case_ids":["IMM-1-25"]}`} {
		if reply := f.sendCanaryRequest([]byte(text)); reply.Error == "" || reply.Verdict != "" || reply.Sequence != 0 {
			t.Errorf("%s: %+v", text, reply)
		}
	}
	if rule, halt := f.blockAndHalt(); rule != "" || halt != "" {
		t.Errorf("block %q, halt %q", rule, halt)
	}
}
