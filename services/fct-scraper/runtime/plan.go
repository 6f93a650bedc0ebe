package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/forecast"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/generator"

	"github.com/nats-io/nats.go/jetstream"
)

// BatchPlan is what a batch would do and, by estimate, when it would end. No request was sent for it.
type BatchPlan struct {
	Series string `json:"series"`
	Year   string `json:"year"`
	Start  int    `json:"start"`
	// End is the last number that is counted below; 0 if none is known.
	End int `json:"end"`
	// Listed is how many case ids the list of the batch has; 0 for a range.
	Listed int `json:"listed"`
	// RunID and Status are those of the run that the batch resumes or joins; empty for a new run.
	RunID  contract.RunID  `json:"run_id"`
	Status contract.Status `json:"status"`
	// BoundKnown reports that the last number is final. UpperBound is the highest number that a search
	// or an earlier run found; 0 without one.
	BoundKnown bool `json:"bound_known"`
	UpperBound int  `json:"upper_bound"`
	// RangeUnknown is why End may not be the last number; empty if BoundKnown.
	RangeUnknown string `json:"range_unknown"`
	// Search is nil without a search.
	Search *SearchPlan `json:"search"`
	// Selected is how many numbers the batch has from Start to End. CollectedSuccess and
	// CollectedNoRecord of them are collected. Skipped of them are not requested and ToRequest are, of which
	// FailedBefore failed in an earlier run.
	Selected          int `json:"selected"`
	CollectedSuccess  int `json:"collected_success"`
	CollectedNoRecord int `json:"collected_no_record"`
	Skipped           int `json:"skipped"`
	ToRequest         int `json:"to_request"`
	FailedBefore      int `json:"failed_before"`
	// Requests is how many requests that takes, without retries; RequestsPerNumber is the estimate for a
	// number without a known outcome.
	Requests          int     `json:"requests"`
	RequestsPerNumber float64 `json:"requests_per_number"`
	// StartsAt to EndsAt is when the requests are sent. EndsAt is left out if TimeUnknown, the reason, is
	// not empty. BlockedUntil is the end of a block of the site: a batch that starts before ends blocked.
	StartsAt     time.Time `json:"starts_at"`
	EndsAt       time.Time `json:"ends_at,omitzero"`
	TimeUnknown  string    `json:"time_unknown"`
	BlockedUntil time.Time `json:"blocked_until,omitzero"`
	// Seconds is the time from StartsAt to EndsAt: BlockedSeconds, PauseSeconds, RestSeconds of Rests
	// rests, and QuietSeconds of QuietWaits.
	Seconds        float64         `json:"seconds"`
	BlockedSeconds float64         `json:"blocked_seconds"`
	PauseSeconds   float64         `json:"pause_seconds"`
	Rests          int             `json:"rests"`
	RestSeconds    float64         `json:"rest_seconds"`
	QuietSeconds   float64         `json:"quiet_seconds"`
	QuietWaits     []forecast.Wait `json:"quiet_waits"`
	// RequestsPerHour is the pace outside of rests and quiet hours.
	RequestsPerHour float64 `json:"requests_per_hour"`
	// DataBytes and OutputBytes are how much data_dir and output grow.
	DataBytes   int64 `json:"data_bytes"`
	OutputBytes int64 `json:"output_bytes"`
}

// SearchPlan is the search for the highest number of a series and year.
type SearchPlan struct {
	ExpectedRequests int `json:"expected_requests"`
	MostRequests     int `json:"most_requests"`
}

// The measurements behind an estimate: docs/figures.md.
const (
	// searchRequests is the median of a search.
	searchRequests = 20
	// absentShare of the numbers of a year have no record, as far as nothing is known. It counts as much
	// as priorNumbers known numbers.
	absentShare, priorNumbers = 0.05, 100
	// storeBytes is how much the store grows with a number, recordBytes what a record's file takes in
	// blocks of 4 KiB, attemptBytes the line of an attempt.
	storeBytes, recordBytes, attemptBytes = 2500, 10300, 230
	// siteLatency is the assumed time of a request; localLatency that of a site on loopback.
	siteLatency, localLatency = 500 * time.Millisecond, 20 * time.Millisecond
)

// Plan returns what the batch of the settings would do if it were started at that time. It reads the
// store as the batch would, also beside a running batch, and sends no request. Its errors are those
// that the batch would end with before its first request.
func (p Process) Plan(ctx context.Context, options BatchOptions, at time.Time) (plan BatchPlan, err error) {
	if err := checkOpenFiles(p.Settings.Config, openFilesLimit()); err != nil {
		return plan, err
	}
	site, err := p.openSite()
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	if err := checkOutputOrigin(p.Settings.Output, site.Origin); err != nil {
		return plan, err
	}
	batch := batchOf(p.Settings.Config, options)
	planFrom := func(b *broker) error {
		a := app{settings: p.Settings, broker: b, site: site, log: p.Log, version: p.Version}
		preview, err := generator.PreviewStart(ctx, a.generatorOptions(), batch, at)
		if err != nil {
			return err
		}
		blocked := time.Time{}
		if b.Bus != nil && !options.Unblock {
			if blocked, err = blockedUntil(ctx, b, site.Profile.Name); err != nil {
				return err
			}
		}
		plan = p.batchPlan(preview, site, at, blocked)
		return nil
	}
	if p.Settings.NATSURL == "" && !natsd.Exists(p.Settings.DataDir) {
		return plan, planFrom(&broker{})
	}
	err = p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		if err := b.verify(ctx, p.Settings.Config, p.Log); err != nil && !options.Repair {
			return err
		}
		return planFrom(b)
	})
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return plan, planFrom(&broker{}) // a server without the streams has collected nothing
	case err == nil, ctx.Err() != nil, IsOutputError(err), IsUsageError(err), IsBrokerError(err):
		return plan, err
	default:
		return plan, fmt.Errorf("%w: %w", ErrBroker, err)
	}
}

// blockedUntil returns the end of the block of a site; zero if there is none.
func blockedUntil(ctx context.Context, b *broker, site string) (time.Time, error) {
	kv, err := b.KV(ctx, contract.BucketSites)
	if err != nil {
		return time.Time{}, err
	}
	block, err := runs.Get[contract.SiteBlock](ctx, kv, contract.BlockKey(site))
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, runs.ErrUnreadable) {
		return time.Time{}, nil
	}
	return block.Until, err
}

// batchPlan adds to a preview the requests, the time and the disk that it takes by estimate.
func (p Process) batchPlan(v generator.Preview, site *siteClient, at, blocked time.Time) BatchPlan {
	m, c := v.Manifest, p.Settings.Config
	plan := BatchPlan{
		Series: m.Prefix, Year: m.Year, Start: v.Range.Start, End: v.Range.End, Listed: m.IDs.Size(),
		RunID: m.RunID, Status: v.Status, BoundKnown: v.BoundKnown, UpperBound: v.Highest,
		Selected: v.Selected, CollectedSuccess: v.Success, CollectedNoRecord: v.NoRecord,
		Skipped: v.Skipped, ToRequest: v.Ask, FailedBefore: v.FailedBefore, StartsAt: at, QuietWaits: []forecast.Wait{},
	}
	if m.Bound != nil {
		plan.UpperBound = m.Bound.Number
	}
	record, absent := site.Profile.Requests(c.Parties, m.Header)
	share := (absentShare*priorNumbers + float64(v.Absent)) / float64(priorNumbers+v.Outcomes)
	plan.RequestsPerNumber = float64(record)*(1-share) + float64(absent)*share
	unknown := v.Ask - v.KnownSuccess - v.KnownNoRecord
	requests := float64(v.KnownSuccess*record+v.KnownNoRecord*absent) + float64(unknown)*plan.RequestsPerNumber
	open := m.Range.End != v.Range.End // nothing limits the batch
	switch {
	case v.BoundKnown:
	case m.Searching():
		plan.RangeUnknown = "unknown until the search has found the bound"
		plan.Search = &SearchPlan{min(searchRequests, m.ProbeBudget), m.ProbeBudget}
		if open {
			requests += float64(plan.Search.ExpectedRequests)
		} else { // they are numbers of the range, of which one with a record takes two requests in a search
			requests += float64(min(plan.Search.ExpectedRequests, v.Ask)) / 2
		}
	default:
		plan.RangeUnknown = fmt.Sprintf("unknown until the run stops after %d no-records in a row", m.SafeStopNoRecords)
		requests += float64(absent * min(m.SafeStopNoRecords, contract.MaxNumber-v.Highest))
	}
	if plan.End < plan.Start {
		plan.End = 0
	}
	plan.Requests = int(requests + 0.5)
	plan.DataBytes = int64(v.Ask * storeBytes)
	plan.OutputBytes = int64(v.Ask*attemptBytes) + int64(float64(unknown)*(1-share)*recordBytes)
	plan.fillTime(forecast.Forecast{Now: at, Requests: plan.Requests, NotBefore: blocked,
		Pace: paceOf(c).Forecast(c.Concurrency, latencyOf(site.Origin))})
	return plan
}

// fillTime fills in the time that the requests take.
func (b *BatchPlan) fillTime(f forecast.Forecast) {
	estimate := f.Result()
	b.EndsAt, b.TimeUnknown = estimate.End, estimate.Unknown
	if interval := f.Pace.Interval(); interval > 0 {
		b.RequestsPerHour = float64(time.Hour) / float64(interval)
	}
	if f.Requests > 0 && f.NotBefore.After(f.Now) {
		b.BlockedUntil = f.NotBefore
	}
	if estimate.Unknown != "" {
		return
	}
	b.Seconds, b.BlockedSeconds = estimate.End.Sub(f.Now).Seconds(), estimate.Held.Seconds()
	b.PauseSeconds, b.QuietSeconds = estimate.Pauses.Seconds(), estimate.Quiet.Seconds()
	b.Rests, b.RestSeconds = estimate.RestCount, estimate.Rests.Seconds()
	b.QuietWaits = append(b.QuietWaits, estimate.Waits...)
}

// latencyOf returns the assumed time of a request to a site.
func latencyOf(origin string) time.Duration {
	if u, err := url.Parse(origin); err == nil && loopback.IsHost(u.Hostname()) {
		return localLatency
	}
	return siteLatency
}
