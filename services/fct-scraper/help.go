package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// groupCommands sorts the commands of the help into groups.
func groupCommands(root *cobra.Command) {
	for _, group := range []struct {
		id, title string
		commands  []string
	}{
		{"collect", "Collect:", []string{"batch", "plan", "probe", "single"}},
		{"runs", "Runs:", []string{"status", "runs", "stop", "pause", "resume", "tune", "explain", "report"}},
		{"data", "Data:", []string{"export", "facts", "analyze"}},
		{"services", "Services:", []string{"serve", "setup", "healthcheck", "sim"}},
		{"help", "Settings and help:", []string{"config", "version", "man", "completion", "help"}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, cmd := range root.Commands() {
			if slices.Contains(group.commands, cmd.Name()) {
				cmd.GroupID = group.id
			}
		}
	}
}

// wrapHelp makes commands wrap their help to the width of the terminal. Elsewhere, each flag has one line.
func (p *program) wrapHelp(root *cobra.Command) {
	library := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		var text bytes.Buffer
		cmd.SetOut(&text)
		library(cmd, args)
		cmd.SetOut(p.stdout)
		width, _ := terminalSize(p.stdout.w)
		_, _ = p.stdout.Write([]byte(wrapped(text.String(), width))) // stdout keeps its error
	})
}

// leastHelpColumns is the least width of a description. In a narrower terminal lines stay as they are.
const leastHelpColumns = 24

// descriptionStart matches a line about a command or a flag, up to the first letter of its description.
var descriptionStart = regexp.MustCompile(`^ {2,6}(-\w, )?[-\w]+( \w+)? {2,}\S`)

// wrapped wraps the descriptions of commands and flags in a help text to a width; 0 wraps nothing.
func wrapped(help string, width int) string {
	var out strings.Builder
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n")
		indent := descriptionColumn(line)
		if width-indent < leastHelpColumns || len(line) < width || indent == 0 {
			out.WriteString(line + "\n")
			continue
		}
		at := 0
		for i, word := range strings.Split(line[indent:], " ") {
			switch {
			case i == 0:
				out.WriteString(line[:indent])
			case at+1+len(word) >= width-indent:
				out.WriteString("\n" + strings.Repeat(" ", indent))
				at = 0
			default:
				out.WriteString(" ")
				at++
			}
			out.WriteString(word)
			at += len(word)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// descriptionColumn returns the column of the description in a line of a help text about a command or
// a flag, else 0.
func descriptionColumn(line string) int {
	found := descriptionStart.FindStringIndex(line)
	if found == nil {
		return 0
	}
	return found[1] - 1
}
