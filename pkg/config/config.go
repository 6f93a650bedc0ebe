// Package config reads the settings of fct-scraper from a file, the environment and flags. Its
// errors name the origin, the key, the value and what is allowed.
package config

// Config holds the settings. The tag is the key, which Keys describes.
type Config struct {
	Prefix string `key:"prefix"`
	Year   string `key:"year"`
	Start  int    `key:"start"`
	// MaxCases is 0 for none.
	MaxCases int `key:"max_cases"`
	// End is 0 for none.
	End         int  `key:"end"`
	Probe       bool `key:"probe"`
	ProbeBudget int  `key:"probe_budget"`
	// BoundMaxAge is 0 for always.
	BoundMaxAge Duration `key:"bound_max_age"`
	Recheck     bool     `key:"recheck"`
	Force       bool     `key:"force"`

	MaxRetries        int      `key:"max_retries"`
	BackoffBase       Duration `key:"backoff_base"`
	BackoffFactor     float64  `key:"backoff_factor"`
	BackoffMax        Duration `key:"backoff_max"`
	RequestTimeout    Duration `key:"request_timeout"`
	JobTimeout        Duration `key:"job_timeout"`
	SafeStopNoRecords int      `key:"safe_stop_no_records"`
	SafeStopFails     int      `key:"safe_stop_fails"`

	Concurrency     int      `key:"concurrency"`
	DelayMin        Duration `key:"delay_min"`
	DelayMax        Duration `key:"delay_max"`
	RestEvery       int      `key:"rest_every"`
	RestFor         Duration `key:"rest_for"`
	BlockedCooldown Duration `key:"blocked_cooldown"`
	// QuietHours are the hours of the day without requests; the zero value is none.
	QuietHours Hours `key:"quiet_hours"`

	Site string `key:"site"`
	// BaseURL is empty for the profile's own.
	BaseURL   string `key:"base_url"`
	UserAgent string `key:"user_agent"`
	Contact   string `key:"contact"`
	// Proxy is empty for that of the environment, "none" for none.
	Proxy   string `key:"proxy"`
	Robots  bool   `key:"robots"`
	Parties bool   `key:"parties"`
	MaxBody Bytes  `key:"max_body"`

	Output                  string   `key:"output"`
	DataDir                 string   `key:"data_dir"`
	PersistRawHTML          bool     `key:"persist_raw_html"`
	GracefulShutdownTimeout Duration `key:"graceful_shutdown_timeout"`

	// NATSURL is empty for the embedded server.
	NATSURL   string `key:"nats_url"`
	NATSCreds string `key:"nats_creds"`
	NATSNkey  string `key:"nats_nkey"`
	NATSCA    string `key:"nats_ca"`
	NATSCert  string `key:"nats_cert"`
	NATSKey   string `key:"nats_key"`
	// Insecure allows NATS without TLS beyond this machine.
	Insecure bool `key:"insecure"`
	// Replicas is how many servers of a cluster store each stream; 0 is the number in the
	// definitions.
	Replicas int `key:"replicas"`

	// HTTPAddr is empty for what the command does by default.
	HTTPAddr  string `key:"http_addr"`
	LogLevel  string `key:"log_level"`
	LogFormat string `key:"log_format"`
	Progress  string `key:"progress"`
}
