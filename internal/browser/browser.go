// Package browser drives a headless Chromium for tests of the pages: over a pair of
// pipes, in the DevTools protocol, one page at a time.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Page is a tab of a browser that ends with the test.
type Page struct {
	t       *testing.T
	to      *os.File
	session string
	next    int

	mu      sync.Mutex
	waiting map[int]chan answer
	trouble []string // what the page's console and the browser complained of
	closed  error
}

// answer is the result of a call.
type answer struct {
	result json.RawMessage
	err    error
}

// patience bounds one call and one wait.
const patience = 30 * time.Second

// names are what Chromium is called, in the order of trial.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// Open starts a browser with an empty page of a size in CSS pixels. It skips the test
// where there is no Chromium, or on Windows, where it cannot be given pipes.
func Open(t *testing.T, width, height int, dark bool) *Page {
	t.Helper()
	path := ""
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil && path == "" {
			path = p
		}
	}
	if path == "" || runtime.GOOS == "windows" {
		t.Skip("no Chromium to look with")
	}
	p := &Page{t: t, waiting: map[int]chan answer{}}
	if err := p.start(path); err != nil {
		t.Skipf("%s does not start here: %v", path, err)
	}
	p.attach(width, height, dark)
	return p
}

// start runs the browser; file descriptors 3 and 4 are its ear and its mouth.
func (p *Page) start(path string) error {
	ear, to, err := os.Pipe()
	if err != nil {
		return err
	}
	from, mouth, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir="+p.t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{ear, mouth}
	if err := cmd.Start(); err != nil {
		return err
	}
	ear.Close()
	mouth.Close()
	p.to = to
	go p.listen(from)
	p.t.Cleanup(func() {
		_, _ = p.try("Browser.close", nil)
		to.Close()
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		from.Close()
	})
	_, err = p.try("Browser.getVersion", nil)
	return err
}

// listen takes messages, each ended by a zero byte.
func (p *Page) listen(from *os.File) {
	in := bufio.NewReader(from)
	for {
		raw, err := in.ReadBytes(0)
		if err != nil {
			p.end(err)
			return
		}
		p.hear(bytes.TrimSuffix(raw, []byte{0}))
	}
}

func (p *Page) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = fmt.Errorf("the browser is gone: %w", err)
	for id, c := range p.waiting {
		c <- answer{err: p.closed}
		delete(p.waiting, id)
	}
}

func (p *Page) hear(raw []byte) {
	var m struct {
		ID     int
		Method string
		Params json.RawMessage
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if json.Unmarshal(raw, &m) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[m.ID]; c != nil {
		delete(p.waiting, m.ID)
		a := answer{result: m.Result}
		if m.Error != nil {
			a.err = errors.New(m.Error.Message)
		}
		c <- a
		return
	}
	switch m.Method {
	case "Runtime.exceptionThrown":
		p.trouble = append(p.trouble, string(m.Params))
	case "Runtime.consoleAPICalled":
		if bytes.Contains(m.Params, []byte(`"type":"error"`)) {
			p.trouble = append(p.trouble, string(m.Params))
		}
	case "Log.entryAdded":
		if bytes.Contains(m.Params, []byte(`"level":"error"`)) {
			p.trouble = append(p.trouble, string(m.Params))
		}
	}
}

// try calls a method of the protocol.
func (p *Page) try(method string, params any) (json.RawMessage, error) {
	p.mu.Lock()
	if p.closed != nil {
		p.mu.Unlock()
		return nil, p.closed
	}
	p.next++
	id, c := p.next, make(chan answer, 1)
	p.waiting[id] = c
	p.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if p.session != "" {
		message["sessionId"] = p.session
	}
	raw, err := json.Marshal(message)
	if err == nil {
		_, err = p.to.Write(append(raw, 0))
	}
	if err != nil {
		return nil, err
	}
	select {
	case a := <-c:
		return a.result, a.err
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer within %v", method, patience)
	}
}

// call is try where failing fails the test.
func (p *Page) call(method string, params any) json.RawMessage {
	p.t.Helper()
	raw, err := p.try(method, params)
	if err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
	return raw
}

// attach opens the page.
func (p *Page) attach(width, height int, dark bool) {
	p.t.Helper()
	var target struct{ TargetID string }
	_ = json.Unmarshal(p.call("Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	var session struct{ SessionID string }
	_ = json.Unmarshal(p.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &session)
	p.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.call(domain+".enable", nil)
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	p.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true})
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// Go opens an address.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.call("Page.navigate", map[string]any{"url": url})
}

// Eval is the value of an expression of JavaScript in the page, awaited where it is a
// promise.
func (p *Page) Eval(expression string) any {
	p.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	raw := p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if err := json.Unmarshal(raw, &r); err != nil {
		p.t.Fatal(err)
	}
	if e := r.ExceptionDetails; e != nil {
		p.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	return r.Result.Value
}

// Wait waits until an expression is true, and fails the test where it never is.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(30 * time.Millisecond) {
		if v, err := p.truth(expression); err == nil && v {
			return
		} else if time.Now().After(end) {
			p.t.Fatalf("it never came to be that %s (%v)\nthe page says: %.2000v\ntrouble: %s", expression, err, p.Eval("document.body.innerText"), strings.Join(p.Trouble(), "\n"))
		}
	}
}

// truth evaluates an expression that may fail while the page loads.
func (p *Page) truth(expression string) (bool, error) {
	raw, err := p.try("Runtime.evaluate", map[string]any{"expression": "Boolean(" + expression + ")", "returnByValue": true})
	var r struct{ Result struct{ Value bool } }
	if err == nil {
		_ = json.Unmarshal(raw, &r) // an exception has another value: not true
	}
	return r.Result.Value, err
}

// Click presses what a selector finds first, in its middle. A page that is being laid out
// may move it away between the look and the press: then it is pressed again.
func (p *Page) Click(selector string) {
	p.t.Helper()
	q, _ := json.Marshal(selector)
	const tries = 5
	for range tries {
		p.Wait("document.querySelector(" + string(q) + ")")
		at, _ := p.Eval("(() => { const e = document.querySelector(" + string(q) + "); window.pressed = false; e.addEventListener('click', () => { window.pressed = true; }, {once: true, capture: true}); " +
			"e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()").([]any)
		for _, kind := range []string{"mousePressed", "mouseReleased"} {
			p.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1})
		}
		if p.Eval("window.pressed") == true {
			return
		}
	}
	p.t.Fatalf("%s could not be clicked in %d tries", selector, tries)
}

// Key presses a key by its name, as KeyboardEvent.key has it.
func (p *Page) Key(key string) {
	p.t.Helper()
	down := map[string]any{"type": "keyDown", "key": key}
	if len(key) == 1 {
		down["text"] = key
	}
	p.call("Input.dispatchKeyEvent", down)
	p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key})
}

// Trouble is what went wrong in the page so far: exceptions, errors on its console,
// requests that failed or that its policy forbids.
func (p *Page) Trouble() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.trouble...)
}

// Picture writes a PNG of what the window shows.
func (p *Page) Picture(file string) {
	p.t.Helper()
	var shot struct{ Data string }
	_ = json.Unmarshal(p.call("Page.captureScreenshot", map[string]any{"format": "png"}), &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, raw, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
