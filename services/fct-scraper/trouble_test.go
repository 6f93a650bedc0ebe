package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/services/reporter"
)

func TestTroubleTellsWhatIsKnown(t *testing.T) {
	t.Parallel()
	settings := &config.Settings{Config: config.Config{Prefix: "IMM", Year: "25", Start: 1, DataDir: "data", Output: "output"}}
	last := contract.Event{RunID: "r", Range: contract.Range{Start: 1, End: 100}, Succeeded: 30, NoRecord: 6, Failed: 1}
	for name, test := range map[string]struct {
		err   error
		run   contract.RunID
		last  contract.Event
		json  bool
		wants []string
	}{
		"in mid-run":  {errBroker, "r", last, false, []string{"IMM-1-25 to IMM-100-25: error (exit code 6)", "at least 37 = 30 success + 6 no-record + 1 failed", "run        r", "store      data", "mend what the error names"}},
		"at its end":  {fmt.Errorf("%w: x", reporter.ErrLedger), "r", last, false, []string{"(exit code 7)", "report --run"}},
		"not started": {errBroker, "", contract.Event{}, false, []string{"IMM-1-25 to its end", "no run was started"}},
		"usage":       {errUsage, "", contract.Event{}, false, nil},
		"JSON":        {errBroker, "r", last, true, nil},
	} {
		var out bytes.Buffer
		p := &program{stdout: &result{w: &out}}
		if err := p.say(trouble{codeOf(test.err), test.err, settings, test.run, test.last}, test.json); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		for _, want := range test.wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, out.String())
			}
		}
		if test.wants == nil && out.Len() > 0 {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}
