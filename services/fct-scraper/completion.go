package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/export"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// runCompletionTimeout is how long shell completion may take to read the runs of a store.
const runCompletionTimeout = time.Second

// addCompletions sets what shell completion offers for the arguments and flags of every command. It
// offers files only where a file is meant.
func (p *program) addCompletions(root *cobra.Command) {
	settings, flags := p.settingCompletions(), p.flagCompletions()
	arguments := p.argumentCompletions()
	eachCommand(root, func(cmd *cobra.Command) {
		if complete := arguments[strings.Join(strings.Fields(cmd.CommandPath())[1:], " ")]; complete != nil {
			cmd.ValidArgsFunction = complete
		} else if cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			complete := flags[flag.Name]
			if _, sets := flag.Value.(*settingFlag); sets {
				complete = settings[flag.Name]
			}
			if complete == nil {
				complete = cobra.NoFileCompletions
			}
			_ = cmd.RegisterFlagCompletionFunc(flag.Name, complete) // fails for unknown flags only
		})
	})
}

// argumentCompletions returns the completions of arguments by the path of their command. Other commands
// have none.
func (p *program) argumentCompletions() map[string]cobra.CompletionFunc {
	years := firstOnly(words(recentYears(p.now)...))
	return map[string]cobra.CompletionFunc{
		"batch": years, "plan": years, "probe": years,
		"facts": completeFiles(), "analyze": completeFiles(),
		"config init": firstOnly(completeFiles("toml")),
		"serve":       completeServices,
	}
}

// flagCompletions returns the completions of flags by name, without those of settings.
func (p *program) flagCompletions() map[string]cobra.CompletionFunc {
	return map[string]cobra.CompletionFunc{
		"rules":  completeFiles("toml"),
		listFlag: completeFiles(), "ids": completeFiles(), "robots": completeFiles(), "out": completeFiles(),
		"dir":         cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"run":         p.completeRuns,
		"format":      words(export.Formats()...),
		"layout":      words(export.LayoutRLL),
		"table":       words(tableNames()...),
		"columns":     listOf(columnNames()),
		"outcome":     listOf(outcomeWords()),
		"division":    words(courtsim.Divisions()...),
		"fault":       afterPrefix("", courtsim.FaultKinds(), ":"),
		"block-after": completeBlock,
		"year":        words(recentYears(p.now)...),
	}
}

// settingCompletions returns the completions of the flags of settings, and of --config.
func (p *program) settingCompletions() map[string]cobra.CompletionFunc {
	all := map[string]cobra.CompletionFunc{configFlag: completeFiles("toml")}
	for _, key := range config.Keys() {
		complete := words(key.Values...)
		switch {
		case key.Name == "year":
			complete = words(recentYears(p.now)...)
		case key.IsFolder:
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		case key.Kind == "path":
			complete = cobra.FixedCompletions(key.Values, cobra.ShellCompDirectiveDefault)
		}
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			all[flagName(name)] = complete
		}
	}
	return all
}

// words offers these words and no files.
func words(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// completeFiles offers files, with these extensions if there are any.
func completeFiles(extensions ...string) cobra.CompletionFunc {
	if len(extensions) > 0 {
		return cobra.FixedCompletions(extensions, cobra.ShellCompDirectiveFilterFileExt)
	}
	return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
}

// firstOnly restricts a completion to the first argument.
func firstOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, typed)
	}
}

// listOf offers each of the words after every comma of a list.
func listOf(each []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return afterPrefix(typed[:strings.LastIndex(typed, ",")+1], each, "")(cmd, args, typed)
	}
}

// afterPrefix offers the words between a prefix and a suffix. No space follows.
func afterPrefix(prefix string, each []string, suffix string) cobra.CompletionFunc {
	var all []cobra.Completion
	for _, word := range each {
		all = append(all, prefix+word+suffix)
	}
	return cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
}

// completeBlock offers the kinds of blocks after the number of a request.
func completeBlock(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	number, _, found := strings.Cut(typed, ":")
	if !found {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return afterPrefix(number+":", courtsim.BlockKinds(), "")(cmd, args, typed)
}

// completeServices offers the services that are not named yet.
func completeServices(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	named := func(service string) bool { return slices.Contains(args, service) }
	return slices.DeleteFunc(runtime.Services(), named), cobra.ShellCompDirectiveNoFileComp
}

// completeRuns offers the runs of the store, the newest first, described by their status. It offers
// none if the store is missing or does not answer within runCompletionTimeout.
func (p *program) completeRuns(
	cmd *cobra.Command, _ []string, _ string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	p.stderr = io.Discard
	ctx, cancel := context.WithTimeout(cmd.Context(), runCompletionTimeout)
	defer cancel()
	cmd.SetContext(ctx)
	read := make(chan []cobra.Completion, 1)
	go func() {
		var all []cobra.Completion
		// Without runs nothing is offered, whatever the reason.
		_ = p.withRuns(cmd, func(ctx context.Context, r runtime.Runs) error {
			statuses, err := r.All(ctx)
			for _, s := range statuses {
				all = append(all, cobra.CompletionWithDesc(string(s.RunID), string(s.Status)))
			}
			return err
		})
		read <- all
	}()
	select {
	case all := <-read:
		return all, directive
	case <-ctx.Done(): // opening a store or a connection may take longer
		return nil, directive
	}
}

// recentYears returns this year and the two before it.
func recentYears(now time.Time) (years []string) {
	for ago := range 3 {
		years = append(years, now.AddDate(-ago, 0, 0).Format("2006"))
	}
	return years
}

func tableNames() (names []string) {
	for _, table := range export.Tables() {
		names = append(names, table.Name)
	}
	return names
}

// columnNames returns the columns as export --columns names them: those of other tables than the cases
// follow the name of their table.
func columnNames() (names []string) {
	for _, table := range export.Tables() {
		prefix := table.Name + "."
		if table.Name == export.TableCases {
			prefix = ""
		}
		for _, column := range table.Columns {
			names = append(names, prefix+column.Name)
		}
	}
	return names
}

func outcomeWords() (names []string) {
	for name := range outcomeNames() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
