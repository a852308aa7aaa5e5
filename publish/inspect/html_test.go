package inspect_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
	"hooksmith/serve/admin/browsertest"
)

var see, do, until, screen = browsertest.See, browsertest.Run, browsertest.Until, browsertest.Screen

// press sends a key to what has the focus.
func press(key string) browsertest.Action {
	return do(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "` + key + `", bubbles: true, cancelable: true})), undefined`)
}

// writePage writes the report of a set with hostile names.
func writePage(t *testing.T) string {
	t.Helper()
	entries := append(hooktest.Default(),
		hooktest.Entry{Name: "usr/share/</script><script>throw 1</script>", Data: strings.Repeat("x", 300000)},
		hooktest.Entry{Name: "usr/share/<img src=x onerror=throw 1>", Data: strings.Repeat("x", 200000)})
	set := &inspect.Set{Source: "out/hook", Kernel: artifact("k", hooktest.Kernel(hooktest.Release, "")), Initramfs: artifact("i", hooktest.Zstd(hooktest.Archive(entries...)))}
	r, err := inspect.Inspect(t.Context(), set, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, outside := range []string{"http://", "https://", "<script>throw", "url(", "@import"} {
		if strings.Contains(page.String(), outside) {
			t.Errorf("the page holds %q", outside)
		}
	}
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPage uses the page as people do: mouse, keyboard, search, phone.
func TestPage(t *testing.T) {
	ctx := browsertest.Start(t)
	see(t, ctx, "opening the page", chromedp.Navigate("file://"+writePage(t)), until(`document.querySelector(".tile")`))
	const tiles = `[...document.querySelectorAll(".tile")]`
	see(t, ctx, "reading", screen(1280, 900, "light"),
		until(`document.title.includes("out/hook")`),
		until(tiles+`.some(t => t.title.startsWith("usr/share/</script>"))`),
		until(`document.querySelector("#sections").innerText.includes("127.0.0.1/embedded/tink-worker")`),
		until(`getComputedStyle(document.body).backgroundColor === "rgb(247, 247, 245)"`))
	see(t, ctx, "no tile leaves the map", until(tiles+`.every(t => {
		const m = document.querySelector("#map").getBoundingClientRect(), r = t.getBoundingClientRect();
		return r.left >= m.left && r.right <= m.right && r.top >= m.top && r.bottom <= m.bottom })`))
	see(t, ctx, "zoom by the mouse", do(tiles+`.find(t => t.title.startsWith("containers/services")).click()`),
		until(`location.hash === "#/containers/services/hook-docker/lower" || location.hash.startsWith("#/containers/services")`),
		until(`document.querySelector("#path").innerText.includes("containers")`))
	see(t, ctx, "back", do(`history.back()`), until(`location.hash.length < 3`), until(tiles+`.some(t => t.title.startsWith("usr"))`))
	see(t, ctx, "zoom by keys", do(tiles+`.find(t => t.tabIndex === 0).focus()`), press("ArrowDown"),
		until(`document.activeElement.classList.contains("tile")`),
		do(`document.activeElement.closest("#map") && `+tiles+`.find(t => t.classList.contains("folder") && t.title.startsWith("usr")).focus()`),
		do(`document.activeElement.click()`), until(`location.hash.startsWith("#/usr")`), press("Escape"), until(`!location.hash.startsWith("#/usr/")`))
	see(t, ctx, "search", press("/"), until(`document.activeElement.id === "search"`),
		do(`{ const s = document.querySelector("#search"); s.value = "dockerd"; s.dispatchEvent(new Event("input")) }`),
		until(`document.querySelectorAll("#hits li").length === 1 && document.querySelectorAll(".tile.off").length > 0`),
		until(`document.querySelector("#info").innerText.startsWith("1 files")`),
		do(`document.querySelector("#hits button").click()`), until(`document.querySelector(".tile.chosen")`))
	see(t, ctx, "dark", screen(1280, 900, "dark"), until(`getComputedStyle(document.body).backgroundColor === "rgb(20, 23, 27)"`),
		do(`document.querySelector("#theme").click()`), until(`getComputedStyle(document.body).backgroundColor === "rgb(247, 247, 245)"`))
	see(t, ctx, "phone", screen(390, 844, "light"),
		until(`document.documentElement.scrollWidth <= 390 && document.querySelector("#map").clientWidth < 390 && document.querySelector(".tile")`))
}
