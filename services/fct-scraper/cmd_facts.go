package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/snapshot"

	"github.com/spf13/cobra"
)

func (p *program) factsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "facts [<file|folder|->...]",
		Short: "Print facts read out of records by rules: who decided what, when, and how each case ended",
		Long: "facts reads records and prints one JSON line for each: the facts of the case, and those of its entries in\n" +
			"entry_facts. It reads the store, as it is at one point, also while a batch runs. Or it reads files of cases/,\n" +
			"folders of such files in the order of their numbers, files of records one a line (.ndjson), and such lines from\n" +
			"stdin (-). The profile of the site names the rules.",
		Args: factsArgs,
		Example: "  fct-scraper facts --series IMM-25 > facts.ndjson\n  fct-scraper facts output/cases > facts.ndjson\n  fct-scraper facts output/cases/IMM/25/IMM-231-25.json --explain\n" +
			"  zcat records.ndjson.gz | fct-scraper facts - --rules my-rules.toml",
	}
	addSettings(cmd.Flags(), storeSettings("site", "graceful_shutdown_timeout"))
	filters := &exportFlags{}
	filters.addCases(cmd.Flags())
	file := cmd.Flags().String("rules", "", "rule file (TOML) in place of the rules that the profile of the site names")
	explained := cmd.Flags().Bool("explain", false,
		"print for people which rule gave which fact, from which entry and text")
	cmd.Flags().Bool(jsonFlag, false, `print one JSON document {"cases": [...]} in place of lines`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		ctx, release := p.stopAtSignal(cmd.Context(), settings, "the output is not complete")
		defer release()
		problems := []error{emptyFlags(cmd.Flags()), p.expandHome("--rules", file)}
		if *explained && p.jsonWanted {
			problems = append(problems, runtime.Usagef("--explain with --json: allowed is one of the two"))
		}
		if len(args) > 0 && (filters.series != "" || filters.ids != "") {
			problems = append(problems,
				runtime.Usagef("--series and --ids: allowed without an argument, for the records of the store"))
		}
		filter, err := p.exportFilter(filters)
		if problems = append(problems, err); errors.Join(problems...) != nil {
			return errors.Join(problems...)
		}
		rules, err := runtime.FactRules(settings.Site, *file)
		if err != nil {
			return err
		}
		output, format := factsOutput(lineOutput{p.stdout}), factLines
		switch {
		case *explained:
			output, format = textOutput{p}, factText
		case p.jsonWanted:
			output = &documentOutput{program: p}
		}
		if len(args) > 0 {
			err = deriveFacts(ctx, rules, recordSource{stdin: cmd.InOrStdin(), paths: args}, format, output.write)
		} else {
			err = p.factsOfStore(ctx, settings, rules, filter, format, output.write)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return output.end(err)
	}
	return cmd
}

// factsArgs wants places that exist, and stdin once.
func factsArgs(_ *cobra.Command, args []string) error {
	var problems []error
	stdin := 0
	for _, arg := range args {
		if arg == "-" {
			stdin++
		} else if _, err := os.Stat(arg); err != nil {
			problems = append(problems, fmt.Errorf("argument %.200q: %w: allowed is a file, a folder or -", arg,
				errors.Unwrap(err)))
		}
	}
	if stdin > 1 {
		problems = append(problems, errors.New("argument - is repeated: stdin can be read once"))
	}
	return errors.Join(problems...)
}

// factsOfStore derives the facts of the selected records of the store. If the process that holds the
// store ends meanwhile, the same output is derived again, and what was written is left out.
func (p *program) factsOfStore(
	ctx context.Context, settings *config.Settings, rules *facts.Rules, filter exportFilter, format factFormat,
	write func([]byte) error,
) error {
	attempt := onceEach(write)
	err := p.process(settings).ReadStore(ctx, "reading records", func(taken *snapshot.Snapshot) error {
		source := recordSource{each: storedRecords(ctx, taken.Source(filter.matches))}
		return deriveFacts(ctx, rules, source, format, attempt())
	})
	if failed := p.stdout.writeErr(); failed != nil { // no error of the store
		return failed
	}
	return err
}

// errChanged reports that a second attempt at an output did not repeat the first one.
var errChanged = errors.New("the records changed while they were read: what was printed is not complete")

// onceEach returns a function that begins an attempt at the same output. An attempt leaves out the bytes
// that earlier attempts passed to write. If they differ, its error wraps runtime.ErrBroker.
func onceEach(write func([]byte) error) func() func([]byte) error {
	var written maphash.Hash
	length := 0 // of what was passed to write
	return func() func([]byte) error {
		var repeated maphash.Hash
		repeated.SetSeed(written.Seed())
		missing := length // of what earlier attempts passed to write
		return func(output []byte) error {
			if missing > 0 {
				part := output[:min(len(output), missing)]
				output = output[len(part):]
				_, _ = repeated.Write(part) // returns no error
				if missing -= len(part); missing == 0 && repeated.Sum64() != written.Sum64() {
					return fmt.Errorf("%w: %w", runtime.ErrBroker, errChanged)
				}
			}
			if len(output) == 0 {
				return nil
			}
			length += len(output)
			_, _ = written.Write(output) // returns no error
			return write(output)
		}
	}
}

// storedRecords yields the records of a store, by series, year and number.
func storedRecords(ctx context.Context, source export.Source) func(yield func(sourceItem, error) bool) {
	return func(yield func(sourceItem, error) bool) {
		errEnough := errors.New("no more records are wanted")
		err := source.Numbers(ctx, func(item export.Item) error {
			if item.Record != nil && !yield(sourceItem{item.CaseID.String(), item.Record, item.CaseID}, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(sourceItem{}, err)
		}
	}
}

// factsOutput is a form in which facts are printed.
type factsOutput interface {
	// write prints the facts of some records.
	write(facts []byte) error
	// end completes the output of a command that ended with err. It returns err, joined with its own.
	end(err error) error
}

// lineOutput prints one JSON line a case.
type lineOutput struct{ to io.Writer }

func (o lineOutput) write(lines []byte) error {
	_, err := o.to.Write(sanitize.JSON(lines))
	return err
}

func (o lineOutput) end(err error) error { return err }

// textOutput prints which rule gave which fact.
type textOutput struct{ *program }

func (o textOutput) write(text []byte) error { return o.print(string(text)) }

func (o textOutput) end(err error) error { return err }

// documentOutput prints one JSON document. It is complete whatever happens: an error in the middle is
// its last member. An error before the first case is a document of its own.
type documentOutput struct {
	*program
	begun bool
}

func (o *documentOutput) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	separator := ",\n"
	if !o.begun {
		if !o.jsonWritten.CompareAndSwap(false, true) {
			return nil
		}
		o.begun, separator = true, "{\"cases\": [\n"
	}
	body := strings.TrimSuffix(string(sanitize.JSON(lines)), "\n")
	_, err := io.WriteString(o.stdout, separator+strings.ReplaceAll(body, "\n", ",\n"))
	return err
}

func (o *documentOutput) end(err error) error {
	var text string
	switch {
	case err == nil && o.begun:
		text = "\n]}\n"
	case err == nil:
		text = "{\"cases\": []}\n"
	case o.begun && !errors.Is(err, errResult):
		text = "\n],\n" + strings.TrimPrefix(jsonText(o.failureOf(errorExitCode(err), err)), "{")
	}
	if text == "" {
		return err
	}
	_, writeErr := io.WriteString(o.stdout, text)
	return errors.Join(err, writeErr)
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
