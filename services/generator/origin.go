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

// errStopScan ends a scan that has what it came for.
var errStopScan = errors.New("found")

// checkSameSite refuses a start when the store holds what another court answered: the records of the one would count as
// collected for the other.
func (s *Service) checkSameSite(ctx context.Context) error {
	if s.Origin == "" {
		return nil
	}
	held, err := s.storedOrigin(ctx)
	if err != nil || held == "" || site.NameOf(held) == site.NameOf(s.Origin) {
		return err
	}
	return invalid(contract.Problem{
		Field: "base_url", Value: quote([]byte(s.Origin)), Reason: fmt.Sprintf("the store holds records of %.100q", held),
		Allowed: "the same court, or another data_dir (or NATS server) and another output",
	})
}

// elsewhere says that a run asks another court than this generator plans for.
func (s *Service) usesOtherSite(m contract.Manifest) bool {
	origin := manifestOrigin(m)
	return s.Origin != "" && origin != "" && site.NameOf(origin) != site.NameOf(s.Origin)
}

// storedOrigin is where the oldest collected case was asked for of which that is known; empty when there is none.
func (s *Service) storedOrigin(ctx context.Context) (origin string, err error) {
	known := map[contract.RunID]string{}
	err = s.Bus.Scan(ctx, bus.Keys{Bucket: contract.BucketCollected, Filters: []string{">"}}, func(entry jetstream.KeyValueEntry) error {
		value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
		if err != nil {
			return nil //nolint:nilerr // whoever needs the key says so
		}
		if _, asked := known[value.RunID]; asked {
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
		err = fmt.Errorf("looking for the court of the store: %w", err)
	}
	return origin, err
}

// manifestOrigin is where a run asks its site. Manifests of versions that did not keep it tell it by their settings; empty when they do
// not.
func manifestOrigin(m contract.Manifest) string {
	base, kept := m.Config["base_url"].(string)
	switch {
	case m.Origin != "":
		return m.Origin
	case base != "" || !kept:
		return base
	}
	profile, err := site.Load(m.Site)
	switch {
	case err != nil:
		return ""
	case profile.Origin == "": // the simulator in the process
		return "http://127.0.0.1"
	default:
		return profile.Origin
	}
}
