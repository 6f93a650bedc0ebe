package main

import (
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/sanitize"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandOf is the call of a command with the flags that it was given, for a shell, as often as its batch is gone on with: without what was
// wanted once alone, and with the year that it was given for. From a number on it asks for what is left of max_cases.
func commandOf(cmd *cobra.Command, args []string, settings *config.Settings) func(from int) string {
	return func(from int) string {
		words := append(strings.Fields(cmd.CommandPath()), args...)
		left := []string{"unblock", "repair"}
		if from > 0 {
			left = append(left, "start", "max-cases")
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			value := flag.Value.String()
			switch {
			case !flag.Changed || slices.Contains(left, flag.Name):
			case flag.Value.Type() == "bool" && value == "true":
				words = append(words, "--"+flag.Name)
			case flag.Value.Type() == "bool":
				words = append(words, "--"+flag.Name+"="+value)
			default:
				words = append(words, "--"+flag.Name, sanitize.Mask(value))
			}
		})
		if from > 0 {
			words = append(words, "--start", strconv.Itoa(from))
			if settings.MaxCases > 0 {
				words = append(words, "--max-cases", strconv.Itoa(settings.MaxCases-(from-settings.Start)))
			}
		}
		if len(args) == 0 && !yearGiven(settings) {
			words = append(words, "--year", settings.Year)
		}
		for i := range words {
			words[i] = sanitize.Quote(words[i])
		}
		return strings.Join(words, " ")
	}
}
