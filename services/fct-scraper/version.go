package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// stamped is the version that the build wrote here (-ldflags "-X main.stamped=v1.2.3").
var stamped string

// version is the stamped version, else the module's own as the go command knows it, else "devel".
func version() string {
	if stamped != "" {
		return stamped
	}
	if info, found := debug.ReadBuildInfo(); found && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// build is what `version --json` tells.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	NATS    string `json:"nats_server"`
	Client  string `json:"nats_client"`
}

func thisBuild() build {
	b := build{Version: version(), Go: runtime.Version()}
	info, found := debug.ReadBuildInfo()
	if !found {
		return b
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Commit = setting.Value
		}
	}
	for _, module := range info.Deps {
		switch module.Path {
		case "github.com/nats-io/nats-server/v2":
			b.NATS = module.Version
		case "github.com/nats-io/nats.go":
			b.Client = module.Version
		}
	}
	return b
}

func (p *program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Say which version this is", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "as one JSON document")
	cmd.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		if *asJSON {
			return p.printJSON(b)
		}
		return p.print(fmt.Sprintf("fct-scraper %s (%s, nats-server %s)\n", b.Version, b.Go, b.NATS))
	}
	return cmd
}

// print writes the result of a command.
func (p *program) print(text string) error {
	// Who reads no further has seen enough: the exit code stays that of the work.
	if _, err := fmt.Fprint(p.stdout, text); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// printJSON writes the result of a command as one JSON document.
func (p *program) printJSON(value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return p.print(string(text) + "\n")
}
