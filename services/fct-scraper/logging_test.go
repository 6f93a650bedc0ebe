package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// talkative is a court that sends more behind each answer than it has announced.
func talkative(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				from := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(from)
					if err != nil {
						return
					}
					body := fmt.Sprintf(`{"Count":1,"data":[{"COURT_NO":%q,"RE_NO":1,"RECORDED_ENTRY":"x"}]}`, request.URL.Query().Get("courtnumber"))
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s<!-- \x1b[31mmore -->", len(body), body)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestLog_LibraryEvents: what net/http says of bytes behind an answer is an event of the log, and
// nothing else is in it.
func TestLog_LibraryEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command("fct-scraper", "batch", "2025", "--json", "--base-url", talkative(t), "--end", "20", "--probe=false", "--robots=false",
		"--delay-min", "0", "--delay-max", "0", "--log-format", "json", "--progress", "json",
		"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
	var problems bytes.Buffer
	cmd.Stderr = &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, problems.String())
	}
	events := 0
	for line := range strings.Lines(problems.String()) {
		var event struct{ Msg, Text string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if event.Msg == "library.log" && strings.Contains(event.Text, "Unsolicited response") {
			events++
		}
	}
	if events == 0 {
		t.Errorf("no event of the bytes behind the answers: %s", problems.String())
	}
}

func TestLog_LibraryText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	library := &libraryLog{}
	_, _ = io.WriteString(library, "before there is a logger\n")
	library.events.Store(newLogger(config.Config{LogFormat: "json", LogLevel: "info"}, nil, false, &out))
	for _, text := range corpus() {
		out.Reset()
		if n, err := io.WriteString(library, text+"\n"); n != len(text)+1 || err != nil {
			t.Errorf("%d bytes of %d taken, %v", n, len(text)+1, err)
		}
		if line := strings.TrimSuffix(out.String(), "\n"); fcttest.HasControl(line, false) || !json.Valid([]byte(line)) || !strings.Contains(line, "seen") {
			t.Errorf("%q: %q", text, line)
		}
	}
}

// TestStatusLine_Outage: while the NATS server is gone its absence is told, not what the library
// makes of it.
func TestStatusLine_Outage(t *testing.T) {
	t.Parallel()
	server, err := natsd.StartOn(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	nc, err := nats.Connect(server.URL(), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { close(gone) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	<-gone
	_, err = js.Publish(t.Context(), "x", nil)
	if err == nil || !strings.Contains(err.Error(), "outbound buffer limit") {
		t.Fatalf("the library says %v", err)
	}
	err = fmt.Errorf("%w: storing an answer: %w", runtime.ErrBroker, err)
	said := []string{errorText(err)}
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := newLogger(config.Config{LogFormat: format, LogLevel: "info"}, nil, format == "text", &out)
		log.Warn("fetcher.failed", "error", err, "again", slog.StringValue(err.Error()))
		said = append(said, out.String())
	}
	for _, text := range said {
		if strings.Contains(text, "outbound") || !strings.Contains(text, "storing an answer: no connection to the NATS server") {
			t.Errorf("%q", text)
		}
	}
}

func TestLog_CaseEventsBesideProgress(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{slog.LevelInfo: "batch.run.start", slog.LevelDebug: "batch.run.start batch.job.start batch.job.end"} {
		var out bytes.Buffer
		log := slog.New(blockHandler{slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}), func(string) {}}).With("run_id", "run")
		log.Info("batch.run.start")
		log.Info("batch.job.start")
		log.Info("batch.job.end")
		var told []string
		for line := range strings.Lines(out.String()) {
			var fields struct{ Msg, Level string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if aboutCase := strings.HasPrefix(fields.Msg, "batch.job."); aboutCase != (fields.Level == "DEBUG") {
				t.Errorf("%s is logged at %s", fields.Msg, fields.Level)
			}
			told = append(told, fields.Msg)
		}
		if got := strings.Join(told, " "); got != want {
			t.Errorf("at %s: %q, want %q", level, got, want)
		}
	}
}
