package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

// withRuns calls use with the runs of the store of the settings.
func (p *program) withRuns(cmd *cobra.Command, use func(context.Context, runtime.Runs) error) error {
	settings, err := p.loadSettings(cmd)
	if err != nil {
		return err
	}
	return p.process(settings).WithRuns(cmd.Context(), use)
}

func (p *program) runsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "runs", Short: "List all runs with their status, the newest first", Args: maxArgs(0),
		Example: "  fct-scraper runs\n  fct-scraper runs --json --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	cmd.Flags().Bool(jsonFlag, false, "print the result as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runtime.Runs) error {
			all, err := r.All(ctx)
			if err != nil {
				return err
			}
			var text strings.Builder
			for _, s := range all {
				text.WriteString(statusText(s))
			}
			return p.printResult(all, text.String())
		})
	}
	return cmd
}

func (p *program) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--run <id>]",
		Short: "Print the status of a run, by default the newest, and the estimated time left",
		Args:  runFlagArgs(false),
		Example: "  fct-scraper status --nats-url nats://127.0.0.1:4222\n" +
			"  fct-scraper status --run imm-25-20261125t101500z-1 --json",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "id of the run, as the command runs prints it; without it the newest running one, else the newest")
	cmd.Flags().Bool(jsonFlag, false, "print the result as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runtime.Runs) error {
			s, err := r.Named(ctx, *name)
			if err != nil {
				return err
			}
			return p.printResult(s, statusText(s))
		})
	}
	return cmd
}

// runFlagArgs allows a command no argument, and a valid run id as --run, which is required if
// needed.
func runFlagArgs(needed bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var wrong error
		name := cmd.Flag("run")
		switch _, err := contract.ParseRunID(name.Value.String()); {
		case needed && !name.Changed:
			wrong = errors.New("--run is missing: want the id of a run, as `fct-scraper runs` lists them")
		case err != nil && name.Changed:
			wrong = fmt.Errorf("--run: %w", err)
		}
		return errors.Join(wrong, maxArgs(0)(cmd, args))
	}
}

// settingsText formats settings for people, by key.
func settingsText(settings map[string]any) string {
	var fields []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fields = append(fields, sanitize.Line(fmt.Sprint(key, " ", settings[key])))
	}
	return strings.Join(fields, ", ")
}

// statusText formats the status of a run as one line.
func statusText(s runtime.RunStatus) string {
	text := fmt.Sprintf("%s  %s  %s to %s  %d", s.RunID, s.Status, s.StartID, s.EndID, s.Done)
	if s.Status == contract.Running && s.Planned > 0 || s.Planned > s.Done {
		text += fmt.Sprintf(" of %d", s.Planned)
	}
	text += fmt.Sprintf(" = %d success + %d no-record + %d failed", s.Succeeded, s.NoRecord, s.Failed)
	switch {
	case s.LeftSeconds != nil:
		text += fmt.Sprintf("  about %s left", roughly(*s.LeftSeconds))
	case s.LeftUnknown != "":
		text += "  time left unknown: " + sanitize.Line(s.LeftUnknown)
	}
	if s.Wait != nil {
		text += "  " + sanitize.Line(s.Wait.String())
	}
	if len(s.Tuned) > 0 {
		text += "  tuned: " + settingsText(s.Tuned)
	}
	if s.Reason != "" {
		text += "  (" + sanitize.Line(s.Reason) + ")"
	}
	return text + "\n"
}
