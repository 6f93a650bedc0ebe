package runtime

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"

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

func (p Process) openSite() (*siteClient, error) {
	c := p.Settings.Config
	profile, err := loadProfile(c.Site)
	if err != nil {
		return nil, Usagef("site: %w", err)
	}
	opened, origin := &siteClient{}, c.BaseURL
	if c.Site == simulatorSite && origin == "" {
		if opened.simulator, err = StartSimulator("127.0.0.1:0", courtsim.DefaultOptions()); err != nil {
			return nil, err
		}
		origin = opened.simulator.URL
	}
	proxy, err := p.siteProxy(opened, cmp.Or(origin, profile.Origin))
	if err != nil {
		return nil, errors.Join(Usagef("%w", err), opened.stopSimulator())
	}
	opened.Client, err = site.NewClient(site.Options{
		Profile: profile, Origin: origin, Proxy: proxy, UserAgent: c.UserAgent, Parties: c.Parties, MaxBody: int64(c.MaxBody),
		RequestTimeout: c.RequestTimeout, JobTimeout: c.JobTimeout, Cooldown: c.BlockedCooldown,
	})
	if err != nil {
		return nil, errors.Join(Usagef("%w", err), opened.stopSimulator())
	}
	return opened, nil
}

// siteProxy returns the proxy function of the client; nil for none. The simulator in this process
// never has one.
func (p Process) siteProxy(opened *siteClient, origin string) (func(*http.Request) (*url.URL, error), error) {
	if opened.simulator != nil {
		if wanted := p.Settings.Proxy; wanted != "" && wanted != site.NoProxy {
			p.Log.Warn("site.proxy.unused", "reason", "the simulator of site sim runs in this process; base_url names another")
		}
		return nil, nil
	}
	proxy, err := site.FindProxy(origin, p.Settings.Proxy, p.Getenv)
	if err != nil || proxy == nil {
		return nil, err
	}
	p.Log.Info("site.proxy", "proxy", proxy.Scheme+"://"+proxy.Host)
	return http.ProxyURL(proxy), nil
}

func loadProfile(name string) (*site.Profile, error) {
	if slices.Contains(site.BuiltIn(), name) {
		return site.Load(name)
	}
	return site.LoadFile(name)
}

// StartSimulator serves a simulator on a loopback address until it is closed.
func StartSimulator(addr string, options courtsim.Options) (*courtsim.Server, error) {
	simulator, err := courtsim.New(options)
	if err != nil {
		return nil, Usagef("%w", err)
	}
	server, err := simulator.Start(addr)
	if err != nil {
		return nil, Usagef("%w", err)
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
