package hardware

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lab is a store over files in a temporary folder, running.
type lab struct {
	t       *testing.T
	dir     string
	store   *Store
	changes chan Change
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// row is a hardware.csv of one machine whose host name tells the version.
func row(hostname string) string {
	return csvHead + hostname + ",02:00:00:00:00:01,10.0.0.1,255.0.0.0,10.0.0.254,1.1.1.1,a=b,/dev/sda,,,,\n"
}

func newLab(t *testing.T, dir string, paths ...string) *lab {
	t.Helper()
	l := &lab{t: t, dir: dir, changes: make(chan Change, 100), log: &lockedBuffer{}}
	var err error
	l.store, err = Open(paths, Options{Debounce: 20 * time.Millisecond, Poll: time.Hour, Log: slog.New(slog.NewTextHandler(l.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	l.store.Subscribe(func(c Change) { l.changes <- c })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.store.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

func (l *lab) write(name, content string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	l.must(os.WriteFile(path+".part", []byte(content), 0o644))
	l.must(os.Rename(path+".part", path)) // whole for those who look at any time
}

// wait waits until the one machine has a host name.
func (l *lab) wait(hostname string) {
	l.t.Helper()
	l.until("host name "+hostname, func() bool {
		m, ok := l.store.Lookup("02:00:00:00:00:01")
		return ok && m.Hostname == hostname
	})
}

func (l *lab) until(what string, f func() bool) {
	l.t.Helper()
	deadline := time.After(60 * time.Second)
	for !f() {
		select {
		case <-l.changes:
		case <-time.After(5 * time.Millisecond): // what is no change for subscribers: Status
		case <-deadline:
			l.t.Fatalf("waiting for %s: %+v\n%s", what, l.store.Status(), l.log)
		}
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestReload changes files in every way that people and programs do.
func TestReload(t *testing.T) {
	ways := map[string]func(l *lab, path, content string){
		"write in place": func(l *lab, path, content string) { l.must(os.WriteFile(path, []byte(content), 0o644)) },
		"mv over it": func(l *lab, path, content string) {
			l.write("new", content)
			l.must(os.Rename(filepath.Join(l.dir, "new"), path))
		},
		"vim": func(l *lab, path, content string) { // backupcopy=no: the old file is moved away first
			l.must(os.Rename(path, path+"~"))
			l.write("hw.csv", content)
			l.must(os.Remove(path + "~"))
		},
		"removed, later written": func(l *lab, path, content string) {
			l.must(os.Remove(path))
			l.until("the error", func() bool { return !l.store.Status().Healthy() })
			if m, ok := l.store.LookupIP(netip.MustParseAddr("10.0.0.1")); !ok || m.Hostname != "one" {
				l.t.Error("the machines are gone with the file")
			}
			l.write("hw.csv", content)
		},
		"folder replaced": func(l *lab, path, content string) {
			l.must(os.Rename(l.dir, l.dir+".old"))
			l.must(os.Mkdir(l.dir, 0o755))
			l.write("hw.csv", content)
			l.must(l.store.Reload()) // what the poll does
		},
	}
	for name, change := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir")
			l := &lab{t: t, dir: dir}
			l.must(os.Mkdir(dir, 0o755))
			path := filepath.Join(dir, "hw.csv")
			l.write("hw.csv", row("one"))
			l = newLab(t, dir, path)
			change(l, path, row("two"))
			l.wait("two")
			l.until("health", func() bool { return l.store.Status().Healthy() })
		})
	}
}

// TestConfigMap replaces a mounted ConfigMap as the kubelet does: a new
// folder, a new ..data link renamed over the old one, the old folder removed.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	l := &lab{t: t, dir: dir}
	l.must(os.Mkdir(filepath.Join(dir, "..v0"), 0o755))
	l.write("..v0/hw.csv", row("v0"))
	l.must(os.Symlink("..v0", filepath.Join(dir, "..data")))
	l.must(os.Symlink("..data/hw.csv", filepath.Join(dir, "hw.csv")))
	l = newLab(t, dir, filepath.Join(dir, "hw.csv"))
	for i := 1; i <= 3; i++ {
		next := fmt.Sprintf("..v%d", i)
		l.must(os.Mkdir(filepath.Join(dir, next), 0o755))
		l.write(next+"/hw.csv", row(next[2:]))
		l.must(os.Symlink(next, filepath.Join(dir, "..tmp")))
		l.must(os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
		l.must(os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", i-1))))
		l.wait(next[2:])
	}
	l.must(os.WriteFile(filepath.Join(dir, "..v3", "hw.csv"), []byte(row("in-place")), 0o644)) // behind two links
	l.wait("in-place")
}

// TestBroken: a broken file keeps what it said, loudly, once; others go on.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	l := &lab{t: t, dir: dir}
	l.write("a.csv", row("one"))
	l.write("b.yaml", "machines:\n- mac: 02:00:00:00:00:02\n")
	l.write(".b.yaml.swp.yaml", "not read")
	l = newLab(t, dir, dir)
	l.write("a.csv", row("NOT A NAME"))
	l.until("the error", func() bool { return !l.store.Status().Healthy() })
	status := l.store.Status()
	if got := status.Files[0]; !strings.Contains(got.Error, "a.csv:2:1: hostname:") || got.Since.IsZero() || got.Machines != 1 {
		t.Errorf("status %+v", got)
	}
	l.wait("one")
	l.write("b.yaml", "machines:\n- mac: 02:00:00:00:00:03\n")
	l.until("the other file", func() bool { _, ok := l.store.Lookup("02:00:00:00:00:03"); return ok })
	l.wait("one")
	for range 3 {
		_ = l.store.Reload()
	}
	if n := strings.Count(l.log.String(), "hardware file is broken; its machines of before stay in use"); n != 1 {
		t.Errorf("said %d times:\n%s", n, l.log)
	}
	if n := strings.Count(l.log.String(), "hardware loaded"); n != 2 { // at first, and b.yaml
		t.Errorf("loaded %d times:\n%s", n, l.log)
	}

	// Two files that contradict each other: the index of before stays.
	l.write("b.yaml", "machines:\n- mac: 02:00:00:00:00:01\n  hostname: other\n")
	l.write("a.csv", row("two"))
	l.until("the conflict", func() bool { return strings.Contains(l.store.Status().Error, "02:00:00:00:00:01 is also that of") })
	l.wait("one")
	l.must(os.Remove(filepath.Join(dir, "b.yaml")))
	l.wait("two")
	l.until("health", func() bool { s := l.store.Status(); return s.Healthy() && s.Machines == 1 })
}

// TestSaving looks at files at the worst moments while they are saved.
func TestSaving(t *testing.T) {
	l := &lab{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	path := filepath.Join(l.dir, "hw.csv")
	l.write("hw.csv", row("zero"))
	now := time.Unix(1e9, 0)
	var err error
	l.store, err = Open([]string{path}, Options{Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(l.log, nil))})
	l.must(err)
	wait := l.store.opt.doubtTime()
	healthy := func(hostname string) {
		t.Helper()
		m, ok := l.store.Lookup("02:00:00:00:00:01")
		if said := l.log.String(); !ok || m.Hostname != hostname || !l.store.Status().Healthy() || strings.Contains(said, "ERROR") {
			t.Errorf("machine %+v, want %s; status %+v\n%s", m, hostname, l.store.Status(), said)
		}
	}
	look := func(again bool) {
		t.Helper()
		if got := l.store.look(); got != again {
			t.Errorf("look again: %v, want %v", got, again)
		}
	}

	l.must(os.Truncate(path, 0)) // an editor that saves in place
	look(true)
	now = now.Add(wait / 2)
	look(true)
	healthy("zero")
	l.write("hw.csv", row("one"))
	look(false)
	healthy("one")
	l.must(os.Rename(path, path+"~")) // one that moves the file away first
	look(true)
	now = now.Add(wait / 2) // not long after the first doubt, which is over
	look(true)
	healthy("one")
	l.must(os.Rename(path+"~", path)) // and takes it back
	look(false)
	healthy("one")

	l.write("hw.csv", row("NOT A NAME")) // one that was saved with a mistake
	look(true)
	healthy("one")
	for range 3 {
		now = now.Add(wait)
		look(false)
	}
	if n := strings.Count(l.log.String(), "hardware file is broken"); n != 1 || l.store.Status().Healthy() {
		t.Errorf("said %d times; status %+v", n, l.store.Status())
	}
	l.write("hw.csv", "") // asked for by hand
	if err := l.store.Reload(); err == nil || !strings.Contains(l.store.Status().Files[0].Error, "empty") {
		t.Errorf("%v; status %+v", err, l.store.Status())
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.csv")
	if err := os.WriteFile(bad, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open([]string{bad, filepath.Join(dir, "missing.yaml")}, Options{})
	if err == nil || !strings.Contains(err.Error(), "bad.csv:1:1: missing required columns") || !strings.Contains(err.Error(), "missing.yaml: no such file") {
		t.Errorf("%v", err)
	}
}

func TestSelector(t *testing.T) {
	labels := map[string]string{"a": "b", "c": "d", "example.com/x": ""}
	tests := []struct {
		selector string
		match    bool
		terms    int
	}{
		{"", true, 0}, {"a=b", true, 1}, {"a==b", true, 1}, {"a=c", false, 1}, {"a!=c", true, 1}, {"a!=b", false, 1}, {"z!=b", true, 1},
		{"a", true, 1}, {"z", false, 1}, {"!z", true, 1}, {"!a", false, 1}, {" a = b , c ,!z", true, 3}, {"a=b,c=x", false, 2},
		{"example.com/x", true, 1}, {"example.com/x=", true, 1}, {"a=b,a=b", true, 1},
	}
	for _, test := range tests {
		s, err := ParseSelector(test.selector)
		if err != nil || s.Match(labels) != test.match || s.Specificity() != test.terms {
			t.Errorf("%q: match %v, terms %d, %v", test.selector, s.Match(labels), s.Specificity(), err)
		}
		if again, err := ParseSelector(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q is written as %q", test.selector, s)
		}
	}
	for _, bad := range []string{",", "a=b,", "=b", "a=b c", "a b", "!", "a=$x"} {
		if _, err := ParseSelector(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
