package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/services/fct-scraper/dashboard"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/explain"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlag names the settings file.
const configFlag = "config"

// settingFlag is the flag of a setting. It holds text, because package config parses all three
// sources alike.
type settingFlag struct{ text, kind string }

func (f *settingFlag) String() string        { return f.text }
func (f *settingFlag) Set(text string) error { f.text = text; return nil }
func (f *settingFlag) Type() string          { return f.kind }

// tuneFlag is a flag of tune: it has the name of a setting, and changes a run instead.
type tuneFlag struct{ settingFlag }

// addSettings adds --config and a flag for every setting that uses selects.
func addSettings(flags *pflag.FlagSet, uses func(key string) bool) {
	flags.VarP(&settingFlag{kind: "path"}, configFlag, "c",
		"settings file (TOML); ./"+defaultConfigFile+" if it exists and none is given")
	for _, key := range config.Keys() {
		if !uses(key.Name) {
			continue
		}
		help := fmt.Sprintf("%s (%s) [$%s]", key.Help, key.Allowed, key.Env)
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			flag := flags.VarPF(&settingFlag{key.Default, key.Kind}, flagName(name), "", help)
			flag.Hidden = name != key.Name
			if key.Kind == "bool" {
				flag.NoOptDefVal = "true"
			}
		}
	}
}

// showDefault puts the default of a text flag into its help, without the quotes of pflag, which would
// make it another form than that of other flags.
func showDefault(flag *pflag.Flag) {
	if value := flag.DefValue; flag.Value.Type() == "string" && value != "" {
		flag.Usage += " (default " + value + ")"
		flag.DefValue = ""
	}
}

// allSettings selects the settings of a command that runs batches.
func allSettings(string) bool { return true }

func allSettingsExcept(not ...string) func(string) bool {
	return func(key string) bool { return !slices.Contains(not, key) }
}

// storeSettings selects the settings of a command that reads or changes a store, and those in more.
func storeSettings(more ...string) func(string) bool {
	return settingsAmong("output data_dir", more...)
}

// settingsAmong selects the settings of a command that uses the server of nats_url, and those in
// names and more.
func settingsAmong(names string, more ...string) func(string) bool {
	const server = " nats_url nats_creds nats_nkey nats_ca nats_cert nats_key insecure log_level log_format"
	used := append(strings.Fields(names+server), more...)
	return func(key string) bool { return slices.Contains(used, key) }
}

func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// loadSettings loads the settings of a command that sends no request to the site. A command calls
// it first: its error contains the mistakes in flags and arguments too.
func (p *program) loadSettings(cmd *cobra.Command) (*config.Settings, error) {
	src := p.sources(cmd)
	return config.Load(src)
}

func (p *program) sources(cmd *cobra.Command) config.Sources {
	given := make(map[string]string)
	for _, key := range config.Keys() {
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			flag := cmd.Flags().Lookup(flagName(name))
			if flag == nil || !flag.Changed {
				continue
			}
			if _, tunes := flag.Value.(*tuneFlag); !tunes {
				given[name] = flag.Value.String()
			}
		}
	}
	file := cmd.Flag(configFlag).Value.String()
	if _, err := os.Lstat(defaultConfigFile); !cmd.Flag(configFlag).Changed && !errors.Is(err, fs.ErrNotExist) {
		file = defaultConfigFile
		// The settings of the log are not known yet: this line has the default format.
		form := config.Config{LogLevel: "info", LogFormat: "auto"}
		if p.quiet {
			form.LogLevel = "error"
		}
		newLogger(form, p.environ, isTerminal(p.stderr), p.stderr).Info("settings.read", "file", "./"+defaultConfigFile)
	}
	return config.Sources{
		File:     file,
		Environ:  p.environ,
		Flags:    given,
		Mistakes: p.mistakes,
		Now:      p.now,
		Version:  version(),
	}
}

// process returns what the work of a command depends on. It logs to stderr.
func (p *program) process(settings *config.Settings) runtime.Process {
	process := runtime.Process{
		Settings: settings,
		Log:      newLogger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr),
		Version:  version(),
		Getenv:   func(name string) string { return lookupEnv(p.environ, name) },
		Page: func(live runtime.Live) runtime.Page {
			return dashboard.New(dashboard.Options{
				Live: live, Token: settings.HTTPToken,
				CaseText: func(h explain.History) string { return historyText(h, settings.Output) },
			})
		},
	}
	if p.opensPage {
		process.Listening = p.openPage
	}
	return process
}
