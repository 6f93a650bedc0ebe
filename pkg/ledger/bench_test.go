package ledger_test

import (
	"fmt"
	"slices"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// BenchmarkDecode decodes packs of as many entries or answers as a fast run stores together, without bodies.
func BenchmarkDecode(b *testing.B) {
	answers, entries := answerPack(), entryPack()
	for _, e := range slices.Repeat(entries.Entries[1:2], 30) {
		e.Raw = nil
		entries.Entries = append(entries.Entries, e)
	}
	answers.Answers = append(answers.Answers, slices.Repeat(answers.Answers[:1], 30)...)
	b.Run(fmt.Sprintf("entries=%d", len(entries.Entries)), func(b *testing.B) { benchmarkDecode(b, entries) })
	b.Run(fmt.Sprintf("answers=%d", len(answers.Answers)), func(b *testing.B) { benchmarkDecode[contract.AnswerPack](b, answers) })
}

func benchmarkDecode[P ledger.Pack](b *testing.B, pack P) {
	data, err := ledger.Encode(pack)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var buffer []byte
	for b.Loop() {
		if _, buffer, err = ledger.DecodeInto[P](data, buffer); err != nil {
			b.Fatal(err)
		}
	}
}
