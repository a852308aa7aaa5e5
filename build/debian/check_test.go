package debian

import (
	"debug/elf"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
)

const (
	amd64 = elf.EM_X86_64
	ldso  = "/lib64/ld-linux-x86-64.so.2"
	libs  = "usr/lib/x86_64-linux-gnu/"
)

// tree is a file system in memory whose links are links.
func tree(files map[string]any) fstest.MapFS {
	out := fstest.MapFS{}
	for name, v := range files {
		switch v := v.(type) {
		case []byte:
			out[name] = &fstest.MapFile{Data: v, Mode: 0o755}
		case string:
			out[name] = &fstest.MapFile{Data: []byte(v), Mode: fs.ModeSymlink | 0o777}
		}
	}
	return out
}

// libcTree is what every dynamic program needs.
func libcTree(more map[string]any) fstest.MapFS {
	files := map[string]any{
		"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin", "usr/bin/.keep": []byte("x"),
		"usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld.so",
		libs + "ld.so":                   elfOf(amd64, "", ""),
		libs + "libc.so.6":               elfOf(amd64, "", "", "ld.so"),
	}
	for name, v := range more {
		files[name] = v
	}
	return tree(files)
}

func TestCheckTree(t *testing.T) {
	x := &Index{names: []byte("\nlibfoo1\nlibc6\nlibpriv3t64\n")}
	tests := []struct {
		name  string
		files map[string]any
		want  []string
	}{
		{"complete", map[string]any{
			"usr/bin/a":            elfOf(amd64, ldso, "", "libc.so.6", "libfoo.so.1"),
			libs + "libfoo.so.1":   "libfoo.so.1.2",
			libs + "libfoo.so.1.2": elfOf(amd64, "", "", "libc.so.6"),
			"usr/bin/b":            "/bin/a",
			"usr/bin/static":       elfOf(amd64, "", ""),
			"usr/bin/text":         []byte("#!/bin/sh\n"),
			"usr/bin/short":        []byte("\x7fE"),
			"usr/bin/half":         []byte("\x7fELF\x02\x01\x01"),
			"usr/bin/empty":        []byte(""),
		}, nil},
		{"missing library", map[string]any{"usr/sbin/dockerd": elfOf(amd64, ldso, "", "libfoo.so.1", "libc.so.6", "libpriv.so.3", "libodd.so")}, []string{
			"/usr/sbin/dockerd needs library libfoo.so.1, which is not in the image: add package libfoo1",
			"/usr/sbin/dockerd needs library libodd.so, which is not in the image",
			"/usr/sbin/dockerd needs library libpriv.so.3, which is not in the image: add package libpriv3t64",
		}},
		{"library that needs one", map[string]any{libs + "libbar.so": elfOf(amd64, "", "", "libfoo.so.1")},
			[]string{"/usr/lib/x86_64-linux-gnu/libbar.so needs library libfoo.so.1, which is not in the image: add package libfoo1"}},
		{"dangling library link", map[string]any{"usr/bin/a": elfOf(amd64, ldso, "", "libfoo.so.1"), libs + "libfoo.so.1": "libfoo.so.1.9"}, []string{
			"/usr/bin/a needs library libfoo.so.1, which is not in the image: add package libfoo1",
			"/usr/lib/x86_64-linux-gnu/libfoo.so.1 needs link target libfoo.so.1.9, which is not in the image",
		}},
		{"interpreter", map[string]any{"usr/bin/a": elfOf(amd64, "/lib/ld-musl-x86_64.so.1", "")},
			[]string{"/usr/bin/a needs interpreter /lib/ld-musl-x86_64.so.1, which is not in the image"}},
		{"run path", map[string]any{
			"usr/bin/a":            elfOf(amd64, ldso, "$ORIGIN/../lib/priv:/opt/${LIB}", "libp.so", "libq.so", "libr.so"),
			"usr/lib/priv/libp.so": elfOf(amd64, "", ""), "opt/lib/x86_64-linux-gnu/libq.so": elfOf(amd64, "", ""),
		}, []string{"/usr/bin/a needs library libr.so, which is not in the image"}},
		{"library by path", map[string]any{"usr/bin/a": elfOf(amd64, ldso, "", "/opt/x.so", "/opt/y.so"), "opt/x.so": elfOf(amd64, "", "")},
			[]string{"/usr/bin/a needs library /opt/y.so, which is not in the image"}},
		{"library of another machine", map[string]any{"usr/bin/a": elfOf(amd64, ldso, "", "libarm.so"), libs + "libarm.so": elfOf(elf.EM_AARCH64, "", "")},
			[]string{"/usr/bin/a needs library libarm.so, which is not in the image"}},
		{"program of another machine", map[string]any{"usr/bin/a": elfOf(elf.EM_AARCH64, "/lib/ld-linux-aarch64.so.1", "", "libc.so.6")},
			[]string{"/usr/bin/a needs a processor of type EM_AARCH64 (the image is for EM_X86_64), which is not in the image"}},
		{"firmware of another machine", map[string]any{"usr/lib/firmware/x.elf": elfOf(elf.EM_ARM, "/x", "", "libx.so")}, nil},
		{"links", map[string]any{
			"usr/bin/gone": "nowhere", "usr/bin/out": "../../../../usr/bin/.keep", "usr/bin/loop": "pool", "usr/bin/pool": "loop",
			"usr/bin/file": ".keep/x", "etc/mtab": "/proc/mounts", "etc/resolv.conf": "/run/resolvconf/resolv.conf", "var/run": "/run",
			"etc/sock": "/var/run/docker.sock", "usr/lib/modules/6.12/build": "/usr/src/linux", "usr/bin/self": "self",
		}, []string{
			"/usr/bin/file needs link target .keep/x, which is not in the image",
			"/usr/bin/gone needs link target nowhere, which is not in the image",
			"/usr/bin/loop needs link target pool (a loop of links), which is not in the image",
			"/usr/bin/pool needs link target loop (a loop of links), which is not in the image",
			"/usr/bin/self needs link target self (a loop of links), which is not in the image",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			problems, err := CheckTree(libcTree(tt.files), CheckOptions{Arch: "amd64", Owner: x.LibraryPackage})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.Error())
			}
			wantLines(t, got, tt.want)
		})
	}
	if _, err := CheckTree(libcTree(nil), CheckOptions{Arch: "vax"}); err == nil {
		t.Error("unknown architecture is accepted")
	}
}

// TestCheckTreeOS: a folder on disk, whose absolute links must not be looked
// up on the machine that the check runs on.
func TestCheckTreeOS(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"hostfile": "/etc/passwd", "good": "/file"} {
		if err := os.Symlink(target, dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/file", elfOf(amd64, "", "", "libnone.so.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	problems, err := CheckTree(os.DirFS(dir), CheckOptions{Arch: "amd64"})
	if err != nil || len(problems) != 2 || problems[0].Needs != "library libnone.so.1" || problems[1].Path != "hostfile" {
		t.Errorf("%v %v", problems, err)
	}
}
