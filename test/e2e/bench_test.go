package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkBatch runs whole batches, every write synced, as a process of their own beside a simulator in another, and
// right after each a bare loop that asks the same simulator for the same numbers and keeps nothing. ratio is the one
// speed over the other. flushes are the disk's own count, other programs' included. Each case is a file: on ext4 a folder
// from whose group of blocks many files were removed in the last minutes makes new ones ten times as slowly (0.4 ms instead
// of 0.025), so run it on a quiet disk and not twice in a row:
//
//	go test ./test/e2e -run - -bench Batch -benchtime 1x
//
// The runner to plan for, 2 vCPU and 4 GB, and what 100 numbers took there: docs/figures.md, "The runner to plan for".
func BenchmarkBatch(b *testing.B) {
	for _, size := range []struct{ concurrency, numbers int }{{4, 5000}, {64, 5000}, {64, 20000}} {
		concurrency, numbers := size.concurrency, size.numbers
		b.Run(fmt.Sprintf("concurrency=%d/numbers=%d", concurrency, numbers), func(b *testing.B) {
			var batch, bare time.Duration
			var peak, flushes int64
			for range b.N {
				sim := startSim(b, "--max", "99999", "--missing", "0.05")
				p := newPlace(b, sim, "--end", fmt.Sprint(numbers), "--delay-min", "0", "--delay-max", "0", "--concurrency", fmt.Sprint(concurrency),
					"--progress", "none", "--max-retries", "0")
				before, begun := diskFlushes(b), time.Now()
				rss := p.measure()
				batch += time.Since(begun)
				flushes += diskFlushes(b) - before
				peak = max(peak, rss)
				begun = time.Now()
				askBare(b, sim.url, numbers, concurrency)
				bare += time.Since(begun)
			}
			all := float64(numbers * b.N)
			b.ReportMetric(all/batch.Seconds(), "numbers/s")
			b.ReportMetric(all/bare.Seconds(), "bare/s")
			b.ReportMetric(bare.Seconds()/batch.Seconds(), "ratio")
			b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			b.ReportMetric(float64(flushes)/all, "flushes/number")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// measure runs a batch to its end and returns the most memory that its process had, in bytes.
func (p place) measure() int64 {
	p.t.Helper()
	cmd := p.start(nil)
	if err := cmd.Wait(); err != nil {
		p.t.Fatal(err)
	}
	usage, known := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !known {
		p.t.Fatal("this system does not tell a process's memory")
	}
	return usage.Maxrss << 10
}

// askBare asks for every docket once and reads it.
func askBare(b *testing.B, url string, numbers, concurrency int) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var loops sync.WaitGroup
	for range concurrency {
		loops.Go(func() {
			for n := next.Add(1); n <= int64(numbers); n = next.Add(1) {
				answer, err := client.Get(fmt.Sprintf("%s/CourtFilesAndDecisions/proceedingQueriesRE?division=t&courtnumber=IMM-%d-25", url, n))
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Error(err)
				}
				_ = answer.Body.Close()
			}
		})
	}
	loops.Wait()
}

// diskFlushes counts the flush requests that the machine's disks have completed; 0 where Linux does not tell.
func diskFlushes(b *testing.B) int64 {
	b.Helper()
	file, err := os.Open("/proc/diskstats")
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	var all int64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// Field 16 behind the name, since Linux 5.5 (Documentation/admin-guide/iostats.rst).
		fields := strings.Fields(lines.Text())
		if len(fields) < 19 {
			continue
		}
		var n int64
		if _, err := fmt.Sscan(fields[18], &n); err != nil {
			b.Fatal(err)
		}
		all += n
	}
	return all
}
