package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
)

// BenchmarkStore measures commands, each a process of its own, on a store of many collected numbers: CPU seconds (user
// and system), wall time and the most memory that the process had. skip is a batch over a year whose numbers are all
// collected, so that it sends no request: one of 20,000 numbers, and the largest possible. report writes the files of a
// run of 20,000 numbers. disk is the bytes of the store for each number. Under load only the CPU seconds are usable.
// STORE_NUMBERS is how many numbers the store has, 220,000 without it:
//
//	STORE_NUMBERS=2000000 go test ./test/e2e -run - -bench Store -benchtime 1x -timeout 1h
//
// The store is written as the services write it, without requests.
func BenchmarkStore(b *testing.B) {
	numbers := 220_000
	if text := os.Getenv("STORE_NUMBERS"); text != "" {
		var err error
		if numbers, err = strconv.Atoi(text); err != nil || numbers < 1 {
			b.Fatalf("STORE_NUMBERS %q: allowed is a whole number from 1 on", text)
		}
	}
	sim := startSim(b, "--max", "99999")
	p := newPlace(b, sim, "--progress", "none")
	data := filepath.Join(p.dir, "data")
	writeStoreInProcess(b, data, sim.url, numbers)
	folders := []string{"--data-dir", data, "--output", filepath.Join(p.dir, "output"), "--log-level", "warn"}
	years := storeYears(numbers)
	first := years[0]
	commands := []command{
		{"runs", append([]string{"runs", "--json"}, folders...)},
		{"status", append([]string{"status", "--json"}, folders...)},
		{"plan", append([]string{"plan", "20" + first.year, "--json", "--site", "fct-cf", "--base-url", sim.url, "--probe=false",
			"--end", fmt.Sprint(first.numbers)}, folders...)},
		{"report", append([]string{"report", "--json", "--run", string(first.run())}, folders...)},
	}
	for _, year := range years[:min(2, len(years))] {
		batch := p
		batch.args = slices.Concat(p.args, []string{"--end", fmt.Sprint(year.numbers)})
		batch.args[1] = "20" + year.year
		batch.measure() // writes the record files, which a store that grew by batches has, and the manifest of the store
		commands = append(commands, command{fmt.Sprintf("skip/numbers=%d", year.numbers), batch.args})
	}
	b.Run("disk", func(b *testing.B) {
		b.ReportMetric(float64(diskUsage(b, data))/float64(numbers), "bytes/number")
		b.ReportMetric(0, "ns/op")
	})
	for _, c := range commands {
		b.Run(c.name, c.measure)
	}
	if requests := sim.stats().Requests; requests > 0 {
		b.Errorf("%d requests were sent, want none", requests)
	}
}

// command is a command line that is measured.
type command struct {
	name string
	args []string
}

func (c command) measure(b *testing.B) {
	var cpu time.Duration
	var peak int64
	for range b.N {
		cmd := exec.Command("fct-scraper", c.args...)
		cmd.Stderr = b.Output()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		usage, known := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !known {
			b.Fatal("this system does not tell a process's memory")
		}
		cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		peak = max(peak, usage.Maxrss<<10)
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
}

// storeYear is a series and year of which the numbers from 1 on are collected, in one run.
type storeYear struct {
	series, year string
	numbers      int
}

func (y storeYear) run() contract.RunID { return contract.RunID("bench-" + y.year) }

// storeYears divides numbers among years: 20,000 in 2025, up to 99,999 in each year before.
func storeYears(numbers int) (years []storeYear) {
	for year, most := 25, 20_000; numbers > 0; year, most = (year+99)%100, contract.MaxNumber {
		years = append(years, storeYear{"IMM", fmt.Sprintf("%02d", year), min(numbers, most)})
		numbers -= min(numbers, most)
	}
	return years
}

// The variables of a process of these tests that writes the store of a benchmark and ends.
const (
	envStoreDir, envStoreOrigin, envStoreNumbers = "STORE_DIR", "STORE_ORIGIN", "STORE_OF_NUMBERS"
)

// writeStoreInProcess writes a store in another process: Linux counts the memory of a process toward the peak of those
// that it starts.
func writeStoreInProcess(b *testing.B, dir, origin string, numbers int) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envStoreDir+"="+dir, envStoreOrigin+"="+origin, envStoreNumbers+"="+fmt.Sprint(numbers))
	if said, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("writing the store: %v\n%s", err, said)
	}
}

// writeBenchStore writes the store that the environment names.
func writeBenchStore(dir string) (err error) {
	numbers, err := strconv.Atoi(os.Getenv(envStoreNumbers))
	if err != nil {
		return err
	}
	server, err := natsd.Start(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	broker, err := bus.New(nc, slog.New(slog.DiscardHandler), bus.Options{PublishTimeout: time.Minute})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := streams.Ensure(ctx, broker.JetStream(), streams.Options{}); err != nil {
		return err
	}
	w := storeWriter{broker: broker, encoder: new(ledger.Encoder), origin: os.Getenv(envStoreOrigin), random: rand.New(rand.NewPCG(1, 2))}
	for _, year := range storeYears(numbers) {
		if err := w.write(ctx, year); err != nil {
			return err
		}
	}
	return nil
}

// storeWriter writes completed runs: manifest, ledger, keys, state.
type storeWriter struct {
	broker  *bus.Bus
	encoder *ledger.Encoder
	origin  string
	random  *rand.Rand
}

func (w storeWriter) write(ctx context.Context, y storeYear) error {
	kv, err := w.broker.KV(ctx, contract.BucketRuns)
	if err != nil {
		return err
	}
	run, began := y.run(), time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	manifest := contract.Manifest{
		Version: contract.MessageVersion, RunID: run, Prefix: y.series, Year: y.year, Range: contract.Range{Start: 1, End: y.numbers},
		Batch: "bench" + y.year, Site: "fct-cf", Origin: w.origin, CreatedAt: began, Program: "bench",
		RunSettings: contract.RunSettings{MaxRetries: 3, SafeStopNoRecords: 500, SafeStopFails: 20},
	}
	if err := runs.Put(ctx, kv, run.ManifestKey(), manifest); err != nil {
		return err
	}
	planned := contract.Planned{Version: contract.MessageVersion, Range: manifest.Range, Jobs: y.numbers}
	if err := w.broker.PublishJSON(ctx, run.PlannedSubject(), planned); err != nil {
		return err
	}
	report := contract.Report{RunID: run, Start: 1, End: y.numbers, StartID: manifest.Case(1).String(), EndID: manifest.Case(y.numbers).String(),
		Total: y.numbers, TotalAttempted: y.numbers, Requests: y.numbers, StartedAt: began, Status: contract.Completed}
	for first := 1; first <= y.numbers; {
		var entries []contract.Entry
		var keys []*nats.Msg
		for n := first; n <= y.numbers && contract.Chunk(n) == contract.Chunk(first); n++ {
			at := began.Add(time.Duration(n) * 50 * time.Millisecond)
			entry := w.entry(manifest.Case(n), at)
			if report.FinishedAt = at; entry.Outcome == contract.Success {
				report.Succeeded++
			} else {
				report.NoRecord++
			}
			value, err := json.Marshal(contract.Collected{Outcome: entry.Outcome, Site: manifest.Site, RunID: run, At: at,
				FiledOn: entry.FiledOn, Size: len(entry.Record)})
			if err != nil {
				return err
			}
			keys = append(keys, &nats.Msg{Subject: "$KV." + contract.BucketCollected + "." + entry.CaseID.Key(), Data: value})
			entries = append(entries, entry)
		}
		pack, err := w.encoder.EntryMessage(run, entries)
		if err == nil {
			_, err = w.broker.Publish(ctx, pack)
		}
		if err == nil {
			err = w.broker.PublishBatch(ctx, keys)
		}
		if err != nil {
			return err
		}
		first += len(entries)
	}
	report.SuccessCount, report.NoRecordCount = report.Succeeded, report.NoRecord
	report.DurationSeconds = report.FinishedAt.Sub(began).Seconds()
	return runs.Put(ctx, kv, run.StateKey(), contract.State{Status: contract.Completed, At: report.FinishedAt, Round: 1,
		ElapsedSeconds: report.DurationSeconds, Requests: report.Requests, Report: &report})
}

// entry returns a classified attempt: every twentieth number has no record, which the record after it confirms, the
// others one of 13 docket entries.
func (w storeWriter) entry(id contract.CaseID, at time.Time) contract.Entry {
	url := fmt.Sprintf("%s/CourtFilesAndDecisions/proceedingQueriesRE?division=t&courtnumber=%s", w.origin, id)
	entry := contract.Entry{
		CaseID: id, Attempt: 1, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord, Rule: "empty", StartedAt: at, Seconds: 0.04,
		Requests: []contract.Exchange{{Call: "docket", URL: url, Status: 200, ContentType: "application/json", StartedAt: at, Seconds: 0.04,
			GapSeconds: 0.05, Size: 2, Digest: fmt.Sprintf("sha256:%016x%016x%016x%016x", w.random.Uint64(), w.random.Uint64(), w.random.Uint64(), w.random.Uint64())}},
	}
	if id.Number%20 == 10 {
		return entry
	}
	filed := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, id.Number%365)
	record := contract.Record{
		Version: contract.RecordVersion, CaseID: id, Flags: []string{}, Entries: 13, FetchedAt: at, Source: url,
		Header: contract.Header{StyleOfCause: fmt.Sprintf("%s %s v. MCI", w.name(), w.name()), NatureEN: "Imm - Appl. for leave & jud. review",
			FiledOn: filed.Format(time.DateOnly), OfficeEN: "Toronto", TypeEN: "Immigration Matters", LanguageEN: "English", LanguageCode: "E"},
	}
	for i := range record.Entries {
		record.Docket = append(record.Docket, contract.DocketEntry{
			EntryNumber: i + 1, EnteredOn: filed.AddDate(0, 0, 9*i).Format(time.DateOnly), OfficeEN: "Toronto", DocumentID: fmt.Sprint(w.random.Uint32()),
			Text: fmt.Sprintf("Memorandum of argument of %s %s received on %s, with affidavit of service no. %d", w.name(), w.name(),
				filed.Format("02-Jan-2006"), w.random.Uint32()),
		})
	}
	entry.Verdict, entry.Outcome, entry.Rule = contract.VerdictSuccess, contract.Success, "record"
	entry.FiledOn, entry.Record = record.Header.FiledOn, record.FileContent()
	entry.Requests[0].Size = len(entry.Record)
	return entry
}

// name returns a name that hardly ever comes twice.
func (w storeWriter) name() string {
	name := make([]byte, 8)
	for i := range name {
		name[i] = byte('A' + w.random.IntN(26))
	}
	return string(name)
}

// diskUsage returns how many bytes the files below a folder have.
func diskUsage(b *testing.B, dir string) (size int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return size
}
