package reporter

import (
	"bytes"
	"encoding/json"
)

// flagged counts the flags of a record. Only a record that has some is decoded.
func (t *tally) flagged(record []byte) {
	if !bytes.Contains(record, []byte(`"flags"`)) {
		return
	}
	var has struct {
		Flags []string `json:"flags"`
	}
	// A record is counted whatever its file holds: one that cannot be read carries no flag.
	_ = json.Unmarshal(record, &has)
	for _, flag := range has.Flags {
		if t.Flags == nil {
			t.Flags = map[string]int{}
		}
		t.Flags[flag]++
	}
}
