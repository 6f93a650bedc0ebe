package streams

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// definition is the required configuration of a stream or consumer, and how to change it.
type definition struct {
	name string
	want any
	// editCommand changes it in place for an operator; update does so itself and returns the new
	// configuration.
	editCommand string
	update      func() (any, error)
}

// reconcile accepts an equal configuration, and updates a differing one on an exclusive server. The
// error wraps ErrDrift.
func (o Options) reconcile(d definition, have any) error {
	found, err := differences(d.want, have)
	if err != nil || len(found) == 0 {
		return err
	}
	if slices.ContainsFunc(found, difference.mayDrop) {
		return fmt.Errorf("%w: %s; a change may drop stored messages, so it is left as it is: use the version that created it, or "+
			"another store (data_dir, or an account of the server)", ErrDrift, formatDifferences(found))
	}
	if !o.Exclusive {
		return fmt.Errorf("%w: %s; this changes it and drops nothing: %s", ErrDrift, formatDifferences(found), d.editCommand)
	}
	now, err := d.update()
	if err != nil {
		return fmt.Errorf("%w: %s; the server does not change it: %w", ErrDrift, formatDifferences(found), err)
	}
	left, err := differences(d.want, now)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%w, and still does after a change: %s", ErrDrift, formatDifferences(left))
	}
	if o.OnUpdate != nil {
		o.OnUpdate(d.name, formatDifferences(found))
	}
	return nil
}

// difference is one field that differs.
type difference struct {
	key        string
	have, want any
}

func formatDifferences(differences []difference) string {
	var texts []string
	for _, d := range differences {
		texts = append(texts, fmt.Sprintf("%s: have %v, want %v", d.key, d.have, d.want))
	}
	return strings.Join(texts, "; ")
}

// mayDrop reports whether the change could drop stored messages or forget deliveries. Only fields
// known not to are changed.
func (d difference) mayDrop() bool {
	switch d.key {
	case "description", "discard", "discard_new_per_subject", "max_msg_size", "num_replicas", "no_ack", "duplicate_window", "deny_delete", "deny_purge",
		"allow_rollup_hdrs", "allow_direct", "mirror_direct", "allow_atomic", "allow_msg_ttl", "allow_batched", "allow_msg_schedules", "compression",
		"consumer_limits", "subject_delete_marker_ttl", "republish":
		return false
	case "ack_wait", "max_deliver", "backoff", "sample_freq", "max_ack_pending", "max_batch", "max_expires":
		return false
	case "max_age", "max_msgs", "max_bytes", "max_msgs_per_subject":
		return limitValue(d.want) < limitValue(d.have)
	case "subjects", "filter_subjects":
		return !containsAll(d.want, d.have)
	default:
		return true
	}
}

// limitValue is a limit as a number; a missing limit is higher than any other.
func limitValue(value any) float64 {
	if n, is := value.(float64); is && n > 0 {
		return n
	}
	return 1e300
}

// containsAll reports whether a list, which is not empty, has all elements of another one. An empty
// filter matches nothing here.
func containsAll(all, some any) bool {
	many, _ := all.([]any)
	few, _ := some.([]any)
	return len(few) > 0 && !slices.ContainsFunc(few, func(one any) bool { return !slices.Contains(many, one) })
}

// differences returns the fields that differ, without metadata, which the server writes.
func differences(want, have any) (found []difference, err error) {
	wanted, err := jsonFields(want)
	if err != nil {
		return nil, err
	}
	there, err := jsonFields(have)
	if err != nil {
		return nil, err
	}
	keys := maps.Clone(wanted)
	maps.Copy(keys, there)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key == "metadata" || isUnset(wanted[key]) && isUnset(there[key]) || reflect.DeepEqual(wanted[key], there[key]) {
			continue
		}
		found = append(found, difference{key, there[key], wanted[key]})
	}
	return found, nil
}

func jsonFields(config any) (map[string]any, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("comparing definitions: %w", err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("comparing definitions: %w", err)
	}
	return object, nil
}

// isUnset reports whether a field's value means the same as its absence.
func isUnset(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == "" || v == "none"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return false
	}
}
