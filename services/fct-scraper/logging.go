package main

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"fct-scraper/pkg/config"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// logger writes into out by the settings: coloured text on a terminal, JSON otherwise, unless log_format says it.
func logger(c config.Config, environ []string, terminal bool, out io.Writer) *slog.Logger {
	var level slog.Level
	// The settings allow nothing that UnmarshalText does not know.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	if c.LogFormat == "json" || c.LogFormat == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(out, &tint.Options{Level: level, NoColor: !terminal || plainWanted(environ)}))
}

// plainWanted follows no-color.org and the dumb terminal.
func plainWanted(environ []string) bool {
	return lookup(environ, "NO_COLOR") != "" || lookup(environ, "TERM") == "dumb"
}

// lookup is the value of a variable, the last one when it is there twice; empty when it is not there.
func lookup(environ []string, name string) string {
	value := ""
	for _, line := range environ {
		if rest, found := strings.CutPrefix(line, name+"="); found {
			value = rest
		}
	}
	return value
}

func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}
