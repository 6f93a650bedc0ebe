package main

import (
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlag names the file of settings.
const configFlag = "config"

// addSettings makes a flag for every setting. The flags hold text: package config reads all three sources alike.
func addSettings(flags *pflag.FlagSet) {
	flags.StringP(configFlag, "c", "", "file of settings (TOML)")
	for _, key := range config.Keys() {
		help := fmt.Sprintf("%s: %s ($%s)", key.Help, key.Allowed, key.Env)
		flags.String(key.Flag, key.Default, help)
		if key.Bool {
			flags.Lookup(key.Flag).NoOptDefVal = "true"
		}
		for _, alias := range key.Aliases {
			flags.String(flagOf(alias), key.Default, help)
			flags.Lookup(flagOf(alias)).Hidden = true
		}
	}
}

// flagOf is the flag of a key or of an alias of one.
func flagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

// settings reads the file, the environment and the flags of a command that sends no request to the site.
func (p *program) settings(cmd *cobra.Command) (*config.Settings, error) {
	src, err := p.sources(cmd, nil)
	if err != nil {
		return nil, err
	}
	return config.Load(src)
}

// sources are what a command's settings are read from. more are settings that the call gave in another way than by a flag;
// giving both with different values is an error.
func (p *program) sources(cmd *cobra.Command, more map[string]string) (src config.Sources, err error) {
	given := make(map[string]string)
	for _, key := range config.Keys() {
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			if flag := cmd.Flags().Lookup(flagOf(name)); flag != nil && flag.Changed {
				given[name] = flag.Value.String()
			}
		}
	}
	for key, value := range more {
		if other, twice := given[key]; twice && other != value {
			return src, fmt.Errorf("%w: %s %q: --%s says %q", errUsage, key, value, key, other)
		}
		given[key] = value
	}
	file, err := cmd.Flags().GetString(configFlag)
	if err != nil {
		return src, fmt.Errorf("reading --%s: %w", configFlag, err)
	}
	return config.Sources{File: file, Environ: p.environ, Flags: given, Now: time.Now(), Version: version()}, nil
}
