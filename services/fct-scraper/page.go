package main

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"

	"github.com/spf13/pflag"
)

// anyPort is where batch --open serves the page if http_addr is not set.
const anyPort = "127.0.0.1:0"

func (p *program) addOpenFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&p.opensPage, "open", false,
		"print the address of the page, and show it in a browser when on a terminal; without http_addr on a free port of this machine")
}

// openPage prints the address of the page that is served on addr to stderr, and shows it in a browser if
// stderr is a terminal.
func (p *program) openPage(addr string) {
	url := pageURL(addr)
	_, _ = fmt.Fprintf(p.stderr, "page: %s\n", url) // there is nowhere to report a failed write
	if !isTerminal(p.stderr) {
		return
	}
	words := browserCommand(runtime.GOOS, url)
	//nolint:gosec,noctx // the address is that of a listener, and the browser outlives the program
	cmd := exec.Command(words[0], words[1:]...)
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintf(p.stderr, "page: no browser was started: %v\n", err)
		return
	}
	go func() { _ = cmd.Wait() }() // a browser that fails tells so itself
}

// pageURL returns the address of the page of a server on this machine that listens on addr.
func pageURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + addr + "/"
}

// browserCommand returns the command that shows a page in the browser of an operating system.
func browserCommand(system, url string) []string {
	switch system {
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", url}
	case "darwin":
		return []string{"open", url}
	default:
		return []string{"xdg-open", url}
	}
}
