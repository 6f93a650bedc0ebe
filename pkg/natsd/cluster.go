package natsd

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is a cluster of servers inside this process, each on a folder of its own, over loopback
// ports. Tests use it to lose a leader or a majority.
type Cluster struct {
	dir     string
	clients []string
	routes  []*url.URL
	members []*server.Server
}

// StartCluster starts size servers below dir and returns when they listen. They take a few seconds
// more to elect a leader.
func StartCluster(dir string, size int) (*Cluster, error) {
	c := &Cluster{dir: dir, members: make([]*server.Server, size)}
	for range size {
		var hosts []string
		for range 2 {
			host, port, err := resolveAddr("127.0.0.1:0")
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrStart, err)
			}
			hosts = append(hosts, fmt.Sprintf("%s:%d", host, port))
		}
		c.clients = append(c.clients, "nats://"+hosts[0])
		c.routes = append(c.routes, &url.URL{Scheme: "nats", Host: hosts[1]})
	}
	for i := range size {
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
func (c *Cluster) Start(i int) error {
	options := optionsFor(filepath.Join(c.dir, strconv.Itoa(i)))
	options.ServerName = fmt.Sprintf("server-%d", i)
	client, err := url.Parse(c.clients[i])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if options.Host, options.Port, err = resolveAddr(client.Host); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	options.Cluster.Name, options.Routes = "fct", c.routes
	if options.Cluster.Host, options.Cluster.Port, err = resolveAddr(c.routes[i].Host); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if c.members[i], err = server.NewServer(options); err != nil {
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
func (c *Cluster) URL(i int) string { return c.clients[i] }
