package admin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"hooksmith/serve/admin/browsertest"
	"hooksmith/serve/event"
	"hooksmith/serve/timeline"
)

// action is a step without a result.
type action = browsertest.Action

var see, run, until = browsertest.See, browsertest.Run, browsertest.Until

func click(css chromedp.CSS) action { return chromedp.Click(css) }

func enter(css chromedp.CSS, text string) action { return chromedp.SendKeys(css, text) }

// connected waits until the stream is there.
var connected = until(`!document.querySelector("#live") || document.querySelector("#live").textContent === "live"`)

// arrived waits for a page that a click or a form leads to; Poll itself does
// not survive the way there.
func arrived(js string) action {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for {
			ok, err := chromedp.Evaluate[bool]("document.readyState === 'complete' && !!("+js+")")(ctx, target)
			if err == nil && ok {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting for %s: %w", js, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// size sets the window and the colour scheme.
func size(width, height int64, dark bool) action {
	if dark {
		return browsertest.Screen(width, height, "dark")
	}
	return browsertest.Screen(width, height, "light")
}

func withoutScript() action {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})
}

// shot keeps a picture for who looks, in the folder of HOOKSMITH_SHOTS.
func shot(name string) action {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		dir := os.Getenv("HOOKSMITH_SHOTS")
		if dir == "" {
			return nil
		}
		png, err := chromedp.FullScreenshot(100)(ctx, target)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	})
}

// TestPageLive: a boot appears and goes on without a reload; a broken hardware
// file too; search, filter and the row to copy work.
func TestPageLive(t *testing.T) {
	ctx := browsertest.Start(t)
	s := newScene(t)
	row := func(n int) string { return fmt.Sprintf(`document.querySelector("#m-52540000%04x")`, n) }
	see(t, ctx, "the empty page", size(1280, 900, false), chromedp.Navigate(s.server.URL+"/"), connected,
		until(row(1)+`.dataset.state === "unasked"`))

	s.boot(1, timeline.StageBinary)
	see(t, ctx, "a boot begins", until(row(1)+`.dataset.state === "booting" && `+row(1)+`.querySelectorAll("svg rect").length > 2`),
		until(row(1)+`.textContent.includes("boot binary")`))
	s.boot(1, timeline.StageWorker)
	see(t, ctx, "it ends", until(row(1)+`.dataset.state === "up"`))
	s.day()
	see(t, ctx, "a day", until(row(0x99)+` && `+row(5)+`.textContent.includes("37%")`),
		until(row(3)+`.textContent.includes("44% of 161.0 MB")`),
		until(row(4)+`.textContent.includes("10.20.0.254")`),
		until(`document.querySelector("#machines").tBodies[0].dataset.state === "stuck"`), shot("light"))

	s.mu.Lock()
	s.status.Files[0].Error = `hardware.csv:7:12: mac: "` + hostile + `" is not a MAC address`
	s.mu.Unlock()
	see(t, ctx, "the file breaks", until(`document.querySelector("#health [role=alert]")?.textContent.includes("hardware.csv:7:12")`))

	shown := `[...document.querySelectorAll("#machines tbody")].filter((b) => !b.hidden).length`
	see(t, ctx, "search", enter("#q", "WORKER-05 cut"), until(shown+` === 1 && !`+row(5)+`.hidden`),
		run(`document.querySelector("#q").value = ""; document.querySelector("#q").dispatchEvent(new Event("input"))`), until(shown+` === 7`),
		click(`button.chip.up`), until(shown+` === 2 && document.querySelector("button.chip.up").getAttribute("aria-pressed") === "true"`),
		until(`location.search === "?state=up"`), click(`button.chip[value=""]`), until(shown+` === 7`))

	see(t, ctx, "copying", run(`navigator.clipboard.writeText = async (t) => { window.copied = t }`),
		click(`#m-525400000099 button.copy`), until(`document.querySelector("#m-525400000099 button.copy").textContent === "Copied"`))
	copied := browsertest.Get[string](t, ctx, `window.copied`)
	if want := timeline.Rows(mac(0x99), "ARM64")[0].Text; copied != want {
		t.Errorf("copied %q, want %q", copied, want)
	}
	// As over plain HTTP, where there is no clipboard interface.
	see(t, ctx, "copying over HTTP", run(`Object.defineProperty(window, "isSecureContext", { value: false });
		document.execCommand = (c) => { window.copied = c + ": " + document.activeElement.value; return true }`),
		until(`document.querySelector("#m-525400000099 button.copy").textContent === "Copy"`), click(`#m-525400000099 button.copy`),
		until(`window.copied.startsWith("copy: node-525400000099,")`))

	see(t, ctx, "keyboard", run(`document.activeElement.blur()`), chromedp.KeyEvent("/"), until(`document.activeElement.id === "q"`))
	title := browsertest.Get[string](t, ctx, `document.title`)
	if !strings.HasPrefix(title, "Machines · boot.rack4") {
		t.Errorf("title %q", title)
	}
}

// TestPageMachine: one machine's page goes on with the machine, log and all,
// and what machines say of themselves is text.
func TestPageMachine(t *testing.T) {
	ctx := browsertest.Start(t)
	s := newScene(t)
	s.hardware[0].Hostname = hostile
	s.boot(1, timeline.StageScript)
	s.do(1, event.Event{Kind: event.Silence, MAC: mac(1), Detail: hostile, Client: hostile, Arch: hostile})
	see(t, ctx, "the page", size(1280, 900, false), chromedp.Navigate(s.server.URL+"/machines/"+mac(1)), connected,
		until(`document.querySelectorAll(".gantt tbody tr").length >= 10 && document.querySelector("h1").textContent.includes("<script>")`))
	s.boot(1, timeline.StageWorker)
	s.Log(timeline.Line{MAC: mac(1), App: hostile, Host: hostile, Text: hostile, Severity: 3})
	see(t, ctx, "it goes on", until(`document.querySelector("#detail .state").textContent === "Up"`),
		until(`document.querySelector("#log").textContent.includes("onerror=")`),
		until(`document.querySelectorAll("#detail details").length === 1`), shot("machine"),
		enter(`#logform input`, "workflow"), until(`document.querySelectorAll("#log .line").length === 2`))
	for _, path := range []string{"/", "/leases", "/server", "/machines/" + mac(1)} {
		see(t, ctx, path, chromedp.Navigate(s.server.URL+path), connected)
		if browsertest.Get[bool](t, ctx, `document.title === "owned" || document.querySelectorAll("img").length > 0 || document.scripts.length !== 1`) {
			t.Errorf("%s runs what a machine sent", path)
		}
	}
}

// TestPagePhone: nothing has to be scrolled sideways at 360 pixels, in both
// colour schemes, and text has contrast.
func TestPagePhone(t *testing.T) {
	ctx := browsertest.Start(t)
	s := newScene(t)
	s.day()
	s.hardware[1].Hostname = strings.Repeat("very-long-name-", 15)
	s.status.Files[0].Error = "hardware.csv:7:12: mac: " + strings.Repeat("x", 200)
	s.Log(timeline.Line{MAC: mac(1), Text: strings.Repeat("y", 500)})
	for _, dark := range []bool{false, true} {
		for _, width := range []int64{360, 768, 1280} {
			for _, path := range []string{"/", "/machines/" + mac(1), "/machines/" + mac(0x99), "/leases", "/server", "/login"} {
				name := fmt.Sprintf("%s-%d-%v", strings.NewReplacer("/", "_", ":", "").Replace(path), width, dark)
				see(t, ctx, name, size(width, 740, dark), chromedp.Navigate(s.server.URL+path), connected, shot(name))
				if over := browsertest.Get[int](t, ctx, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("%s is %d pixels too wide", name, over)
				}
				if contrast := browsertest.Get[[]string](t, ctx, contrastJS); len(contrast) > 0 {
					t.Errorf("%s: contrast below 4.5: %q", name, contrast)
				}
			}
		}
	}
}

// contrastJS finds text whose contrast against its background is below WCAG's 4.5.
const contrastJS = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m };
	const lum = (c) => { const f = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]) };
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c } return [255, 255, 255] };
	const bad = [];
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest("svg,script,style,[hidden],.sr") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length) continue;
		const a = lum(parse(getComputedStyle(e).color)), b = lum(behind(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) bad.push(e.className + " " + e.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
	}
	return bad;
})()`

// TestPageLogin: the token's form leads to the page that was asked for, and out
// again.
func TestPageLogin(t *testing.T) {
	ctx := browsertest.Start(t)
	s := newScene(t, func(c *Config) { c.Token = "s3cret" })
	s.day()
	see(t, ctx, "login", size(1280, 900, false), chromedp.Navigate(s.server.URL+"/leases"), arrived(`document.querySelector("#token")`), shot("login"),
		enter("#token", "wrong\r"), arrived(`document.querySelector("[role=alert]")?.textContent.includes("not the token")`),
		enter("#token", "s3cret\r"), arrived(`location.pathname === "/leases" && document.body.textContent.includes("10.20.0.200")`), connected,
		click(`nav a[href="/"]`), arrived(`document.querySelectorAll("#machines tbody").length === 7`), connected,
		click(`.top form button`), arrived(`document.querySelector("#token")`),
		chromedp.Navigate(s.server.URL+"/server"), arrived(`document.querySelector("#token")`))
}

// TestPageWithoutScript: a table, a search, a log.
func TestPageWithoutScript(t *testing.T) {
	ctx := browsertest.Start(t)
	s := newScene(t)
	s.day()
	text := func(css chromedp.CSS) string {
		v, err := chromedp.Run(ctx, chromedp.Text(css))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	see(t, ctx, "without script", size(1280, 900, false), withoutScript(), chromedp.Navigate(s.server.URL+"/?q=worker-05"), shot("noscript"))
	if table := text("#machines"); !strings.Contains(table, "worker-05") || strings.Contains(table, "worker-01") || !strings.Contains(table, "37%") {
		t.Errorf("the table says %q", table)
	}
	see(t, ctx, "a machine", chromedp.Navigate(s.server.URL+"/machines/"+mac(1)+"?text=workflow&severity=4"))
	if log := text("#log"); !strings.Contains(log, "no workflow") || strings.Contains(log, "dockerd") {
		t.Errorf("the log says %q", log)
	}
}
