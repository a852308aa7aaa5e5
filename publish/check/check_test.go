package check_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/build"
	"hooksmith/publish/check"
	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
)

// files is a good set, with its hook.json.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	set := map[string][]byte{
		"vmlinuz-x86_64":   hooktest.Kernel(hooktest.Release, ""),
		"initramfs-x86_64": hooktest.Zstd(hooktest.Archive(hooktest.Default()...)),
	}
	manifest(t, set)
	return set
}

// manifest writes hook.json for what is in the set.
func manifest(t *testing.T, set map[string][]byte) {
	t.Helper()
	a := build.Artifacts{BuildID: "b", OutputID: "x86_64", Arch: "x86_64"}
	for _, name := range []string{"initramfs-x86_64", "vmlinuz-x86_64"} {
		sum := sha256.Sum256(set[name])
		role, _, _ := strings.Cut(strings.Replace(name, "vmlinuz", "kernel", 1), "-")
		a.Files = append(a.Files, build.File{Name: name, Role: role, Arch: "x86_64", Size: int64(len(set[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	b, err := json.Marshal(build.Manifest{Schema: 1, Builds: []build.Artifacts{a}})
	if err != nil {
		t.Fatal(err)
	}
	set[build.ManifestName] = b
}

// handler serves a set as a good server does: Go's own, with validators.
func handler(set map[string][]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, ok := set[strings.TrimPrefix(r.URL.Path, "/hook/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(b)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func run(t *testing.T, target string, opt check.Options) *check.Report {
	t.Helper()
	opt.TempDir = t.TempDir()
	if opt.Slow == 0 {
		opt.Slow = 1
	}
	r, err := check.Run(t.Context(), target, opt)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(opt.TempDir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, res := range r.Results {
		if (res.Status == check.Fail || res.Status == check.Warn) == (res.Fix == "") {
			t.Errorf("%s is %s with the fix %q", res.ID, res.Status, res.Fix)
		}
	}
	return r
}

// of lists the ids of the results with the status.
func of(r *check.Report, s check.Status) []string {
	ids := []string{}
	for _, res := range r.Results {
		if res.Status == s {
			ids = append(ids, res.ID)
		}
	}
	return ids
}

func text(r *check.Report) string {
	var b bytes.Buffer
	_ = r.WriteText(&b, inspect.Style{Width: 200})
	return b.String()
}

func TestGood(t *testing.T) {
	server := httptest.NewServer(handler(files(t)))
	defer server.Close()
	for _, target := range []string{server.URL + "/hook", server.URL + "/hook/"} {
		r := run(t, target, check.Options{RAMMiB: 512})
		if !r.OK || len(of(r, check.Warn)) != 1 { // not signed for Secure Boot
			t.Errorf("%s", text(r))
		}
	}
}

// TestServers: what servers and those who fill them do wrong.
func TestServers(t *testing.T) {
	const kernelFile, initramfsFile = "vmlinuz-x86_64", "initramfs-x86_64"
	type fault struct {
		name       string
		set        func(set map[string][]byte)
		serve      func(good http.HandlerFunc) http.HandlerFunc
		opt        check.Options
		fail, warn []string // ids, besides kernel.signed
		says       string
	}
	only := func(name string, bad http.HandlerFunc) func(http.HandlerFunc) http.HandlerFunc {
		return func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, name) {
					bad(w, r)
				} else {
					good(w, r)
				}
			}
		}
	}
	// as changes the request or the writer before the good handler.
	as := func(change func(w http.ResponseWriter, r *http.Request)) func(http.HandlerFunc) http.HandlerFunc {
		return func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { change(w, r); good(w, r) }
		}
	}
	both := func(id string) []string { return []string{"vmlinuz." + id, "initramfs." + id} }
	for _, tt := range []fault{
		{name: "no ranges", serve: as(func(_ http.ResponseWriter, r *http.Request) { r.Header.Del("Range") }), warn: both("range")},
		{name: "wrong range", serve: as(func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" && r.Header.Get("If-Range") == "" {
				r.Header.Set("Range", "bytes=0-15")
			}
		}), fail: both("range"), says: "Content-Range"},
		{name: "If-Range is not heeded", serve: as(func(_ http.ResponseWriter, r *http.Request) { r.Header.Del("If-Range") }), warn: both("ifrange")},
		{name: "403", serve: only(initramfsFile, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }),
			fail: []string{"initramfs.head"}, says: "without a password"},
		{name: "404", set: func(set map[string][]byte) { delete(set, kernelFile) }, fail: []string{"vmlinuz.head"}, says: "under this name"},
		{name: "500", serve: only(kernelFile, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }), fail: []string{"vmlinuz.head"}},
		{name: "no HEAD", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				good(w, r)
			}
		}, warn: both("head")},
		{name: "redirect", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if name, ok := strings.CutPrefix(r.URL.Path, "/hook/vmlinuz"); ok {
					http.Redirect(w, r, "/hook/old/vmlinuz"+name, http.StatusFound)
					return
				}
				r.URL.Path = strings.Replace(r.URL.Path, "/old", "", 1)
				good(w, r)
			}
		}, warn: []string{"vmlinuz.redirect"}},
		{name: "redirect to itself", serve: only(kernelFile, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }),
			fail: []string{"vmlinuz.head"}},
		{name: "redirect for ever", serve: only(kernelFile, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?x"+r.URL.RawQuery, http.StatusFound)
		}),
			warn: slices.Repeat([]string{"vmlinuz.redirect"}, 5), fail: []string{"vmlinuz.head"}},
		{name: "truncated", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, initramfsFile) && r.Method == http.MethodGet {
					w.Header().Set("Content-Length", "100000")
					_, _ = w.Write(make([]byte, 500))
					return
				}
				good(w, r)
			}
		}, fail: []string{"initramfs.get"}, says: "transfer ends early"},
		{name: "stalled", opt: check.Options{Stall: 2 * time.Second}, serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, initramfsFile) && r.Method == http.MethodGet {
					w.Header().Set("Content-Length", "100000")
					_, _ = w.Write(make([]byte, 500))
					w.(http.Flusher).Flush()
					<-r.Context().Done()
					return
				}
				good(w, r)
			}
		}, fail: []string{"initramfs.get"}, says: "sends nothing any more"},
		{name: "slow", opt: check.Options{Slow: 1 << 60}, warn: both("get"), says: "nearer by"},
		{name: "HEAD says another length", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, kernelFile) {
					w.Header().Set("Content-Length", "12")
					return
				}
				good(w, r)
			}
		}, fail: []string{"vmlinuz.length"}, says: "HEAD says 12"},
		{name: "no length", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
					w = &changed{w, func(h http.Header) { h.Del("Content-Length") }} // so it is chunked; Go measures what is as small as the initramfs here by itself
				}
				good(w, r)
			}
		}, fail: []string{"vmlinuz.length"}, says: "Content-Length"},
		{name: "content encoding", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				good(w, r)
			}
		}, fail: []string{"vmlinuz.length", "vmlinuz.encoding", "initramfs.length", "initramfs.encoding"}, says: "compression off"},
		{name: "text", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				good(&changed{w, func(h http.Header) { h.Set("Content-Type", "text/plain") }}, r)
			}
		}, warn: both("type")},
		{name: "closes", serve: as(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }), warn: both("keepalive")},
		{name: "login page", serve: func(http.HandlerFunc) http.HandlerFunc {
			return handler(map[string][]byte{kernelFile: []byte("<html>login"), initramfsFile: []byte("<html>login"), build.ManifestName: []byte("<html>login")})
		}, fail: []string{"kernel", "initramfs", "hashes"}},
		{name: "swapped", set: func(set map[string][]byte) {
			set[kernelFile], set[initramfsFile] = set[initramfsFile], set[kernelFile]
			manifest(t, set)
		}, fail: []string{"swapped"}, says: "under its own name"},
		{name: "kernel of another architecture", set: func(set map[string][]byte) {
			set[kernelFile] = hooktest.ARMKernel(hooktest.Release)
			manifest(t, set)
		}, fail: []string{"kernel"}, says: "machines of x86_64 boot it"},
		{name: "initramfs of another architecture", set: func(set map[string][]byte) {
			entries := hooktest.Default()
			for i := range entries {
				entries[i].Data = strings.ReplaceAll(entries[i].Data, hooktest.Program(62, ""), hooktest.Program(183, ""))
			}
			set[initramfsFile] = hooktest.Zstd(hooktest.Archive(entries...))
			manifest(t, set)
		}, fail: []string{"arch"}, says: "aarch64"},
		{name: "kernel of another build", set: func(set map[string][]byte) { set[kernelFile] = hooktest.Kernel("6.1.0", "") },
			fail: []string{"modules", "hashes"}, says: "the kernel is 6.1.0"},
		{name: "tampered", set: func(set map[string][]byte) {
			set[initramfsFile] = hooktest.Zstd(hooktest.Archive(append(hooktest.Default(), hooktest.Entry{Name: "etc/evil", Data: "x"})...))
		}, fail: []string{"hashes"}, says: "not the ones that were built"},
		{name: "half an initramfs", set: func(set map[string][]byte) {
			set[initramfsFile] = set[initramfsFile][:len(set[initramfsFile])/2]
			manifest(t, set)
		}, fail: []string{"initramfs"}, says: "stops unpacking"},
		{name: "no worker, no docker, no init", set: func(set map[string][]byte) {
			set[initramfsFile] = hooktest.Gzip(hooktest.Archive(hooktest.Entry{Name: "etc/x", Data: "x"}))
			manifest(t, set)
		}, fail: []string{"init", "docker", "worker"}, warn: []string{"modules", "warnings"}, says: "--for tinkerbell"},
		{name: "worker is for another architecture", set: func(set map[string][]byte) {
			set[initramfsFile] = hooktest.Zstd(hooktest.Archive(append(hooktest.Default()[:11], hooktest.Store("var/lib/docker", check.Worker+":latest", "arm64")...)...))
			manifest(t, set)
		}, fail: []string{"worker"}, says: "is for arm64"},
		{name: "too little memory", opt: check.Options{RAMMiB: 511}, fail: []string{"ram"}, says: "needs 512 MiB"},
		{name: "no hook.json", set: func(set map[string][]byte) { delete(set, build.ManifestName) }, warn: []string{"hashes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := files(t)
			if tt.set != nil {
				tt.set(set)
			}
			h := handler(set)
			if tt.serve != nil {
				h = tt.serve(h)
			}
			server := httptest.NewServer(h)
			defer server.Close()
			r := run(t, server.URL+"/hook", tt.opt)
			warned := slices.DeleteFunc(of(r, check.Warn), func(id string) bool { return id == "kernel.signed" })
			if got := of(r, check.Fail); !slices.Equal(got, orEmpty(tt.fail)) || !slices.Equal(warned, orEmpty(tt.warn)) || r.OK != (len(tt.fail) == 0) {
				t.Errorf("failed %q, warned %q; want %q and %q\n%s", got, warned, tt.fail, tt.warn, text(r))
			}
			if !strings.Contains(text(r), tt.says) {
				t.Errorf("does not say %q:\n%s", tt.says, text(r))
			}
		})
	}
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// changed changes headers when they are sent.
type changed struct {
	http.ResponseWriter
	change func(http.Header)
}

func (w *changed) WriteHeader(code int) {
	w.change(w.Header())
	w.ResponseWriter.WriteHeader(code)
}

func TestAddress(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tt := range []struct{ target, fail, says string }{
		{closed.URL + "/hook", "folder", "connection refused"},
		{"ftp://host/hook", "url", "absolute URL"},
		{"http://%zz", "url", "absolute URL"},
		{"http://user:secret@127.0.0.1:1/", "url", "in the clear"},
		{"http://127.0.0.1:1/hook?x=1", "url", "plain path"},
	} {
		r := run(t, tt.target, check.Options{})
		if got := of(r, check.Fail); len(got) == 0 || got[0] != tt.fail || !strings.Contains(text(r), tt.says) || strings.Contains(text(r), "secret") {
			t.Errorf("%s: failed %q\n%s", tt.target, got, text(r))
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, check.Options{})
	if got := of(r, check.Fail); !slices.Equal(got, []string{"vmlinuz.there", "initramfs.there"}) {
		t.Errorf("failed %q", got)
	}
	for name, b := range files(t) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := run(t, "file://"+dir, check.Options{}); !r.OK {
		t.Errorf("%s", text(r))
	}
	if _, err := check.Run(t.Context(), dir+"/none", check.Options{}); err == nil {
		t.Error("a folder that is not there is no error")
	}
	if _, err := check.Run(t.Context(), dir+"/hook.json", check.Options{}); err == nil || !strings.Contains(err.Error(), "inspect") {
		t.Errorf("a file: %v", err)
	}
}

// TestCancelled: a check that is interrupted ends at once, and leaves nothing.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	temp := t.TempDir()
	if _, err := check.Run(ctx, server.URL+"/hook", check.Options{TempDir: temp}); err == nil || ctx.Err() == nil {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReal is over the artifacts in HOOKSMITH_BOOT_DIR.
func TestReal(t *testing.T) {
	dir := os.Getenv("HOOKSMITH_BOOT_DIR")
	if dir == "" {
		t.Skip("HOOKSMITH_BOOT_DIR is not set: build a flavor and name its folder to test over real artifacts")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	for _, target := range []string{dir, server.URL} {
		if r := run(t, target, check.Options{NoWorker: true, RAMMiB: 4096}); !r.OK {
			t.Error(text(r))
		}
	}
}
