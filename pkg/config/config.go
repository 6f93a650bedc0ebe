// Package config reads the settings of fct-scraper from a file, the environment and flags. Its
// errors name the origin, the key, the value and what is allowed.
package config

import (
	"time"

	"fct-scraper/pkg/contract"
)

// Config holds the settings: those of a run, which contract.Batch declares, and those of the
// process, which the table declares. The tag is the key.
type Config struct {
	contract.Batch
	// BoundMaxAge is 0 for always.
	BoundMaxAge time.Duration `json:"bound_max_age"`

	BackoffBase   time.Duration `json:"backoff_base"`
	BackoffFactor float64       `json:"backoff_factor"`
	BackoffMax    time.Duration `json:"backoff_max"`

	Concurrency     int           `json:"concurrency"`
	DelayMin        time.Duration `json:"delay_min"`
	DelayMax        time.Duration `json:"delay_max"`
	RestEvery       int           `json:"rest_every"`
	RestFor         time.Duration `json:"rest_for"`
	BlockedCooldown time.Duration `json:"blocked_cooldown"`
	// QuietHours are the hours of the day without requests; the zero value is none.
	QuietHours Hours `json:"quiet_hours"`

	Site string `json:"site"`
	// BaseURL is empty for the profile's own.
	BaseURL   string `json:"base_url"`
	UserAgent string `json:"user_agent"`
	Contact   string `json:"contact"`
	// Proxy is empty for that of the environment, "none" for none.
	Proxy   string `json:"proxy"`
	Robots  bool   `json:"robots"`
	Parties bool   `json:"parties"`
	MaxBody Bytes  `json:"max_body"`

	Output                  string        `json:"output"`
	DataDir                 string        `json:"data_dir"`
	GracefulShutdownTimeout time.Duration `json:"graceful_shutdown_timeout"`

	// NATSURL is empty for the embedded server.
	NATSURL   string `json:"nats_url"`
	NATSCreds string `json:"nats_creds"`
	NATSNkey  string `json:"nats_nkey"`
	NATSCA    string `json:"nats_ca"`
	NATSCert  string `json:"nats_cert"`
	NATSKey   string `json:"nats_key"`
	// Insecure allows NATS without TLS beyond this machine.
	Insecure bool `json:"insecure"`
	// Replicas is how many servers of a cluster store each stream; 0 is the number in the
	// definitions.
	Replicas int `json:"replicas"`

	// HTTPAddr is empty for what the command does by default.
	HTTPAddr  string `json:"http_addr"`
	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`
	Progress  string `json:"progress"`
}
