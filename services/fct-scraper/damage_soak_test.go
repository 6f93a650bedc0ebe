//go:build soak

package main

import (
	"os"
	"testing"
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
