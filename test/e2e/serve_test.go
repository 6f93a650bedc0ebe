package e2e_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/fcttest"
)

func TestServe_Refusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no server":    {nil, "nats_url is empty"},
		"two servers":  {[]string{"--embedded", "--nats-url", "nats://127.0.0.1:1"}, "--embedded"},
		"a service":    {[]string{"cleaner", "--embedded"}, `service "cleaner"`},
		"taken port":   {[]string{"--embedded", "--embedded-addr", "127.0.0.1:99999"}, "invalid port"},
		"credentials":  {[]string{"--nats-url", "nats://127.0.0.1:1", "--nats-creds", "nowhere.creds"}, "nowhere.creds"},
		"http address": {[]string{"--embedded", "--embedded-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:99999"}, "http_addr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("fct-scraper", append([]string{"serve", "--site", "sim"}, test.args...)...)
			cmd.Dir = t.TempDir()
			said, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != codeUsage && exit.ExitCode() != codeBroker || !strings.Contains(string(said), test.want) {
				t.Errorf("%v: %s; want a word of %q", err, said, test.want)
			}
		})
	}
}

func TestServe_StoppedWhileWaiting(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--site", "sim", "--nats-url", "nats://"+fcttest.FreeAddr(t))
	s.hears("nats.waiting")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.stop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("it does not end")
	}
}
