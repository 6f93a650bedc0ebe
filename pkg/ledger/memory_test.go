package ledger_test

import (
	"bytes"
	"testing"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// TestReader_Memory: released memory is used again, and no memory before it is released.
func TestReader_Memory(t *testing.T) {
	t.Parallel()
	manifest := contract.Manifest{RunID: "imm-25", Prefix: "IMM", Year: "25"}
	reader := ledger.Reader{Manifest: manifest, Memory: new(ledger.Memory)}
	message := func(letter byte) bus.Message {
		entry := contract.Entry{CaseID: manifest.Case(1), Attempt: 1, Verdict: contract.VerdictSuccess,
			Outcome: contract.Success, Record: bytes.Repeat([]byte{letter}, 4000)}
		data, err := ledger.Encode(contract.EntryPack{Version: contract.MessageVersion, RunID: "imm-25",
			Entries: []contract.Entry{entry}})
		if err != nil {
			t.Fatal(err)
		}
		return bus.Message{Subject: "outcome.imm-25.0", Data: data}
	}
	decode := func(letter byte) (ledger.Message, []byte) {
		decoded, err := reader.Decode(message(letter))
		if err != nil {
			t.Fatal(err)
		}
		if decoded.Size < 4000 {
			t.Errorf("a size of %d bytes with a record of 4000", decoded.Size)
		}
		return decoded, decoded.Entries[0].Record
	}
	first, a := decode('a')
	_, b := decode('b')
	if a[0] != 'a' || b[0] != 'b' {
		t.Errorf("%c and %c: memory was used again before it was released", a[0], b[0])
	}
	first.Release()
	_, c := decode('c')
	if a[0] != 'c' || b[0] != 'b' || c[0] != 'c' {
		t.Errorf("%c %c %c after a release, want c b c", a[0], b[0], c[0])
	}
}
