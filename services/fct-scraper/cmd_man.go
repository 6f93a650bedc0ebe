package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/store"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (p *program) manCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "man [--dir <folder>]", Short: "Print the man page of fct-scraper, or write one for each command", Args: maxArgs(0),
		Long: "man prints the man page fct-scraper(1), or with --dir writes it and a page for each command as files into a folder.\n" +
			"The pages have no date: the same version of the program writes the same bytes.",
		Example: "  fct-scraper man | man -l -\n  fct-scraper man --dir /usr/local/share/man/man1",
	}
	dir := cmd.Flags().String("dir", "", "folder for a page of each command, created if missing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("dir") {
			return p.print(manPage(cmd.Root()))
		}
		if err := emptyFlags(cmd.Flags()); err != nil {
			return err
		}
		if err := p.expandHome("--dir", dir); err != nil {
			return err
		}
		written, err := writeManPages(cmd.Root(), *dir)
		if err != nil {
			return err
		}
		return p.print(fmt.Sprintf("%s in %s\n", sanitize.Plural(written, "man page"), sanitize.Line(*dir)))
	}
	return cmd
}

// writeManPages writes the page of each command into a folder. Its error wraps store.ErrNotWritable.
func writeManPages(root *cobra.Command, dir string) (written int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrNotWritable, err)
	}
	eachCommand(root, func(cmd *cobra.Command) {
		if err != nil || cmd != root && !cmd.IsAvailableCommand() {
			return
		}
		if err = os.WriteFile(filepath.Join(dir, manName(cmd)+".1"), []byte(manPage(cmd)), 0o644); err != nil { //nolint:gosec // everyone may read man pages
			err = fmt.Errorf("%w: %w", store.ErrNotWritable, err)
		}
		written++
	})
	return written, err
}

// manName is the name of a command's page, such as fct-scraper-config-show.
func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage returns the page of a command in section 1, in the man macros of roff.
func manPage(cmd *cobra.Command) string {
	m := &manWriter{}
	m.line(fmt.Sprintf(`.TH "%s" "1" "" "%s" "fct-scraper"`, escapeRoff(strings.ToUpper(manName(cmd))),
		escapeRoff("fct-scraper "+version())))
	m.section("NAME")
	m.text(manName(cmd) + " - " + lowerFirst(cmd.Short))
	m.section("SYNOPSIS")
	for i, line := range synopsis(cmd) {
		if i > 0 {
			m.line(".br")
		}
		m.line(`\fB` + escapeRoff(line) + `\fR`)
	}
	m.section("DESCRIPTION")
	m.text(cmd.Long)
	if cmd.Long == "" {
		m.text(cmd.Short + ".")
	}
	if cmd.HasAvailableSubCommands() {
		m.section("COMMANDS")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				m.entry(sub.Name(), "", sub.Short+". See "+manName(sub)+"(1).")
			}
		}
	}
	m.section("OPTIONS")
	cmd.Flags().VisitAll(m.option)
	if cmd.HasParent() {
		m.section("EXIT STATUS")
		m.text("See fct-scraper(1).")
	} else {
		m.program()
	}
	if cmd.Example != "" {
		m.section("EXAMPLES")
		m.text(cmd.Example)
	}
	m.section("SEE ALSO")
	m.text(seeAlso(cmd))
	return m.out.String()
}

// synopsis returns the forms of a command.
func synopsis(cmd *cobra.Command) (lines []string) {
	if cmd.Runnable() {
		lines = append(lines, cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		lines = append(lines, cmd.CommandPath()+" <command> [flags]")
	}
	return lines
}

// seeAlso names the pages of the parent and of its other commands.
func seeAlso(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return "The page of each command, and docs/operations.md of the source."
	}
	names := []string{manName(cmd.Parent()) + "(1)"}
	for _, other := range cmd.Parent().Commands() {
		if other != cmd && other.IsAvailableCommand() {
			names = append(names, manName(other)+"(1)")
		}
	}
	return strings.Join(names, ", ")
}

// manWriter writes a page.
type manWriter struct{ out strings.Builder }

// line writes a line of roff.
func (m *manWriter) line(text string) { m.out.WriteString(text + "\n") }

func (m *manWriter) section(name string) { m.line(".SH " + name) }

// text writes paragraphs, which have empty lines between them. Indented lines keep their form.
func (m *manWriter) text(text string) {
	literal, gap, first := false, false, true
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		indented := strings.TrimLeft(line, " \t") != line
		switch {
		case strings.TrimSpace(line) == "":
			gap = true
			continue
		case indented && !literal && first:
			m.line(".nf")
		case indented && !literal:
			m.line(".PP\n.nf")
		case !indented && literal:
			m.line(".fi\n.PP")
		case gap && literal:
			m.line("")
		case gap:
			m.line(".PP")
		}
		literal, gap, first = indented, false, false
		if indented {
			m.line(escapeRoff(strings.ReplaceAll(line, "\t", "    ")))
		} else {
			m.words(line)
		}
	}
	if literal {
		m.line(".fi")
	}
}

// entry writes a term with its type, and what it means.
func (m *manWriter) entry(term, kind, meaning string) {
	m.line(".TP")
	if kind != "" {
		kind = ` \fI` + escapeRoff(kind) + `\fR`
	}
	m.line(`\fB` + escapeRoff(term) + `\fR` + kind)
	m.words(meaning)
}

// words writes words in lines of at most 80 bytes, as mandoc -Tlint wants them; roff fills its own lines.
func (m *manWriter) words(text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(escapeRoff(line+" "+word)) > 80 {
			m.line(escapeRoff(line))
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	m.line(escapeRoff(line))
}

// option writes a flag.
func (m *manWriter) option(flag *pflag.Flag) {
	if flag.Hidden {
		return
	}
	name, kind, meaning := "--"+flag.Name, flag.Value.Type(), flag.Usage
	if flag.Shorthand != "" {
		name = "-" + flag.Shorthand + ", " + name
	}
	if kind == "bool" {
		kind = ""
	}
	if value := flag.DefValue; !slices.Contains([]string{"", "false", "0", "0s", "[]"}, value) {
		meaning += " (default " + value + ")"
	}
	m.entry(name, kind, meaning)
}

// program writes what holds for all commands.
func (m *manWriter) program() {
	m.section("EXIT STATUS")
	for _, e := range exitMeanings() {
		m.entry(e.text(), "", e.meaning)
	}
	m.section("ENVIRONMENT")
	m.text("A variable overrides the settings file, and a flag the variable. An empty variable counts as unset, an unknown one that begins " +
		"with FCT_ is refused.")
	for _, key := range config.Keys() {
		name := key.Env
		if key.OtherEnv != "" {
			name += ", " + key.OtherEnv
		}
		m.entry(name, "", key.Help+" (--"+key.Flag+")")
	}
	m.entry("HTTPS_PROXY, NO_PROXY", "", "proxy for requests to the site, and the hosts that are requested without it")
	m.entry("NO_COLOR, TERM", "", "without colors if NO_COLOR is set; without the status block if TERM is dumb")
	m.entry("TZ", "", "time zone of quiet_hours")
	m.section("FILES")
	for _, file := range [][2]string{
		{"./" + defaultConfigFile, "settings (TOML), if --config is not given; fct-scraper config init writes all of them"},
		{"data", "data_dir: the store of the embedded NATS server"},
		{"output/cases/<series>/<yy>/<case-id>.json", "the records"},
		{"output/report-<time>.json, .html", "the summary of a run, however it ended"},
		{"output/audit_<run>.json", "the counts, and every number that failed"},
		{"output/attempts_<run>.ndjson", "a line for each attempt"},
		{"output/checkpoint-<run>.json", "where an unfinished run stands"},
		{"output/html_failed/<run>/", "the last raw answers of numbers that failed or were blocked"},
		{"output/html/<run>/", "every raw answer, with persist_raw_html"},
	} {
		m.entry(file[0], "", file[1])
	}
}

// escapeRoff returns a line that roff shows as it is: with a plain minus for each hyphen, so that flags
// can be copied.
func escapeRoff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }
