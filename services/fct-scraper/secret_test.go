package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"
	"fct-scraper/services/fct-scraper/runtime"
)

// canaries are the secrets that a user can give the program. None may come out again.
var canaries = struct{ password, token, header, cookie, seed string }{
	"canary-password", "canary-token-of-the-page", "canary-header", "canary-cookie", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
}

// silent says that no secret is in a text.
func silent(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{canaries.password, canaries.token, canaries.header, canaries.cookie, canaries.seed} {
		if strings.Contains(text, secret) {
			t.Errorf("%s tells %s: %.2000q", where, secret, text)
		}
	}
}

// keptSecret runs the program, which is to end with a code and to tell no secret.
func keptSecret(t *testing.T, environ []string, code int, args ...string) printed {
	t.Helper()
	p := didIn(t, environ, code, args...)
	silent(t, "stdout of "+args[0], p.stdout)
	silent(t, "stderr of "+args[0], p.stderr)
	return p
}

// listening carries connections from an address of this machine to an embedded server, and returns the address.
func listening(t *testing.T) string {
	t.Helper()
	server, err := natsd.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(errors.Join(err, server.Close()))
	}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			outside, err := listener.Accept()
			if err != nil {
				return
			}
			inside, err := server.InProcessConn()
			if err != nil {
				_ = outside.Close()
				return
			}
			for _, way := range [][2]net.Conn{{outside, inside}, {inside, outside}} {
				carrying.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // it ends when either end is closed
					_, _ = way[0].Close(), way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		if err := errors.Join(listener.Close(), server.Close()); err != nil {
			t.Error(err)
		}
		carrying.Wait()
	})
	return listener.Addr().String()
}

// secretive is a profile of a court that wants to be told secrets, and the court.
func secretive(t *testing.T, dir string, options courtsim.Options) (profile, origin string) {
	t.Helper()
	server, err := runtime.StartSimulator("127.0.0.1:0", options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	headers := "Authorization = \"Bearer " + canaries.header + "\"\nX-Visit = \"session=" + canaries.cookie + "\"\n"
	return hostileProfile(t, dir, headers), server.URL
}

func TestSecrets_Everywhere(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	for name, faults := range map[string][]courtsim.Fault{"working": nil, "failing": {{Kind: "500", Share: 1, Times: -1}}, "blocked": {{Kind: "403", Share: 1, Times: -1}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			profile, origin := secretive(t, dir, courtsim.Options{Seed: 1, Max: 50, Faults: faults})
			environ := []string{"FCT_NATS_URL=nats://" + canaries.token + "@" + listening(t), "FCT_LOG_LEVEL=debug"}
			settings := []string{"--site", profile, "--base-url", origin, "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"), "--year", "25"}
			stored := settings[4:8] // --output and --data-dir
			code := map[string]int{"working": codeCompleted, "failing": codeFailed, "blocked": codeBlocked}[name]
			batch := append([]string{"batch", "--persist-raw-html", "--end", "6", "--probe=false", "--robots=false", "--delay-min", "0", "--delay-max", "0", "--max-retries", "1", "--backoff-base", "1ms", "--http-token", canaries.token}, settings...)
			ran := keptSecret(t, environ, code, append(batch, "--json")...)
			keptSecret(t, environ, code, append(batch, "--log-format", "text")...)
			_, after, _ := strings.Cut(ran.stdout, `"run_id": "`)
			run, _, _ := strings.Cut(after, `"`)
			keptSecret(t, environ, codeCompleted, append([]string{"report", "--run", run}, stored...)...)
			keptSecret(t, environ, codeCompleted, append([]string{"config", "show"}, settings...)...)
			keptSecret(t, environ, codeCompleted, append([]string{"config", "show", "--json"}, settings...)...)
			for number := 1; number <= 6; number++ {
				id := contract.CaseID{Series: "IMM", Year: "25", Number: number}.String()
				if life := keptSecret(t, environ, codeCompleted, append([]string{"explain", id}, stored...)...); strings.Contains(life.stdout, "nobody") && name != "blocked" {
					t.Errorf("%s: %s", id, life.stdout)
				}
				keptSecret(t, environ, codeCompleted, append([]string{"explain", id, "--json"}, stored...)...)
			}
			if files := silentFolder(t, filepath.Join(dir, "output")); files < 5 {
				t.Errorf("%d files looked at", files)
			}
		})
	}
}

// silentFolder looks into every file of a folder, and returns how many there are.
func silentFolder(t *testing.T, dir string) (files int) {
	t.Helper()
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		silent(t, name, string(data))
		files++
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return files
}

// TestSecrets_RefusedValues gives secrets where something is wrong with them or around them.
func TestSecrets_RefusedValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	batch := []string{"batch", "--site", "sim", "--end", "1", "--probe=false", "--output", filepath.Join(dir, "output")}
	nobody := "nats://operator:" + canaries.password + "@127.0.0.1:1"
	for i, call := range []struct {
		environ []string
		code    int
		args    []string
	}{
		{nil, codeBroker, append(batch, "--nats-url", nobody)},
		{nil, codeBroker, []string{"explain", "IMM-1-25", "--nats-url", nobody}},
		{[]string{"NATS_URL=" + nobody}, codeBroker, []string{"report", "--run", "x"}},
		{[]string{"NATS_NKEY=" + canaries.seed}, codeUsage, []string{"config", "show"}},
		{[]string{"NATS_NKEY=" + canaries.seed, "NATS_URL=nats://127.0.0.1:1"}, codeUsage, batch},
		{[]string{"NATS_CREDS=" + file("creds", canaries.seed), "NATS_URL=nats://127.0.0.1:1"}, codeBroker, batch},
		{[]string{"FCT_NATS_PASSWORD=" + canaries.password}, codeUsage, batch},
		{nil, codeUsage, append(batch, "--nats-url", "nats://u:"+canaries.password+"@a b")},
		{nil, codeUsage, append(batch, "--base-url", "https://u:"+canaries.password+"@court.test")},
		{nil, codeUsage, append(batch, "--site", file("a.toml", "[headers]\nAuthorization = "+canaries.header+"\n"))},
		{nil, codeUsage, append(batch, "--site", file("b.toml", "[headers]\nX-Visit = \""+canaries.cookie+"\\u0000\"\n"))},
		{nil, codeUsage, append(batch, "--config", file("c.toml", "nats_url = \"nats://u:"+canaries.password+"@:x\"\nnats_nkey = "+canaries.seed+"\n"))},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			keptSecret(t, call.environ, call.code, call.args...)
		})
	}
}

func TestSecrets_ErrorsAndLogs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"open " + canaries.seed + ": no such file", "dialing nats://u:" + canaries.password + "@broker:4222: refused"} {
		err := fmt.Errorf("%w: %w", runtime.ErrBroker, errors.Join(errors.New(text), errors.New("closing: "+text)))
		shown := errorText(err)
		if silent(t, "an error", shown); strings.Count(shown, "***") != 2 {
			t.Errorf("%q; want the secret masked twice", shown)
		}
		for _, format := range []string{"json", "text"} {
			var out bytes.Buffer
			newLogger(config.Config{LogFormat: format, LogLevel: "info"}, nil, true, &out).Error("test.event", "error", err, "text", text)
			if silent(t, "a log", out.String()); strings.Count(out.String(), "***") != 3 {
				t.Errorf("%q; want the secret masked three times", out.String())
			}
		}
	}
}
