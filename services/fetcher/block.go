package fetcher

import (
	"context"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
)

// recordBlock stores a block of the site and halts the run. No fetcher sends requests until the block
// ends: after wait, the time that the site named, or after Cooldown if it named none.
func (s *Service) recordBlock(
	ctx context.Context, run contract.RunID, id contract.CaseID, rule string, wait time.Duration,
) error {
	now := time.Now().UTC()
	if wait <= 0 {
		wait = s.Cooldown
	}
	block := contract.SiteBlock{CaseID: id, RunID: run, Rule: rule, At: now, Until: now.Add(wait)}
	if err := s.limiter.SetBlock(ctx, block); err != nil {
		return err
	}
	s.Log.Error("site.blocked", "run_id", run, "case_id", id.String(), "rule", rule, "until", block.Until)
	return runs.Halt(ctx, s.runs, run, blockHalt(block))
}

// blockHalt returns the halt of a run by a block of its site.
func blockHalt(block contract.SiteBlock) contract.Halt {
	return contract.Halt{
		Status: contract.Blocked, At: time.Now().UTC(),
		Reason: fmt.Sprintf("blocked by the site at %s (%s), until %s", block.CaseID, block.Rule,
			block.Until.UTC().Format(time.RFC3339)),
	}
}
