//go:build soak

package main

import (
	"os"
	"testing"

	"fct-scraper/pkg/contract"
)

// TestEveryDamage tries all kinds of damage on all streams; DAMAGE_TABLE names a file for the table.
func TestEveryDamage(t *testing.T) {
	table := tryAll(t, prepareStores(t), damages(), damagedStreams(), situations())
	if name := os.Getenv("DAMAGE_TABLE"); name != "" {
		if err := os.WriteFile(name, []byte(table), 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Log("\n" + table)
}

// damagedStreams are the streams and buckets that are spoiled.
func damagedStreams() []string {
	return []string{
		contract.StreamBatch, contract.StreamJobs, contract.StreamAnswers, contract.StreamOutcomes,
		"KV_" + contract.BucketRuns, "KV_" + contract.BucketCollected, "KV_" + contract.BucketFailed, "KV_" + contract.BucketSites,
	}
}

// situations are what is done on a damaged store.
func situations() []string { return []string{"finished", "unfinished", "report", "status", "explain"} }
