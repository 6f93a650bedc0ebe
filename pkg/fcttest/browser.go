//go:build browser

package fcttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// browserProgram is the program that scripts/check-page.sh installs.
const browserProgram = "chromium"

// browserTimeout is how long one answer or condition of a browser is waited for.
const browserTimeout = 30 * time.Second

func browserArgs(t testing.TB, args ...string) []string {
	return append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir=" + t.TempDir(),
	}, args...)
}

// Chromium runs the browser without a window until it ends, and returns what it prints.
func Chromium(t testing.TB, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	//nolint:gosec // the arguments are those of a test
	cmd := exec.CommandContext(ctx, browserProgram, browserArgs(t, append([]string{"--enable-logging=stderr"}, args...)...)...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", browserProgram, err, errors.String())
	}
	return out.String(), errors.String()
}

// Browser is a browser without a window that shows one page. It is driven by the messages of the
// DevTools protocol (https://chromedevtools.github.io/devtools-protocol/), over pipes.
type Browser struct {
	t       testing.TB
	to      io.Writer
	session string

	mu      sync.Mutex
	last    int
	answers map[int]chan browserAnswer
	console []string
	ended   chan struct{}
}

type browserAnswer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// OpenBrowser starts a browser, which ends with the test.
func OpenBrowser(t testing.TB) *Browser {
	t.Helper()
	fromTest, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, toTest, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	//nolint:gosec,noctx // the arguments are those of a test, whose cleanup ends the browser
	cmd := exec.Command(browserProgram, browserArgs(t, "--remote-debugging-pipe", "about:blank")...)
	cmd.ExtraFiles = []*os.File{fromTest, toTest} // the browser's file descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = fromTest.Close(), toTest.Close() // the browser has its own
	b := &Browser{t: t, to: toBrowser, answers: make(map[int]chan browserAnswer), ended: make(chan struct{})}
	go b.read(fromBrowser)
	t.Cleanup(func() {
		_ = toBrowser.Close() // the browser ends when its pipe does
		_ = cmd.Wait()
		<-b.ended
		_ = fromBrowser.Close()
	})
	var target struct {
		TargetID  string `json:"targetId"`
		SessionID string `json:"sessionId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// read distributes the messages of the browser, which end with a zero byte.
func (b *Browser) read(from io.Reader) {
	defer close(b.ended)
	messages := bufio.NewReader(from)
	for {
		data, err := messages.ReadBytes(0)
		if err != nil {
			return
		}
		var m browserAnswer
		if err := json.Unmarshal(data[:len(data)-1], &m); err != nil {
			continue
		}
		b.mu.Lock()
		switch m.Method {
		case "":
			if answer := b.answers[m.ID]; answer != nil {
				answer <- m
				delete(b.answers, m.ID)
			}
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			if bytes.Contains(m.Params, []byte(`"level":"verbose"`)) || bytes.Contains(m.Params, []byte(`"level":"info"`)) {
				break // advice of the browser
			}
			b.console = append(b.console, m.Method+" "+string(m.Params))
		}
		b.mu.Unlock()
	}
}

// call sends a command and decodes its result, unless that is nil.
func (b *Browser) call(method string, params, result any) {
	b.t.Helper()
	answer := make(chan browserAnswer, 1)
	b.mu.Lock()
	b.last++
	message := map[string]any{"id": b.last, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	b.answers[b.last] = answer
	data, err := json.Marshal(message)
	if err == nil {
		_, err = b.to.Write(append(data, 0))
	}
	b.mu.Unlock()
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-b.ended:
		b.t.Fatalf("%s: the browser has ended", method)
	case <-time.After(browserTimeout):
		b.t.Fatalf("%s: no answer", method)
	}
}

// Resize sets the size of the window in CSS pixels, the pixels of the screen for each of them, and
// the colour scheme that people prefer.
func (b *Browser) Resize(width, height int, scale float64, dark bool) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride",
		map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}, nil)
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	b.call("Emulation.setEmulatedMedia",
		map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Open navigates to a page.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
}

// Eval evaluates an expression in the page, awaits it if it is a promise, and decodes its value.
func (b *Browser) Eval(expression string, value any) {
	b.t.Helper()
	var result struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails *json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate",
		map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	if result.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, *result.ExceptionDetails)
	}
	if value != nil && len(result.Result.Value) > 0 {
		if err := json.Unmarshal(result.Result.Value, value); err != nil {
			b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

// Await waits until an expression is true in the page.
func (b *Browser) Await(condition string) {
	b.t.Helper()
	for deadline := time.Now().Add(browserTimeout); ; {
		var is bool
		b.Eval("!!("+condition+")", &is)
		if is {
			return
		}
		if time.Now().After(deadline) {
			var text string
			b.Eval("document.body.innerText", &text)
			b.t.Fatalf("never true: %s\nconsole: %v\npage: %.3000s", condition, b.Console(), text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Press presses and releases a key, such as ArrowRight, Enter or Tab.
func (b *Browser) Press(key string) {
	b.t.Helper()
	codes := map[string]int{"Enter": 13, "Tab": 9, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37,
		"ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
	event := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	if key == "Enter" {
		event["text"] = "\r"
	}
	b.call("Input.dispatchKeyEvent", event, nil)
	b.call("Input.dispatchKeyEvent",
		map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// Click clicks at a position of the window in CSS pixels.
func (b *Browser) Click(x, y float64) {
	b.t.Helper()
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent",
			map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}, nil)
	}
}

// Screenshot returns the whole page, beyond the window too, as PNG.
func (b *Browser) Screenshot() []byte {
	b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// Console returns what the page has written to the console, errors of the policy included.
func (b *Browser) Console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.console...)
}
