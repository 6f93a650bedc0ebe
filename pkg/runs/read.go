package runs

import (
	"encoding/json"
	"errors"
	"fmt"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnreadable says that a key holds what this program cannot read: damage, somebody else's text, or the version of
// a newer program. It is the trouble of the one run that needs the key.
var ErrUnreadable = errors.New("key cannot be read")

// Decode reads the JSON value of a key. Its error wraps ErrUnreadable and names the key. A value without a version is
// read as one of this program's.
func Decode[T any](key string, data []byte) (T, error) {
	var value T
	var version struct {
		V *int `json:"v"`
	}
	err := json.Unmarshal(data, &version)
	if err == nil && version.V != nil {
		err = contract.CheckVersion(*version.V)
	}
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err != nil {
		return value, fmt.Errorf("%w: %s: %w", ErrUnreadable, key, err)
	}
	return value, nil
}

// DecodeHalt reads a halt. One that cannot be read is a halt all the same: to go on could ask a site that is to be left
// alone. The run ends stopped, and the next start takes the halt back.
func DecodeHalt(entry jetstream.KeyValueEntry) contract.Halt {
	halt, err := Decode[contract.Halt](entry.Key(), entry.Value())
	if err == nil && halt.Status == "" {
		err = fmt.Errorf("%w: %s: no status", ErrUnreadable, entry.Key())
	}
	if err != nil {
		return contract.Halt{Status: contract.Stopped, Reason: err.Error(), At: entry.Created().UTC()}
	}
	return halt
}
