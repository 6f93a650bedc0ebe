package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) stopCommand() *cobra.Command {
	cmd := runCommand("stop", "Stop a run; starting the same batch again resumes it", "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRun(cmd, func(ctx context.Context, r runtime.Runs, s runtime.RunStatus) (string, error) {
			if s.Status != contract.Running {
				return "", nil
			}
			return fmt.Sprintf("%s stops: cases in flight are finished\n", s.RunID), r.Stop(ctx, s.RunID)
		})
	}
	return cmd
}

func (p *program) pauseCommand() *cobra.Command {
	cmd := runCommand("pause", "Pause a running run: it sends no request until it is resumed", "")
	cmd.RunE = p.steer(contract.SubjectPause, noTuning)
	return cmd
}

func (p *program) resumeCommand() *cobra.Command {
	cmd := runCommand("resume", "Let a paused run go on", "")
	cmd.RunE = p.steer(contract.SubjectResume, noTuning)
	return cmd
}

func (p *program) tuneCommand() *cobra.Command {
	cmd := runCommand("tune", "Change pace and concurrency of a running run, on all its fetchers", " --delay-min 2s")
	var least, most, cases tuneFlag
	least.kind, most.kind, cases.kind = "duration", "duration", "number"
	cmd.Flags().Var(&least, "delay-min", "new shortest pause between the starts of two requests, such as 2s")
	cmd.Flags().Var(&most, "delay-max", "new longest pause between the starts of two requests, such as 5s")
	cmd.Flags().Var(&cases, "concurrency", "new number of cases in flight, 1 to 64")
	read := func() (t contract.Tuning) {
		mistake := func(flag, value, allowed string) {
			p.mistakes = append(p.mistakes, config.Mistake{Key: flag, Problem: fmt.Sprintf("--%s %.40q: %s", flag, value, allowed)})
		}
		delay := func(flag string, value tuneFlag) *time.Duration {
			if !cmd.Flags().Changed(flag) {
				return nil
			}
			length, err := config.ParseDuration(value.text)
			if err != nil {
				mistake(flag, value.text, err.Error())
			}
			return &length
		}
		t.DelayMin, t.DelayMax = delay("delay-min", least), delay("delay-max", most)
		if cmd.Flags().Changed("concurrency") {
			n, err := strconv.Atoi(cases.text)
			if err != nil || n < 1 || n > 64 {
				mistake("concurrency", cases.text, "allowed is a whole number, 1 to 64")
			}
			t.Concurrency = &n
		}
		if t == (contract.Tuning{}) && len(p.mistakes) == 0 {
			p.mistakes = append(p.mistakes, config.Mistake{
				Problem: "nothing to change: allowed are --delay-min, --delay-max and --concurrency"})
		}
		return t
	}
	cmd.RunE = p.steer(contract.SubjectTune, read)
	return cmd
}

// runCommand returns a command about the run of --run, without its function.
func runCommand(name, short, example string) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " --run <id>", Short: short,
		Args:    runFlagArgs(true),
		Example: "  fct-scraper " + name + " --run imm-25-20261125t101500z-1" + example + " --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	cmd.Flags().String("run", "", "id of the run, as the command runs prints it")
	cmd.Flags().Bool(jsonFlag, false, "print the status of the run as one JSON document")
	return cmd
}

// withRun calls act with the run of --run and prints the status that the run then has, or the text of
// act if it is still running and the text is not empty.
func (p *program) withRun(
	cmd *cobra.Command, act func(context.Context, runtime.Runs, runtime.RunStatus) (text string, err error),
) error {
	name := cmd.Flag("run").Value.String()
	return p.withRuns(cmd, func(ctx context.Context, r runtime.Runs) error {
		s, err := r.Named(ctx, name)
		if err != nil {
			return err
		}
		text, err := act(ctx, r, s)
		if err != nil {
			return err
		}
		if s, err = r.Named(ctx, name); err != nil {
			return err
		}
		if s.Status != contract.Running || text == "" {
			text = statusText(s)
		}
		return p.printResult(s, text)
	})
}

func noTuning() contract.Tuning { return contract.Tuning{} }

// steer returns the function of a command that changes the control of a running run. It returns when
// the change is stored. read adds its mistakes to those of the program.
func (p *program) steer(subject string, read func() contract.Tuning) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		tuning := read()
		return p.withRun(cmd, func(ctx context.Context, r runtime.Runs, s runtime.RunStatus) (string, error) {
			return "", r.Steer(ctx, subject, s, tuning)
		})
	}
}
