package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// stamped is the version that the linker sets (-ldflags "-X main.stamped=v1.2.3").
var stamped string

// version returns the stamped version, else the version of the module, else "devel".
func version() string {
	if stamped != "" {
		return stamped
	}
	if info, found := debug.ReadBuildInfo(); found && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// buildInfo is the JSON result of the command version.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	NATS    string `json:"nats_server"`
	Client  string `json:"nats_client"`
}

func currentBuild() buildInfo {
	b := buildInfo{Version: version(), Go: runtime.Version()}
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
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: maxArgs(0),
		Example: "  fct-scraper version --json"}
	cmd.Flags().Bool(jsonFlag, false, "print the result as one JSON document")
	cmd.RunE = func(*cobra.Command, []string) error { return p.printVersion() }
	return cmd
}

func (p *program) printVersion() error {
	b := currentBuild()
	return p.printResult(b, fmt.Sprintf("fct-scraper %s (%s, nats-server %s)\n", b.Version, b.Go, b.NATS))
}
