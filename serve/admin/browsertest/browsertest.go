// Package browsertest shows pages to a real Chromium, for tests: Start it, then
// See that steps lead to what Until says. publish/inspect uses it too.
package browsertest

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Action is a step without a result.
type Action = chromedp.Action[chromedp.Void]

// patience bounds a row of steps, on a machine that has much else to do.
const patience = 2 * time.Minute

// Start starts a Chromium, until the test ends, and fails the test where the
// browser complains: something is blocked by the content policy, a script
// breaks. Without Chromium the test is skipped.
func Start(t *testing.T) context.Context {
	t.Helper()
	path := find()
	if path == "" {
		t.Skip("there is no chromium: install Debian's package chromium for the tests of the page")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(patience), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page's script fails: %+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError {
				t.Errorf("the browser complains: %+v", e.Args)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// See runs steps until one fails, which ends the test, or all are done.
func See(t *testing.T, ctx context.Context, what string, steps ...Action) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := chromedp.Do(limited, steps...); err != nil {
		t.Fatalf("%s: %v\nthe page says:\n%s", what, err, Get[string](t, ctx, `document.body.innerText`))
	}
}

// Get is the value of an expression.
func Get[T any](t *testing.T, ctx context.Context, js string) T {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := chromedp.Run(limited, chromedp.Evaluate[T](js))
	if err != nil {
		t.Fatalf("%s: %v", js, err)
	}
	return v
}

// Run runs a script.
func Run(js string) Action { return chromedp.Evaluate[chromedp.Void](js) }

// Until waits for an expression to be true.
func Until(js string) Action {
	return chromedp.Poll[chromedp.Void](js, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience-30*time.Second))
}

// Screen sets the window and the colour scheme, light or dark.
func Screen(width, height int64, scheme string) Action {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetDeviceMetricsOverride,
			emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, target, emulation.SetEmulatedMedia,
			emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	})
}
