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

// errFound ends a scan that has what it came for.
var errFound = errors.New("found")

// sameCourt refuses a start when the store holds what another court answered: the records of the one would count as
// collected for the other.
func (s *Service) sameCourt(ctx context.Context) error {
	if s.Origin == "" {
		return nil
	}
	held, err := s.heldOrigin(ctx)
	if err != nil || held == "" || site.NameOf(held) == site.NameOf(s.Origin) {
		return err
	}
	return refuse(contract.Problem{
		Field: "base_url", Value: show([]byte(s.Origin)), Reason: fmt.Sprintf("the store holds records of %.100q", held),
		Allowed: "the same court, or another data_dir (or NATS server) and another output",
	})
}

// elsewhere says that a run asks another court than this generator plans for.
func (s *Service) elsewhere(m contract.Manifest) bool {
	origin := originOf(m)
	return s.Origin != "" && origin != "" && site.NameOf(origin) != site.NameOf(s.Origin)
}

// heldOrigin is where the oldest collected case was asked for of which that is known; empty when there is none.
func (s *Service) heldOrigin(ctx context.Context) (origin string, err error) {
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
		if known[value.RunID] = originOf(m); known[value.RunID] != "" {
			origin = known[value.RunID]
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("looking for the court of the store: %w", err)
	}
	return origin, err
}

// originOf is where a run asks its site. Manifests of versions that did not keep it tell it by their settings; empty when they do
// not.
func originOf(m contract.Manifest) string {
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
