package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show, check or create a settings file",
		Args:    noSubcommand,
		RunE:    showHelp,
		Example: "  fct-scraper config init court.toml\n  fct-scraper config check --config court.toml",
	}
	cmd.AddCommand(p.configShow(), p.configCheck(), p.configInit())
	return cmd
}

func (p *program) configShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Print the effective settings and the origin of each", Args: maxArgs(0),
		Example: "  fct-scraper config show --config court.toml --delay-min 5s",
	}
	addSettings(cmd.Flags(), allSettings)
	cmd.Flags().Bool(jsonFlag, false, "print the result as one JSON document, without origins")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		var text strings.Builder
		for _, line := range settings.Lines() {
			fmt.Fprintf(&text, "%-27s = %-24s # %s\n", line.Key, sanitize.Line(line.Value), sanitize.Line(line.Origin))
		}
		return p.printResult(settings.Effective(), text.String())
	}
	return cmd
}

func (p *program) configCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check whether the settings are valid", Args: maxArgs(0),
		Example: "  fct-scraper config check --config court.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := p.sources(cmd)
			src.SendsRequests = true
			settings, err := config.Load(src)
			if err != nil {
				return err
			}
			return p.print(batchPreview(settings))
		},
	}
	addSettings(cmd.Flags(), allSettings)
	return cmd
}

// batchPreview describes what a batch with these valid settings would do.
func batchPreview(s *config.Settings) string {
	end := "the highest number, found by a search"
	switch {
	case s.End > 0 && s.MaxCases > 0:
		end = fmt.Sprintf("%d, at most %s", s.End, sanitize.Plural(s.MaxCases, "number"))
	case s.End > 0:
		end = strconv.Itoa(s.End)
	case s.MaxCases > 0:
		end = strconv.Itoa(min(s.Start+s.MaxCases-1, contract.MaxNumber))
	case !s.Probe:
		end = "the safe stop after consecutive no-records"
	}
	site, store := s.Site, "the embedded server in "+s.DataDir
	if s.BaseURL != "" {
		site += " at " + s.BaseURL
	}
	if s.NATSURL != "" {
		store = "the server of nats_url"
	}
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "  %-8s %s\n", name, sanitize.Line(value)) }
	text.WriteString("ok: a batch with these settings requests\n")
	line("series", s.Prefix+", year "+s.Year)
	line("range", fmt.Sprintf("%d to %s", s.Start, end))
	line("pace", fmt.Sprintf("%v to %v between two requests, %s in flight", config.FormatDuration(s.DelayMin),
		config.FormatDuration(s.DelayMax),
		sanitize.Plural(s.Concurrency, "case")))
	line("site", site)
	line("files", s.Output)
	line("store", store)
	return text.String()
}

// defaultConfigFile is the file that config init writes and that every command reads unless another
// one is named.
const defaultConfigFile = "fct-scraper.toml"

func (p *program) configInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init [<file>]",
		Short:   "Write a commented settings file (" + defaultConfigFile + "); - writes to stdout",
		Args:    maxArgs(1),
		Example: "  fct-scraper config init court.toml",
		RunE: func(_ *cobra.Command, args []string) error {
			name := defaultConfigFile
			if len(args) > 0 {
				name = args[0]
			}
			if name == "-" {
				return p.print(string(config.Example()))
			}
			name, err := config.ExpandHome(name, p.environ)
			if err != nil {
				return runtime.Usagef("config init: %w", err)
			}
			return writeExample(name)
		},
	}
}

// writeExample writes the commented example to a new file. It does not replace an existing file.
func writeExample(name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return runtime.Usagef("writing %s: it exists already", name)
	}
	if err != nil {
		return runtime.Usagef("writing the settings: %w", err)
	}
	_, err = file.Write(config.Example())
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
