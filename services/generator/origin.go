package generator

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go/jetstream"
)

// errStopScan ends a scan of keys early.
var errStopScan = errors.New("found")

// checkSameSite rejects a start if the store holds records of another site, because they would
// count as collected for this one.
func (s *Service) checkSameSite(ctx context.Context) error {
	if s.Origin == "" {
		return nil
	}
	stored, err := s.storedOrigin(ctx)
	if err != nil || stored == "" || site.NameOf(stored) == site.NameOf(s.Origin) {
		return err
	}
	return invalid(contract.Problem{
		Field: "base_url", Value: quote([]byte(s.Origin)),
		Reason:  fmt.Sprintf("the store holds records of %.100q", stored),
		Allowed: "the same site, or another data_dir (or NATS server) and another output",
	})
}

// usesOtherSite reports whether a run fetches from another site than this generator.
func (s *Service) usesOtherSite(m contract.Manifest) bool {
	origin := manifestOrigin(m)
	return s.Origin != "" && origin != "" && site.NameOf(origin) != site.NameOf(s.Origin)
}

// storedOrigin returns the origin from which the first collected case with a known origin was
// fetched, or "" if there is none.
func (s *Service) storedOrigin(ctx context.Context) (origin string, err error) {
	known := map[contract.RunID]string{}
	err = s.Bus.Scan(ctx, bus.Keys{Bucket: contract.BucketCollected, Filters: []string{">"}},
		func(entry jetstream.KeyValueEntry) error {
			value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
			if err != nil {
				return nil //nolint:nilerr // reported by the readers that need the key
			}
			if _, done := known[value.RunID]; done {
				return nil
			}
			m, err := runs.Manifest(ctx, s.kv, value.RunID)
			if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, runs.ErrUnreadable) {
				return err
			}
			if known[value.RunID] = manifestOrigin(m); known[value.RunID] != "" {
				origin = known[value.RunID]
				return errStopScan
			}
			return nil
		})
	if errors.Is(err, errStopScan) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("reading the site of the store: %w", err)
	}
	return origin, err
}

// manifestOrigin returns the origin of the site of a run, or "" if it is unknown. Manifests of
// earlier versions have no origin; it is derived from their settings.
func manifestOrigin(m contract.Manifest) string {
	base, ok := m.Config["base_url"].(string)
	switch {
	case m.Origin != "":
		return m.Origin
	case base != "" || !ok:
		return base
	}
	profile, err := site.Load(m.Site)
	switch {
	case err != nil:
		return ""
	case profile.Origin == "": // the embedded simulator
		return "http://127.0.0.1"
	default:
		return profile.Origin
	}
}
