package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/reporter/explain"

	"github.com/spf13/cobra"
)

func (p *program) singleCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use:   "single <case-id>...",
		Short: "Collect some cases now and print them",
		Long: "single collects the named cases and prints them. A case that is collected already is printed without a request,\n" +
			"unless --force is given. --json prints one document: the records, the cases without a record with their outcome and\n" +
			"reason, and the report of each run. Each series and year is a run of its own, as with batch --list.",
		Example:           "  fct-scraper single IMM-231-25 IMM-232-25\n  fct-scraper single T-1024-24 --json --force",
		Args:              caseIDArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.runSingle(cmd, flags, args) },
	}
	addSettings(cmd.Flags(), allSettingsExcept("prefix", "year", "start", "max_cases", "end", "probe", "probe_budget"))
	flags.add(cmd.Flags())
	return cmd
}

// caseIDArgs allows a command one or more arguments, each a case id. Each wrong one is an error of
// its own.
func caseIDArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("argument <case-id> is missing: want %s", allowedListedID)
	}
	var problems []error
	for _, arg := range args {
		if _, err := parseListedID(arg); err != nil {
			problems = append(problems, fmt.Errorf("argument %w", err))
		}
	}
	return errors.Join(problems...)
}

// singleDocument is the JSON result of the command single.
type singleDocument struct {
	// Records are in the order of the arguments.
	Records []contract.Record `json:"records"`
	// WithoutRecord are the other cases.
	WithoutRecord []caseWithoutRecord `json:"without_record"`
	// Runs are the reports of the runs, one for each series and year.
	Runs []json.RawMessage `json:"runs"`
}

// caseWithoutRecord is a case that single has no record of.
type caseWithoutRecord struct {
	CaseID contract.CaseID `json:"case_id"`
	// Outcome is no-record, failed or, for a case that was not requested, pending.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// runSingle collects the cases of the arguments and prints them.
func (p *program) runSingle(cmd *cobra.Command, flags *batchFlags, args []string) error {
	src := p.sources(cmd)
	src.SendsRequests = true
	settings, err := config.Load(src)
	if err != nil {
		return err
	}
	var lists contract.CaseLists
	var ids []contract.CaseID
	for _, arg := range args {
		id, err := parseListedID(arg)
		if err != nil {
			return err // cannot happen: caseIDArgs has read it
		}
		if lists.Add(id) {
			ids = append(ids, id)
		}
	}
	batches := settingsOfLists(settings, lists.Lists())
	signals := p.listenSignals(settings)
	defer signals.close()
	found := make(map[contract.CaseID]explain.CaseResult)
	var reports []contract.Report
	for i, batch := range batches {
		flags.ResumeCommand = resumeCommand(cmd, args, batch)
		run, err := p.runBatch(cmd.Context(), batch, flags.BatchOptions, signals)
		if err != nil {
			return p.printErrorSummary(errorSummary{errorExitCode(err), err, batch, run.ID, run.lastEvent}, flags.json)
		}
		cases, err := p.process(batch).Cases(cmd.Context(), run.RunResult)
		if err != nil {
			return err
		}
		for _, c := range cases {
			found[c.CaseID] = c
		}
		reports = append(reports, *run.Report)
		stop := signals.exitCode()
		if i < len(batches)-1 && !mayFollow(run.Status, stop) {
			if run.Status == contract.Completed {
				p.exitCode = stop
			}
			break
		}
	}
	records, without, err := sortCases(ids, found)
	if err != nil {
		return err
	}
	if !flags.json {
		return p.print(singleText(records, without))
	}
	document := singleDocument{Records: records, WithoutRecord: without}
	for _, report := range reports {
		text, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		document.Runs = append(document.Runs, json.RawMessage(sanitize.Mask(string(text))))
	}
	return p.printData(document)
}

// sortCases returns the records and the other cases, each in the order of ids.
func sortCases(
	ids []contract.CaseID, found map[contract.CaseID]explain.CaseResult,
) (records []contract.Record, without []caseWithoutRecord, err error) {
	records, without = []contract.Record{}, []caseWithoutRecord{} // in JSON they are arrays
	for _, id := range ids {
		c, known := found[id]
		switch {
		case c.Outcome == contract.Success:
			record, err := contract.ParseRecord(c.Record)
			if err != nil {
				return nil, nil, export.UnreadableRecord(id, err)
			}
			records = append(records, record)
		case c.Outcome != "":
			without = append(without, caseWithoutRecord{id, string(c.Outcome), c.Reason})
		case known:
			without = append(without, caseWithoutRecord{id, pendingOutcome, c.Reason})
		default:
			without = append(without, caseWithoutRecord{id, pendingOutcome,
				"not requested: an earlier run did not complete"})
		}
	}
	return records, without, nil
}

// pendingOutcome stands for the outcome of a case that was not requested.
const pendingOutcome = "pending"

// printData writes the result of a command that is data of the site as one JSON document: nothing of
// it is masked.
func (p *program) printData(value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	if !p.jsonWritten.CompareAndSwap(false, true) {
		return nil
	}
	_, err := p.stdout.Write(sanitize.JSON(text.Bytes()))
	return err
}

// singleText formats records, and the cases without one, for people.
func singleText(records []contract.Record, without []caseWithoutRecord) string {
	var text strings.Builder
	for i, r := range records {
		if i > 0 {
			text.WriteString("\n")
		}
		text.WriteString(recordText(r))
	}
	if len(records) > 0 && len(without) > 0 {
		text.WriteString("\n")
	}
	for _, c := range without {
		fmt.Fprintf(&text, "%s: %s: %s\n", c.CaseID, c.Outcome, sanitize.Line(c.Reason))
	}
	return text.String()
}

func recordText(r contract.Record) string {
	var text strings.Builder
	line := func(name, value string) {
		if value = strings.TrimSpace(value); value != "" {
			fmt.Fprintf(&text, "  %-10s %s\n", name, sanitize.Line(value))
		}
	}
	fmt.Fprintf(&text, "%s  %s\n", r.CaseID, sanitize.Line(r.StyleOfCause))
	line("filed", r.FiledOn+" "+r.OfficeEN)
	line("nature", r.NatureEN)
	line("type", r.TypeEN)
	line("track", r.TrackEN)
	line("language", r.LanguageEN)
	for _, party := range r.Parties {
		line("party", strings.Join(nonEmpty(party.Name, party.Contact, party.Firm), ", "))
	}
	line("flags", strings.Join(r.Flags, ", "))
	line("read", r.FetchedAt.UTC().Format(time.RFC3339)+" from "+r.Source)
	entries := fmt.Sprintf("%d entries", r.Entries)
	if r.Entries == 1 {
		entries = "1 entry"
	}
	line("docket", entries)
	for _, e := range r.Docket {
		document := ""
		if e.DocumentNumber > 0 {
			document = fmt.Sprintf("document %d: ", e.DocumentNumber)
		}
		fmt.Fprintf(&text, "  %4d  %-10s  %s%s\n", e.EntryNumber, sanitize.Line(e.EnteredOn), document,
			sanitize.Line(e.Text))
	}
	return text.String()
}

// nonEmpty returns the texts that are not empty.
func nonEmpty(texts ...string) (kept []string) {
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}
