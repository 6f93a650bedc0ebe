package natsd

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is a cluster of servers inside this process, each on a folder of its own, over loopback
// ports. Tests use it to lose a leader or a majority.
type Cluster struct {
	options []*server.Options
	members []*server.Server
}

// StartCluster starts size servers below dir and returns when they listen. They take a few seconds
// more to elect a leader.
func StartCluster(dir string, size int) (*Cluster, error) {
	c := &Cluster{members: make([]*server.Server, size)}
	var routes []*url.URL
	for i := range size {
		o := optionsFor(filepath.Join(dir, strconv.Itoa(i)))
		o.ServerName, o.Cluster.Name = fmt.Sprintf("server-%d", i), "fct"
		var client, route error
		o.Host, o.Port, client = resolveAddr("127.0.0.1:0")
		o.Cluster.Host, o.Cluster.Port, route = resolveAddr("127.0.0.1:0")
		if err := errors.Join(client, route); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStart, err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("%s:%d", o.Cluster.Host, o.Cluster.Port)})
		c.options = append(c.options, o)
	}
	for i, o := range c.options {
		o.Routes = routes
		if err := c.Start(i); err != nil {
			c.Close()
			return nil, err
		}
	}
	for _, member := range c.members {
		if !member.ReadyForConnections(startTimeout) {
			c.Close()
			return nil, fmt.Errorf("%w: not ready", ErrStart)
		}
	}
	return c, nil
}

// Start starts a server that was not started or was stopped.
func (c *Cluster) Start(i int) (err error) {
	if c.members[i], err = server.NewServer(c.options[i].Clone()); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	c.members[i].Start()
	return nil
}

// Stop stops a server and waits until its store is closed.
func (c *Cluster) Stop(i int) {
	if c.members[i] != nil {
		c.members[i].Shutdown()
		c.members[i].WaitForShutdown()
		c.members[i] = nil
	}
}

// Close stops all servers.
func (c *Cluster) Close() {
	for i := range c.members {
		c.Stop(i)
	}
}

// URL is the address of one of the servers.
func (c *Cluster) URL(i int) string {
	return fmt.Sprintf("nats://%s:%d", c.options[i].Host, c.options[i].Port)
}
