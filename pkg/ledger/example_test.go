package ledger_test

import (
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// A reader that needs only what happened to the numbers reads the header, any other one the data.
func ExampleEncoder_EntryMessage() {
	msg, err := new(ledger.Encoder).EntryMessage("imm-25", []contract.Entry{{
		CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 231}, Attempt: 2,
		Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord,
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
	if err != nil {
		fmt.Println(err)
		return
	}
	pack, err := ledger.Decode[contract.EntryPack](msg.Data)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(msg.Subject, states[0].Number, states[0].Outcome)
	fmt.Println(pack.Entries[0].CaseID, pack.Entries[0].Attempt)
	// Output:
	// outcome.imm-25.0 231 no-record
	// IMM-231-25 2
}
