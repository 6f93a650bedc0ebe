package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// promised are the documented keys.
const promised = `prefix year start max_cases end probe probe_budget bound_max_age max_retries backoff_base backoff_factor backoff_max
request_timeout job_timeout concurrency delay_min delay_max rest_every rest_for safe_stop_no_records safe_stop_fails max_duration max_requests
graceful_shutdown_timeout persist_raw_html blocked_cooldown quiet_hours parties header robots max_body recheck force site base_url user_agent contact proxy
output data_dir nats_url nats_creds nats_nkey nats_ca nats_cert nats_key insecure replicas http_addr http_token log_level log_format progress`

func TestKeys_Documented(t *testing.T) {
	var keys []string
	for _, key := range config.Keys() {
		keys = append(keys, key.Name)
		if key.Flag != strings.ReplaceAll(key.Name, "_", "-") || key.Env != "FCT_"+strings.ToUpper(key.Name) ||
			key.Help == "" || key.Allowed == "" {
			t.Errorf("%+v", key)
		}
	}
	want := strings.Fields(promised)
	slices.Sort(want)
	slices.Sort(keys)
	if !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	fields := 0
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous || slices.Contains([]string{"run_id", "ids", "probe_only", "new"},
			key) { // of batch.start alone
			continue
		}
		if fields++; !slices.Contains(want, key) {
			t.Errorf("field %s is of the key %q, which there is not", field.Name, key)
		}
	}
	if fields != len(want) {
		t.Errorf("%d fields for %d keys", fields, len(want))
	}
}

// TestKeys_Defaults writes the promised defaults out; the ones that are empty depend on something
// else.
func TestKeys_Defaults(t *testing.T) {
	t.Parallel()
	s, err := config.Load(config.Sources{Now: day, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Batch: contract.Batch{Prefix: "IMM", Year: "26", Start: 1, RunSettings: contract.RunSettings{Probe: true,
			ProbeBudget: 200, MaxRetries: 3, RequestTimeout: 30 * time.Second, JobTimeout: 300 * time.Second,
			SafeStopNoRecords: 500, SafeStopFails: 20}},
		BoundMaxAge: time.Hour, BackoffBase: 2 * time.Second, BackoffFactor: 2, BackoffMax: 5 * time.Minute,
		Concurrency: 4, DelayMin: time.Second, DelayMax: 3 * time.Second, RestFor: time.Minute,
		GracefulShutdownTimeout: 30 * time.Second, BlockedCooldown: 15 * time.Minute, Robots: true,
		MaxBody: 16 * config.MiB, Site: "fct-cf", UserAgent: "fct-scraper/1.2.3", Output: "output", DataDir: "data",
		LogLevel:  "info",
		LogFormat: "auto", Progress: "auto",
	}
	if diff := cmp.Diff(want, s.Config); diff != "" {
		t.Error(diff)
	}
}
