package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp_Examples parses the examples of every command: they have no unknown flag and no bad value.
func TestHelp_Examples(t *testing.T) {
	t.Parallel()
	root := (&program{}).rootCommand()
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() == "help" || strings.HasPrefix(cmd.CommandPath(), "fct-scraper completion") {
			return // of the library
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			_, call, found := strings.Cut(line, "fct-scraper")
			call, _, _ = strings.Cut(call, "|")
			call, _, _ = strings.Cut(call, ">")
			if parsed := parseCommandLine((&program{}).rootCommand(), strings.Fields(call), nil); !found || len(parsed.mistakes) > 0 {
				t.Errorf("example of %s: %q: %v", cmd.CommandPath(), line, parsed.mistakes)
			}
		}
	})
}

// TestHelp_PlanHasFlagsOfBatch: plan before the flags of any batch estimates it.
func TestHelp_PlanHasFlagsOfBatch(t *testing.T) {
	t.Parallel()
	p := &program{}
	plan := p.planCommand()
	p.batchCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if plan.Flags().Lookup(f.Name) == nil {
			t.Errorf("plan lacks --%s", f.Name)
		}
	})
}

func TestHelp_EveryCommandInGroup(t *testing.T) {
	t.Parallel()
	for _, cmd := range (&program{}).rootCommand().Commands() {
		if cmd.GroupID == "" && !cmd.Hidden {
			t.Errorf("%s is in no group of the help", cmd.Name())
		}
	}
}

func TestHelp_WrappedAtWidth(t *testing.T) {
	t.Parallel()
	const help = "A text that is long, and that its author has broken into lines, stays as it is.\n" +
		"  plan        Estimate what a batch would request; sends no request\n" +
		"  -c, --config path   settings file (TOML), as the command config init writes it\n" +
		"      --force         ask again\n" +
		"  fct-scraper batch 2025 --max-cases 50 --delay-min 5s --delay-max 10s\n"
	const want = "A text that is long, and that its author has broken into lines, stays as it is.\n" +
		"  plan        Estimate what a batch would\n              request; sends no request\n" +
		"  -c, --config path   settings file (TOML), as\n                      the command config init\n" +
		"                      writes it\n" +
		"      --force         ask again\n" +
		"  fct-scraper batch 2025 --max-cases 50 --delay-min 5s --delay-max 10s\n"
	if got := wrapped(help, 48); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, width := range []int{0, 30} {
		if got := wrapped(help, width); width == 0 && got != help || !strings.Contains(got, "--config path   settings file (TOML), as the") {
			t.Errorf("width %d:\n%s", width, got)
		}
	}
}

// TestHelp_OneLineForEachFlag says that help that is no terminal's has a flag on each line.
func TestHelp_OneLineForEachFlag(t *testing.T) {
	t.Parallel()
	out, _ := called(t, "batch", "--help")
	for line := range strings.Lines(out[strings.Index(out, "Flags:\n")+len("Flags:\n"):]) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "-") {
			t.Errorf("no flag on %q", line)
		}
	}
}
