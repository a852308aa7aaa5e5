package web

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// verifyAs lets files through if hook.json begins with "good"; those that it
// names after that are served. Calls counts.
func verifyAs(calls *atomic.Int64) Verify {
	return func(files fs.FS) ([]string, error) {
		calls.Add(1)
		data, err := fs.ReadFile(files, "hook.json")
		if err != nil {
			return nil, err
		}
		names := strings.Fields(string(data))
		if len(names) == 0 || names[0] != "good" {
			return nil, errors.New("not good")
		}
		return append(names[1:], "hook.json"), nil
	}
}

func TestVerify(t *testing.T) {
	s, l := newServer(t)
	var calls atomic.Int64
	s.Verify = verifyAs(&calls)
	kernel := noiseOf(1, 100000)
	put(t, s.Artifacts, "vmlinuz-x86_64", kernel)
	put(t, s.Artifacts, "stranger", kernel)
	put(t, s.Artifacts, "hook.json", []byte("bad vmlinuz-x86_64"))
	addr := start(t, s)
	c := browser(t)
	url := "http://" + addr + "/hook/"
	// 1. Nothing is served of what is refused, and it is not read for every request.
	for range 5 {
		for _, name := range []string{"vmlinuz-x86_64", "hook.json", ""} {
			if resp, _ := get(t, c, "GET", url+name); resp.StatusCode != 404 {
				t.Errorf("%q: %s", name, resp.Status)
			}
		}
	}
	st := s.ArtifactStatus()
	if n := calls.Load(); n > 2 || !strings.Contains(st.Error, "not good") || st.Refused == "" {
		t.Errorf("verified %d times; %+v", n, st)
	}
	until(t, "it is logged", func() bool { return l.has("artifacts are refused") })
	// 2. What is good is served, and no more of it than is named.
	put(t, s.Artifacts, "hook.json", []byte("good vmlinuz-x86_64"))
	until(t, "the good set", func() bool { _, body := get(t, c, "GET", url+"vmlinuz-x86_64"); return bytes.Equal(body, kernel) })
	if resp, _ := get(t, c, "GET", url+"stranger"); resp.StatusCode != 404 {
		t.Errorf("a stranger: %s", resp.Status)
	}
	if _, body := get(t, c, "GET", url); !bytes.Contains(body, []byte("vmlinuz")) || bytes.Contains(body, []byte("stranger")) {
		t.Errorf("listed:\n%s", body)
	}
	f, err := s.Open(netip.MustParseAddr("127.0.0.9"), "vmlinuz-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())); err != nil || !bytes.Equal(body, kernel) {
		t.Errorf("over another protocol: %d bytes, %v", len(body), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"stranger", "none", ".", "../x"} {
		if _, err := s.Open(netip.MustParseAddr("127.0.0.9"), name); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
	// 3. A bad one does not take its place, at once or later.
	put(t, s.Artifacts, "vmlinuz-x86_64", noiseOf(2, 100000))
	put(t, s.Artifacts, "hook.json", []byte("bad vmlinuz-x86_64"))
	until(t, "the bad set is refused", func() bool { return s.ArtifactStatus().Refused != "" })
	if _, body := get(t, c, "GET", url+"vmlinuz-x86_64"); !bytes.Equal(body, kernel) {
		t.Error("not the kernel of before")
	}
	// 4. A folder below is verified by itself.
	below := filepath.Join(s.Artifacts, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, below, "vmlinuz-x86_64", kernel)
	if resp, _ := get(t, c, "GET", url+"below/vmlinuz-x86_64"); resp.StatusCode != 404 {
		t.Errorf("a folder without hook.json: %s", resp.Status)
	}
	put(t, below, "hook.json", []byte("good vmlinuz-x86_64"))
	until(t, "the folder below", func() bool {
		_, body := get(t, c, "GET", url+"below/vmlinuz-x86_64")
		return bytes.Equal(body, kernel)
	})
}

// What is written to in place after it was verified is not sent.
func TestVerifyWrittenInPlace(t *testing.T) {
	s, _ := newServer(t)
	var calls atomic.Int64
	s.Verify = verifyAs(&calls)
	kernel := noiseOf(1, 100000)
	put(t, s.Artifacts, "vmlinuz-x86_64", kernel)
	put(t, s.Artifacts, "hook.json", []byte("good vmlinuz-x86_64"))
	addr := start(t, s)
	c := browser(t)
	if _, body := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64"); !bytes.Equal(body, kernel) {
		t.Fatal("not the kernel")
	}
	s.state.artifacts.mu.Lock() // as if verification always said no from here on
	s.state.artifacts.check = func(fs.FS) ([]string, error) { return nil, errors.New("not good") }
	s.state.artifacts.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(s.Artifacts, "vmlinuz-x86_64"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("other"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if resp, body := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64"); resp.StatusCode == 200 && bytes.HasPrefix(body, []byte("other")) {
			t.Fatal("what was written in place was sent")
		}
	}
	until(t, "it is refused", func() bool { return s.ArtifactStatus().Refused != "" })
}
