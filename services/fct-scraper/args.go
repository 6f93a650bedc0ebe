package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// joinValues writes "--probe false" as "--probe=false": pflag takes the value of a flag that may stand alone only after an equals sign. A word
// that is no truth value is left alone: it is an argument of the command, such as the year.
func joinValues(root *cobra.Command, args []string) []string {
	alone := make(map[string]bool) // whether the flag may stand alone
	known := func(flag *pflag.Flag) { alone["--"+flag.Name] = flag.NoOptDefVal != "" }
	root.Flags().VisitAll(known)
	if cmd, _, err := root.Find(args); err == nil { // of the same name, its own flag counts
		cmd.Flags().VisitAll(known)
	}
	var joined []string
	for i := 0; i < len(args); i++ {
		may, found := alone[args[i]]
		switch {
		case args[i] == "--":
			return append(joined, args[i:]...)
		case i+1 == len(args), !found && args[i] != "-c", may && !isTruth(args[i+1]):
			joined = append(joined, args[i])
		case may:
			joined = append(joined, args[i]+"="+args[i+1])
			i++
		default: // the next is its value, whatever that looks like
			joined = append(joined, args[i], args[i+1])
			i++
		}
	}
	return joined
}

// isTruth says whether a word stands for a truth value, also one that is refused: "yes" is no argument of any command.
func isTruth(word string) bool {
	_, err := strconv.ParseBool(word)
	return err == nil || slices.Contains([]string{"", "yes", "no", "on", "off"}, strings.ToLower(word))
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

// flagError says of a flag that a command does not have which one may be meant, or that only other commands have it.
func flagError(cmd *cobra.Command, err error) error {
	unknown, is := errors.AsType[*pflag.NotExistError](err)
	if is {
		if word, _, _ := strings.Cut(unknown.GetSpecifiedShortnames(), "="); len(word) > 1 && cmd.Flags().Lookup(word) != nil {
			return fmt.Errorf("%w: %w: did you mean --%s?", errUsage, err, word)
		}
	}
	if !is || unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	name, elsewhere := unknown.GetSpecifiedName(), false
	eachCommand(cmd.Root(), func(other *cobra.Command) { elsewhere = elsewhere || other.Flags().Lookup(name) != nil })
	if elsewhere {
		return fmt.Errorf("%w: unknown flag: --%s: %s does not use it", errUsage, name, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	if like := config.Nearest(name, names); like != "" {
		return fmt.Errorf("%w: %w: did you mean --%s?", errUsage, err, like)
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

// noCommand refuses the name of a command that there is not, and says which one may be meant.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if like := config.Nearest(args[0], names); like != "" {
		return fmt.Errorf("%w: unknown command %.40q for %q: did you mean %s?", errUsage, args[0], cmd.CommandPath(), like)
	}
	return fmt.Errorf("%w: unknown command %.40q for %q: allowed are %s", errUsage, args[0], cmd.CommandPath(), strings.Join(names, ", "))
}

// checkHelpTopic makes the help command refuse the name of a command that there is not.
func checkHelpTopic(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err == nil && topic.HasSubCommands() {
				err = noCommand(topic, rest)
			}
			if err != nil {
				return err
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		}
	}
}

// help is what a command does that only holds others.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
