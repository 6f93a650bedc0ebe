package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"fct-scraper/pkg/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlag names the file of settings.
const configFlag = "config"

// settingFlag is the flag of a setting. It holds text: package config reads all three sources alike.
type settingFlag struct{ text, kind string }

func (f *settingFlag) String() string        { return f.text }
func (f *settingFlag) Set(text string) error { f.text = text; return nil }
func (f *settingFlag) Type() string          { return f.kind }

// addSettings makes a flag for the file of settings and for every setting that a command uses.
func addSettings(flags *pflag.FlagSet, uses func(key string) bool) {
	flags.VarP(&settingFlag{kind: "path"}, configFlag, "c", "file of settings (TOML); ./"+defaultConfigFile+" when it is there and none is given")
	for _, key := range config.Keys() {
		if !uses(key.Name) {
			continue
		}
		help := fmt.Sprintf("%s: %s ($%s)", key.Help, key.Allowed, key.Env)
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			flag := flags.VarPF(&settingFlag{key.Default, key.Kind}, flagName(name), "", help)
			flag.Hidden = name != key.Name
			if key.Kind == "bool" {
				flag.NoOptDefVal = "true"
			}
		}
	}
}

// allSettings are the settings of a command that runs batches.
func allSettings(string) bool { return true }

// allSettingsExcept are all settings but some.
func allSettingsExcept(not ...string) func(string) bool {
	return func(key string) bool { return !slices.Contains(not, key) }
}

// storeSettings are the settings of a command that reads or changes what is stored, and those that it uses beside them.
func storeSettings(more ...string) func(string) bool {
	return settingsAmong("output data_dir", more...)
}

// serverSettings are the settings of a command that works on the server of nats_url, and those that it uses beside them.
func serverSettings(more ...string) func(string) bool { return settingsAmong("", more...) }

func settingsAmong(names string, more ...string) func(string) bool {
	const server = " nats_url nats_creds nats_nkey nats_ca nats_cert nats_key insecure log_level log_format"
	used := append(strings.Fields(names+server), more...)
	return func(key string) bool { return slices.Contains(used, key) }
}

// flagName is the flag of a key or of an alias of one.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// loadSettings reads the file, the environment and the flags of a command that sends no request to the site. A command that has settings reads
// them before it does anything else: what is wrong with its flags and arguments is told with what is wrong with them.
func (p *program) loadSettings(cmd *cobra.Command) (*config.Settings, error) {
	src := p.sources(cmd)
	return config.Load(src)
}

// sources are what a command's settings are read from.
func (p *program) sources(cmd *cobra.Command) config.Sources {
	given := make(map[string]string)
	for _, key := range config.Keys() {
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			if flag := cmd.Flags().Lookup(flagName(name)); flag != nil && flag.Changed {
				given[name] = flag.Value.String()
			}
		}
	}
	file := cmd.Flag(configFlag).Value.String()
	if _, err := os.Lstat(defaultConfigFile); !cmd.Flag(configFlag).Changed && !errors.Is(err, fs.ErrNotExist) {
		file = defaultConfigFile
		// In the form of the log, of which these are not the settings yet.
		form := config.Config{LogLevel: "info", LogFormat: "auto"}
		newLogger(form, p.environ, isTerminal(p.stderr), p.stderr).Info("settings.read", "file", "./"+defaultConfigFile)
	}
	return config.Sources{File: file, Environ: p.environ, Flags: given, Mistakes: p.mistakes, Now: p.now, Version: version()}
}
