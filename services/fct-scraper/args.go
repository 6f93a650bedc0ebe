package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandLine parses a command line as pflag does, but continues after a mistake, so that all
// mistakes are reported at once. A boolean flag takes the next word as its value if that word is a
// boolean, as in "--probe false"; any other word is an argument of the command, such as the year.
type commandLine struct {
	root, cmd *cobra.Command
	environ   []string
	arguments []string
	flags     []typedFlag
	mistakes  []config.Mistake
}

// typedFlag is one flag as it was typed. noValue reports that the line ended before its value.
type typedFlag struct {
	name, value string
	noValue     bool
}

func parseCommandLine(root *cobra.Command, words, environ []string) *commandLine {
	c := &commandLine{root: root, cmd: root, environ: environ}
	for i := 0; i < len(words); i++ {
		word := words[i]
		name, long := strings.CutPrefix(word, "--")
		switch {
		case word == "--":
			c.arguments = append(c.arguments, words[i+1:]...)
			i = len(words)
		case long:
			i += c.parseLong(name, words[i+1:])
		case len(word) > 1 && word[0] == '-':
			i += c.parseShort(word[1:], words[i+1:])
		case len(c.arguments) == 0 && c.subcommand(word) != nil:
			c.cmd = c.subcommand(word)
		default:
			c.arguments = append(c.arguments, word)
		}
	}
	c.setFlags()
	return c
}

// subcommand returns the subcommand of the current command with that name or alias, or nil.
func (c *commandLine) subcommand(name string) *cobra.Command {
	for _, cmd := range c.cmd.Commands() {
		if cmd.Name() == name || cmd.HasAlias(name) {
			return cmd
		}
	}
	return nil
}

// path returns the words that lead from the root command to the current one.
func (c *commandLine) path() []string { return strings.Fields(c.cmd.CommandPath())[1:] }

// flag returns the flag of that name of the current command, else of any other command, because
// flags may come before their command. It returns nil if no command has it.
func (c *commandLine) flag(name string) *pflag.Flag {
	found := c.cmd.Flags().Lookup(name)
	eachCommand(c.root, func(other *cobra.Command) {
		if found == nil {
			found = other.Flags().Lookup(name)
		}
	})
	return found
}

// parseLong parses --name, --name=value or --name value, and returns how many of the next words it
// consumed.
func (c *commandLine) parseLong(text string, next []string) int {
	name, value, joined := strings.Cut(text, "=")
	if name == "" || name[0] == '-' {
		c.mistake("", "bad flag syntax: --%.80s", text)
		return 0
	}
	if joined {
		c.flags = append(c.flags, typedFlag{name: name, value: value})
		return 0
	}
	flag := c.flag(name)
	if flag == nil {
		return c.skipUnknown(name, next)
	}
	return c.takeValue(flag, next)
}

// takeValue reads the value of a flag from the next words, and returns how many it consumed.
func (c *commandLine) takeValue(flag *pflag.Flag, next []string) int {
	t := typedFlag{name: flag.Name, value: flag.NoOptDefVal}
	taken := 0
	switch {
	case t.value != "" && (len(next) == 0 || !isBoolWord(next[0])):
	case len(next) == 0:
		t.noValue = true
	default: // the next word is the value, even if it looks like a flag
		t.value, taken = next[0], 1
	}
	c.flags = append(c.flags, t)
	return taken
}

// skipUnknown records a flag that no command has, and returns how many of the next words it
// consumed. The next word is most likely the flag's value: it is skipped, so that one typing error
// is reported once.
func (c *commandLine) skipUnknown(name string, next []string) int {
	c.flags = append(c.flags, typedFlag{name: name})
	if len(next) == 0 || len(c.arguments) == 0 && c.subcommand(next[0]) != nil {
		return 0
	}
	return skippedWords(next)
}

// skippedWords returns how many of the next words are taken for the value of an unknown flag.
func skippedWords(next []string) int {
	if len(next) == 0 || strings.HasPrefix(next[0], "-") {
		return 0
	}
	return 1
}

// parseShort parses -c value, -cvalue or -c=value, and returns how many of the next words it
// consumed. It refuses one dash before the name of a long flag: "-config x" would mean the file
// "onfig".
func (c *commandLine) parseShort(text string, next []string) int {
	name, _, joined := strings.Cut(text, "=")
	flag := c.shorthand(text[:1])
	like := ""
	if len(name) > 1 {
		like = c.nearest(name)
	}
	attached := strings.TrimPrefix(text[1:], "=")
	takes := flag != nil && flag.NoOptDefVal == ""
	_, missing := os.Lstat(attached) //nolint:gosec // the caller chooses the file
	switch {
	case like != "" && (like == strings.ToLower(name) || !takes || missing != nil):
		c.mistake(settingKey(like), "unknown flag: -%.80s: did you mean --%s?", name, like)
		if !joined {
			return skippedWords(next)
		}
	case flag == nil, !takes && len(text) > 1:
		c.mistake("", "unknown shorthand flag: -%.80s: %s --help lists those that are", text, c.cmd.CommandPath())
		return skippedWords(next)
	case len(text) > 1:
		c.flags = append(c.flags, typedFlag{name: flag.Name, value: attached})
	default:
		return c.takeValue(flag, next)
	}
	return 0
}

// shorthand returns the flag of any command with that one-letter shorthand, or nil.
func (c *commandLine) shorthand(letter string) (found *pflag.Flag) {
	eachCommand(c.root, func(other *cobra.Command) {
		if flag := other.Flags().ShorthandLookup(letter); flag != nil {
			found = flag
		}
	})
	return found
}

// nearest returns the flag of the current command that is most similar to name, or "".
func (c *commandLine) nearest(name string) string {
	var names []string
	c.cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return config.Nearest(name, names)
}

func (c *commandLine) mistake(key, format string, args ...any) {
	c.mistakes = append(c.mistakes, config.Mistake{Key: key, Problem: fmt.Sprintf(format, args...)})
}

// setFlags sets the flags of the command as they were typed. The last value of a repeated flag
// counts, but each must be valid. Help is not shown if there is a mistake.
func (c *commandLine) setFlags() {
	for i, t := range c.flags {
		flag := c.cmd.Flags().Lookup(t.name)
		if flag == nil {
			c.reportUnknown(t.name)
			continue
		}
		setting, key := settingKey(t.name), strings.ReplaceAll(t.name, "-", "_")
		if t.noValue {
			c.mistake(setting, "--%s: %s has no value: want %s", t.name, key, allowedValue(flag))
			continue
		}
		if err := c.cmd.Flags().Set(t.name, t.value); err != nil {
			c.mistake("", "--%s: %s = %s: want %s", t.name, key, config.Shown("", t.value), allowedValue(flag))
			continue
		}
		again := func(later typedFlag) bool { return later.name == t.name }
		if setting != "" && slices.ContainsFunc(c.flags[i+1:], again) {
			if problem := config.Problem(key, "--"+t.name, t.value, c.environ); problem != "" {
				c.mistake(setting, "%s", problem)
			}
		}
	}
	if help := c.cmd.Flags().Lookup("help"); help.Changed && len(c.mistakes) > 0 {
		_ = help.Value.Set("false") // cannot fail
	}
}

// reportUnknown records the mistake of a flag that the command does not have: either only other
// commands have it, or a similar name may be meant. It does not show the value, which may be a
// secret.
func (c *commandLine) reportUnknown(name string) {
	if c.flag(name) != nil {
		c.mistake("", "unknown flag: --%s: %s does not use it", name, c.cmd.CommandPath())
		return
	}
	if like := c.nearest(name); like != "" {
		c.mistake(settingKey(like), "unknown flag: --%.80s: did you mean --%s?", name, like)
		return
	}
	c.mistake("", "unknown flag: --%.80s: %s --help lists those that are", name, c.cmd.CommandPath())
}

// wantsJSON reports whether the command line requests a JSON document, also by an invalid value.
func (c *commandLine) wantsJSON() (wants bool) {
	if c.cmd.Flags().Lookup(jsonFlag) == nil {
		return false
	}
	for _, t := range c.flags {
		if t.name == jsonFlag {
			value, err := strconv.ParseBool(t.value)
			wants = value || err != nil
		}
	}
	return wants
}

// settingKey returns the key of the setting that a flag sets, or "" if it sets none.
func settingKey(flag string) string {
	for _, key := range config.Keys() {
		if key.Flag == flag || slices.Contains(key.Aliases, strings.ReplaceAll(flag, "-", "_")) {
			return key.Name
		}
	}
	return ""
}

func allowedValue(flag *pflag.Flag) string {
	for _, key := range config.Keys() {
		if key.Name == settingKey(flag.Name) {
			return key.Allowed
		}
	}
	switch flag.Value.Type() {
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	case "uint64":
		return "a whole number, 0 or more"
	case "float64":
		return "a number"
	case "duration":
		return "a duration such as 90s, 5m or 250ms"
	}
	return flag.Usage
}

// isBoolWord reports whether a word is meant as a boolean, also if it is refused: no command has an
// argument such as "yes".
func isBoolWord(word string) bool {
	_, err := strconv.ParseBool(word)
	return err == nil || slices.Contains([]string{"", "yes", "no", "on", "off"}, strings.ToLower(word))
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

// maxArgs allows a command at most so many arguments. Each further one is an error of its own.
func maxArgs(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		allowed := "no argument"
		if most > 0 {
			allowed = "at most one argument"
		}
		var problems []error
		for _, arg := range args[min(most, len(args)):] {
			problems = append(problems, fmt.Errorf("unexpected argument %.40q: %s takes %s", arg, cmd.CommandPath(), allowed))
		}
		return errors.Join(problems...)
	}
}

// noSubcommand refuses the name of an unknown command and suggests a similar one.
func noSubcommand(cmd *cobra.Command, args []string) error {
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
		return fmt.Errorf("unknown command %.40q for %q: did you mean %s?", args[0], cmd.CommandPath(), like)
	}
	return fmt.Errorf("unknown command %.40q for %q: allowed are %s", args[0], cmd.CommandPath(),
		strings.Join(names, ", "))
}

// completeLibraryCommands makes cobra's own commands help and completion refuse unknown names.
func completeLibraryCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	eachCommand(root, (*cobra.Command).InitDefaultHelpFlag)
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args, cmd.RunE = noSubcommand, showHelp
		case "help":
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				topic, rest, err := root.Find(args)
				if err == nil && topic.HasSubCommands() {
					err = noSubcommand(topic, rest)
				}
				if err != nil {
					return runtime.Usagef("%w", err)
				}
				return topic.Help()
			}
		}
	}
}

// showHelp is the action of a command that only has subcommands.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }
