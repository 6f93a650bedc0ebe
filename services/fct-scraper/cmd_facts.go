package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) factsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "facts <file|folder|->...",
		Short: "Print facts read out of records by rules: who decided what, when, and how each case ended",
		Long: "facts reads records and prints one JSON line for each: the facts of the case, and those of its entries in\n" +
			"entry_facts. It reads files of cases/, folders of such files in the order of their numbers, files of records\n" +
			"one a line (.ndjson), and such lines from stdin (-). The profile of the site names the rules.",
		Args: factsArgs,
		Example: "  fct-scraper facts output/cases > facts.ndjson\n  fct-scraper facts output/cases/IMM/25/IMM-231-25.json --explain\n" +
			"  zcat records.ndjson.gz | fct-scraper facts - --rules my-rules.toml",
	}
	addSettings(cmd.Flags(), func(key string) bool { return key == "site" })
	file := cmd.Flags().String("rules", "", "rule file (TOML) in place of the rules that the profile of the site names")
	explained := cmd.Flags().Bool("explain", false, "print for people which rule gave which fact, from which entry and text")
	asJSON := cmd.Flags().Bool("json", false, `print one JSON document {"cases": [...]} in place of lines`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		if *explained && *asJSON {
			return fmt.Errorf("%w: --explain with --json: allowed is one of the two", runtime.ErrUsage)
		}
		rules, err := runtime.FactRules(settings.Site, *file)
		if err != nil {
			return err
		}
		source := recordSource{stdin: cmd.InOrStdin(), paths: args}
		switch {
		case *explained:
			return p.explainFacts(cmd.Context(), rules, source)
		case *asJSON:
			return p.factsDocument(cmd.Context(), rules, source)
		}
		return deriveFacts(cmd.Context(), rules, source, factLines, func(lines []byte) error {
			_, err := p.stdout.Write(sanitize.JSON(lines))
			return err
		})
	}
	return cmd
}

// factsArgs wants at least one place, each of which exists, and stdin once.
func factsArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("argument <file|folder|-> is missing: allowed are files of cases/, folders of them, and - for stdin")
	}
	var problems []error
	stdin := 0
	for _, arg := range args {
		if arg == "-" {
			stdin++
		} else if _, err := os.Stat(arg); err != nil {
			problems = append(problems, fmt.Errorf("argument %.200q: %w: allowed is a file, a folder or -", arg, errors.Unwrap(err)))
		}
	}
	if stdin > 1 {
		problems = append(problems, errors.New("argument - is repeated: stdin can be read once"))
	}
	return errors.Join(problems...)
}

// factsDocument prints one JSON document. It is complete whatever happens: an error in the middle is
// its last member.
func (p *program) factsDocument(ctx context.Context, rules *facts.Rules, source recordSource) error {
	if !p.jsonWritten.CompareAndSwap(false, true) {
		return nil
	}
	write := func(text string) error {
		_, err := io.WriteString(p.stdout, text)
		return err
	}
	if err := write(`{"cases": [`); err != nil {
		return err
	}
	separator := "\n"
	err := deriveFacts(ctx, rules, source, factLines, func(lines []byte) error {
		body := strings.TrimSuffix(string(sanitize.JSON(lines)), "\n")
		text := separator + strings.ReplaceAll(body, "\n", ",\n")
		separator = ",\n"
		return write(text)
	})
	end := "\n]}\n"
	if err != nil && !errors.Is(err, errResult) {
		end = "\n],\n" + strings.TrimPrefix(jsonText(p.failureOf(errorExitCode(err), err)), "{")
	}
	return errors.Join(err, write(end))
}

// explainFacts prints which rule gave which fact.
func (p *program) explainFacts(ctx context.Context, rules *facts.Rules, source recordSource) error {
	return deriveFacts(ctx, rules, source, factText, func(text []byte) error { return p.print(string(text)) })
}

// factText appends the facts of a case for people. Texts of the site are made safe for a terminal.
func factText(buffer []byte, reader *facts.Reader, data []byte) ([]byte, error) {
	record, err := facts.Decode(data)
	if err != nil {
		return nil, err
	}
	reader.KeepText = true
	c := reader.Of(record)
	s := &historyPrinter{}
	s.line("%s: %s", c.CaseID, c.Status)
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		source := c.Sources[name]
		s.line("  %-14s %-24s rule %s, %s", name, c.Value(name), source.Rule, place(source))
	}
	for _, conflict := range c.Conflict {
		for _, value := range conflict.Values {
			s.line("  conflict       %s = %s: rule %s, %s", conflict.Fact, value.Value, value.Rule, place(value.Source))
		}
	}
	for _, e := range c.EntryFacts {
		s.line("\n%s%s", place(facts.Source{Entry: e.Number, Position: &e.Position}), after(", ", e.Day))
		for _, found := range e.Findings() {
			s.line("  %-14s %-24s rule %s%s", found.Fact, found.Value, found.Rule, quoted(found.Text))
		}
	}
	s.line("")
	return append(buffer, s.String()...), nil
}

func place(source facts.Source) string {
	switch {
	case source.Position == nil:
		return "header"
	case source.Entry == nil:
		return fmt.Sprintf("row %d, which has no entry number", *source.Position)
	}
	return fmt.Sprintf("entry %d", *source.Entry)
}

func after(prefix string, text *string) string {
	if text == nil {
		return ""
	}
	return prefix + *text
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(": %q", sanitize.Truncate(text, 120))
}
