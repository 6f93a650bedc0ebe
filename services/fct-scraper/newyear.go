package main

import (
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// batch runs the batch of the settings and prints its report. Last year's batch comes before it
// where lastYear says so.
func (p *program) batch(cmd *cobra.Command, flags *batchFlags, args []string) error {
	settings, err := p.batchSettings(cmd, args)
	if err != nil {
		return err
	}
	signals := p.listen(settings)
	defer signals.close()
	if last := lastYear(settings, flags.onlyNew, p.now); last != nil {
		if follows, err := p.batchOf(cmd, flags, args, last, signals, settings.Year); err != nil || !follows {
			return err
		}
	}
	_, err = p.batchOf(cmd, flags, args, settings, signals, "")
	return err
}

// lastYear returns the settings of last year's batch when it is run before that of settings: in
// January and February, for a batch of what is new without a given year. Else it is nil. The court
// may have opened files of December after the last batch of the old year, and no later batch
// without a year would find them.
func lastYear(settings *config.Settings, onlyNew bool, now time.Time) *config.Settings {
	if !onlyNew || yearGiven(settings) || now.Month() > time.February {
		return nil
	}
	last := *settings
	last.Year = now.AddDate(-1, 0, 0).Format("06")
	return &last
}

// yearGiven says whether an argument, a flag, a variable or a file gives the year.
func yearGiven(settings *config.Settings) bool { return settings.Origin("year") != "default" }

// mayFollow says whether another batch may be started after a run that ended with that status: what
// stopped the run, such as a block of the site, holds for the batch too. stop is the exit code of a
// signal that came, 0 for none.
func mayFollow(status contract.Status, stop int) bool {
	return status == contract.Completed && stop == 0
}

// batchDocument is the result of a batch as a JSON document: the report of the newest run.
type batchDocument struct {
	*contract.Report
	// LastYear is the report of last year's run when this year's followed it.
	LastYear *contract.Report `json:"last_year,omitempty"`
	// NotStarted is the year of the batch that was to follow and was not started.
	NotStarted string `json:"not_started,omitempty"`
}

// batchOf runs one batch and prints its report. next is the year of the batch that is to follow,
// empty for none; follows says whether it may be started. With --json the report is then kept for
// the document of that batch.
func (p *program) batchOf(
	cmd *cobra.Command, flags *batchFlags, args []string, settings *config.Settings, signals *signals, next string,
) (follows bool, err error) {
	flags.command = commandOf(cmd, args, settings)
	run, err := p.runBatch(cmd.Context(), settings, flags.order, signals)
	if err != nil && (!flags.json || run.Report == nil) {
		return false, p.say(trouble{codeOf(err), err, settings, run.id, run.last}, flags.json)
	}
	stop := signals.code()
	follows = next != "" && err == nil && mayFollow(run.Status, stop)
	if next != "" && run.Status == contract.Completed && stop != 0 { // the signal stops what is left
		p.code = stop
	}
	switch {
	case flags.json && follows:
		p.lastYear.Store(run.Report)
		return true, nil
	case flags.json:
		return false, errors.Join(err, p.printJSON(batchDocument{run.Report, p.lastYear.Load(), next}))
	}
	text := summary(*run.Report, settings.Output, run.File) + rebuilt(run.restored)
	if next != "" && !follows {
		text += fmt.Sprintf("%s-%s: not started; the same command goes on with %s-%s and then starts it\n",
			settings.Prefix, next, settings.Prefix, settings.Year)
	}
	return follows, p.print(text)
}
