package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/site"
)

// simulatorSite is the profile of the bundled simulator. Without a base_url the simulator runs in
// this process.
const simulatorSite = "sim"

// siteClient is the client of the site, with the simulator if that runs in this process.
type siteClient struct {
	*site.Client
	simulator *courtsim.Server
}

// openSite creates the client for the site of the settings.
func openSite(c config.Config, environ []string, log *slog.Logger) (*siteClient, error) {
	redirectLibraryLog(log)
	profile, err := loadProfile(c.Site)
	if err != nil {
		return nil, fmt.Errorf("%w: site: %w", errUsage, err)
	}
	opened, origin := &siteClient{}, c.BaseURL
	if c.Site == simulatorSite && origin == "" {
		if opened.simulator, err = startSimulator("127.0.0.1:0", courtsim.DefaultOptions()); err != nil {
			return nil, err
		}
		origin = opened.simulator.URL
	}
	proxy, err := siteProxy(opened, cmp.Or(origin, profile.Origin), c, environ, log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errUsage, err), opened.stopSimulator())
	}
	opened.Client, err = site.NewClient(site.Options{
		Profile: profile, Origin: origin, Proxy: proxy, UserAgent: c.UserAgent, Parties: c.Parties, MaxBody: int64(c.MaxBody),
		RequestTimeout: c.RequestTimeout, JobTimeout: c.JobTimeout, Cooldown: c.BlockedCooldown,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errUsage, err), opened.stopSimulator())
	}
	return opened, nil
}

// siteProxy returns the proxy function of the client; nil for none. The simulator in this process
// never has one.
func siteProxy(
	opened *siteClient, origin string, c config.Config, environ []string, log *slog.Logger,
) (func(*http.Request) (*url.URL, error), error) {
	if opened.simulator != nil {
		if c.Proxy != "" && c.Proxy != site.NoProxy {
			log.Warn("site.proxy.unused", "reason", "the simulator of site sim runs in this process; base_url names another")
		}
		return nil, nil
	}
	proxy, err := site.FindProxy(origin, c.Proxy, func(name string) string { return lookupEnv(environ, name) })
	if err != nil || proxy == nil {
		return nil, err
	}
	log.Info("site.proxy", "proxy", proxy.Scheme+"://"+proxy.Host)
	return http.ProxyURL(proxy), nil
}

func loadProfile(name string) (*site.Profile, error) {
	if slices.Contains(site.BuiltIn(), name) {
		return site.Load(name)
	}
	return site.LoadFile(name)
}

func startSimulator(addr string, options courtsim.Options) (*courtsim.Server, error) {
	simulator, err := courtsim.New(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	server, err := simulator.Start(addr)
	if errors.Is(err, courtsim.ErrOptions) {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("starting the simulator: %w", err)
	}
	return server, nil
}

func (s *siteClient) stopSimulator() error {
	if s.simulator == nil {
		return nil
	}
	return s.simulator.Close()
}

func (s *siteClient) close() error {
	s.Client.Close()
	return s.stopSimulator()
}
