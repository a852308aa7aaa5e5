package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hooksmith/serve"
)

// What the service does not see, or its user may not enter, is told.
func TestReachable(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	hook := filepath.Join(home, "hook")
	if err := os.MkdirAll(hook, 0o755); err != nil {
		t.Fatal(err)
	}
	info := func(mode os.FileMode) os.FileInfo {
		if err := os.Chmod(home, mode); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(home)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := info(0o755).Sys().(*syscall.Stat_t) // the group may be the folder's above
	me, gid := st.Uid, st.Gid
	for _, tt := range []struct {
		name string
		r    reader
		mode os.FileMode
		want bool
	}{
		{"others", reader{}, 0o755, true},
		{"others, closed", reader{}, 0o750, false},
		{"owner", reader{uid: me, known: true}, 0o700, true},
		{"group", reader{uid: me + 1, known: true, groups: []uint32{gid}}, 0o710, true},
		{"group, closed", reader{uid: me + 1, known: true, groups: []uint32{gid}}, 0o701, false},
	} {
		if got := tt.r.enters(info(tt.mode)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if why := (reader{name: "boot"}).outOfReach("/tmp/hook"); !strings.Contains(why, "PrivateTmp") {
		t.Errorf("in /tmp: %q", why)
	}
	if why := (reader{name: "boot"}).outOfReach("/usr"); why != "" {
		t.Errorf("in /usr: %q", why)
	}
	loaded := &serve.Loaded{Config: serve.Config{Artifacts: "/tmp/hook", Hardware: []string{"/var/tmp/a.csv", "/usr/b.csv"}}}
	got := strings.Join(reachable("/usr/bin/true", loaded, "no-such-user"), "\n")
	if !strings.HasPrefix(got, "--artifacts /tmp/hook: ") || !strings.Contains(got, "\n--hardware /var/tmp/a.csv: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("notes: %s", got)
	}
}
