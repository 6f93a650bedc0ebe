// Package config reads the settings of fct-scraper from a file, the environment and flags. Its
// errors name the origin, the key, the value and what is allowed.
package config

import (
	"time"

	"fct-scraper/pkg/contract"
)

// Config holds the settings: those of a run, which contract.Batch declares, and those of the process.
// The fields and their tags are the only declaration of a setting. Besides the tags of a Batch there
// are:
//
//	after  the key that this setting and those below it follow in display order
//	form   what a text is (validators.go), or the allowed words
//	nats   the variable that other NATS programs use for the same thing
//
// A whole number without max is at most contract.MaxNumber; min and max of a text limit its length.
type Config struct {
	contract.Batch
	// BoundMaxAge is 0 for always.
	BoundMaxAge time.Duration `json:"bound_max_age" after:"probe_budget" default:"1h" help:"older no-records above the highest record are requested again; 0 is always"`

	BackoffBase   time.Duration `json:"backoff_base" after:"max_retries" default:"2s" help:"wait before the first retry"`
	BackoffFactor float64       `json:"backoff_factor" default:"2" min:"1" max:"10" help:"by how much each further wait is longer"`
	BackoffMax    time.Duration `json:"backoff_max" default:"5m" help:"longest wait before a retry"`

	Concurrency     int           `json:"concurrency" after:"safe_stop_fails" default:"4" min:"1" max:"64" help:"cases in flight"`
	DelayMin        time.Duration `json:"delay_min" default:"1s" help:"shortest pause between the starts of two requests"`
	DelayMax        time.Duration `json:"delay_max" default:"3s" help:"longest pause between the starts of two requests"`
	RestEvery       int           `json:"rest_every" default:"0" max:"1000000" help:"requests between two long rests; 0 is never"`
	RestFor         time.Duration `json:"rest_for" default:"1m" help:"how long a rest is"`
	BlockedCooldown time.Duration `json:"blocked_cooldown" default:"15m" help:"how long a block lasts when the site does not say"`
	// QuietHours are the hours of the day without requests; the zero value is none.
	QuietHours Hours `json:"quiet_hours" default:"none" help:"hours of the day in which nothing is asked, in the machine's time zone ($TZ)"`

	Site string `json:"site" default:"fct-cf" form:"profile" help:"site profile"`
	// BaseURL is empty for the profile's own.
	BaseURL   string `json:"base_url" form:"origin" help:"origin of the site; the profile's own when empty"`
	UserAgent string `json:"user_agent" min:"1" max:"200" form:"ascii" help:"what the program calls itself; fct-scraper/<version> (+<contact>) when not given"`
	Contact   string `json:"contact" max:"100" form:"ascii" help:"address for the site's people, put into the User-Agent"`
	// Proxy is empty for that of the environment, "none" for none.
	Proxy   string `json:"proxy" form:"proxy" help:"proxy for all requests to the site, but for the hosts in $NO_PROXY; that of $HTTPS_PROXY when empty, which is not used for this machine"`
	Robots  bool   `json:"robots" default:"true" help:"read and obey robots.txt"`
	Parties bool   `json:"parties" default:"false" help:"one more call a case: parties and their counsel"`
	MaxBody Bytes  `json:"max_body" default:"16MiB" help:"largest answer, after decompression"`

	Output                  string        `json:"output" default:"output" form:"folder" help:"folder of all files written, outside of data_dir"`
	DataDir                 string        `json:"data_dir" default:"data" form:"folder" help:"folder of the embedded NATS server's store"`
	GracefulShutdownTimeout time.Duration `json:"graceful_shutdown_timeout" after:"persist_raw_html" default:"30" help:"how long a stopped run may take to end"`

	// NATSURL is empty for the embedded server.
	NATSURL   string `json:"nats_url" form:"servers" nats:"NATS_URL" help:"NATS servers; the embedded one when empty"`
	NATSCreds string `json:"nats_creds" form:"file" nats:"NATS_CREDS" help:"file of NATS credentials"`
	NATSNkey  string `json:"nats_nkey" form:"file" nats:"NATS_NKEY" help:"file of an nkey seed"`
	NATSCA    string `json:"nats_ca" form:"file" nats:"NATS_CA" help:"file of the NATS servers' CA"`
	NATSCert  string `json:"nats_cert" form:"file" nats:"NATS_CERT" help:"file of a client certificate"`
	NATSKey   string `json:"nats_key" form:"file" nats:"NATS_KEY" help:"file of the certificate's key"`
	// Insecure allows NATS without TLS beyond this machine.
	Insecure bool `json:"insecure" default:"false" help:"allow NATS without TLS beyond this machine, where others can read and change it"`
	// Replicas is how many servers of a cluster store each stream; 0 is the number in the
	// definitions.
	Replicas int `json:"replicas" default:"0" max:"5" help:"how many servers of a cluster keep each stream; 0 is as the definitions in streams/ say, one"`

	// HTTPAddr is empty for what the command does by default.
	HTTPAddr string `json:"http_addr" form:"listen" help:"address of the page, its API, health and metrics; of a range of ports the first free one"`
	// HTTPToken is empty for none, which only loopback addresses allow.
	HTTPToken string `json:"http_token" min:"16" max:"200" form:"secret" help:"what a client of the page and its API must know; required for an http_addr beyond this machine"`

	LogLevel  string `json:"log_level" default:"info" form:"debug info warn error" help:"least level of log lines"`
	LogFormat string `json:"log_format" default:"auto" form:"auto text json" help:"form of log lines; auto is text on a terminal, else json"`
	Progress  string `json:"progress" default:"auto" form:"auto tty plain json none" help:"how progress is shown"`
}
