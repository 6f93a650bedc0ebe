package main

import (
	"errors"
	"fmt"
	"slices"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/site"
)

// simSite is the profile of the bundled simulator; without a base_url it is started in this process.
const simSite = "sim"

// court is the site that is asked.
type court struct {
	*site.Client
	simulator *courtsim.Server
}

// openCourt makes the client for the site of the settings.
func openCourt(c config.Config) (*court, error) {
	profile, err := loadProfile(c.Site)
	if err != nil {
		return nil, fmt.Errorf("%w: site: %w", errUsage, err)
	}
	opened, origin := &court{}, c.BaseURL
	if c.Site == simSite && origin == "" {
		if opened.simulator, err = startSimulator("127.0.0.1:0", courtsim.DefaultOptions()); err != nil {
			return nil, err
		}
		origin = opened.simulator.URL
	}
	opened.Client, err = site.NewClient(site.Options{
		Profile: profile, Origin: origin, UserAgent: c.UserAgent, Parties: c.Parties, MaxBody: int64(c.MaxBody),
		RequestTimeout: c.RequestTimeout.Std(), JobTimeout: c.JobTimeout.Std(), Cooldown: c.BlockedCooldown.Std(),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errUsage, err), opened.stopSimulator())
	}
	return opened, nil
}

func loadProfile(name string) (*site.Profile, error) {
	if slices.Contains(site.BuiltIn(), name) {
		return site.Load(name)
	}
	return site.LoadFile(name)
}

func startSimulator(addr string, options courtsim.Options) (*courtsim.Server, error) {
	pretend, err := courtsim.New(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	server, err := pretend.Start(addr)
	if errors.Is(err, courtsim.ErrOptions) {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("starting the simulator: %w", err)
	}
	return server, nil
}

func (c *court) stopSimulator() error {
	if c.simulator == nil {
		return nil
	}
	return c.simulator.Close()
}

func (c *court) close() error {
	c.Client.Close()
	return c.stopSimulator()
}
