package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/build"
	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
)

// look inspects the bytes of an initramfs.
func look(t *testing.T, b []byte, opt inspect.Options) (*inspect.Report, error) {
	t.Helper()
	return inspect.Inspect(t.Context(), &inspect.Set{Source: "test", Initramfs: artifact("initramfs", b)}, opt)
}

func artifact(name string, b []byte) *inspect.Artifact {
	return &inspect.Artifact{ReaderAt: bytes.NewReader(b), Name: name, Size: int64(len(b))}
}

// TestShapes: the same tree in every packing that a kernel takes.
func TestShapes(t *testing.T) {
	all := hooktest.Default()
	whole := hooktest.Archive(all...)
	half := len(all) / 2
	early := hooktest.Pad(hooktest.Archive(hooktest.Entry{Name: "kernel/x86/microcode/GenuineIntel.bin", Data: "microcode"}))
	for _, tt := range []struct {
		name        string
		file        []byte
		segments    int
		compression string
	}{
		{"plain", whole, 1, "none"},
		{"zstd", hooktest.Zstd(whole), 1, "zstd"},
		{"gzip", hooktest.Gzip(whole), 1, "gzip"},
		{"lz4", hooktest.LZ4(whole), 1, "lz4"},
		{"two of zstd", slices.Concat(hooktest.Pad(hooktest.Zstd(hooktest.Archive(all[:half]...))), hooktest.Zstd(hooktest.Archive(all[half:]...))), 2, "zstd"},
		{"two of gzip", slices.Concat(hooktest.Pad(hooktest.Gzip(hooktest.Archive(all[:half]...))), hooktest.Gzip(hooktest.Archive(all[half:]...))), 2, "gzip"},
		{"microcode before zstd", slices.Concat(early, make([]byte, 512), hooktest.Zstd(whole)), 2, "zstd"},
		{"microcode before gzip", slices.Concat(early, hooktest.Gzip(whole)), 2, "gzip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := look(t, tt.file, inspect.Options{Contents: true})
			if err != nil {
				t.Fatal(err)
			}
			if last := r.Initramfs.Segments[len(r.Initramfs.Segments)-1]; len(r.Initramfs.Segments) != tt.segments || last.Compression != tt.compression || last.Offset+last.Size != int64(len(tt.file)) {
				t.Errorf("segments %+v of a file of %d bytes", r.Initramfs.Segments, len(tt.file))
			}
			if strings.HasPrefix(tt.name, "microcode") && (len(r.Firmware) != 2 || r.Firmware[1].Name != "kernel/x86/microcode/GenuineIntel.bin") {
				t.Errorf("firmware %v", r.Firmware)
			}
			checkDefault(t, r)
		})
	}
}

// checkDefault compares a report with hooktest.Default.
func checkDefault(t *testing.T, r *inspect.Report) {
	t.Helper()
	if len(r.Warnings) > 0 {
		t.Errorf("warnings: %q", r.Warnings)
	}
	if r.Initramfs.Layout != "hooksmith" || r.Initramfs.Arch != "x86_64" || r.Initramfs.RAMMiB != 512 || r.Initramfs.RAMFrom != "etc/hooksmith/ram" || r.Init != "/init" {
		t.Errorf("initramfs %+v, init %q", r.Initramfs, r.Init)
	}
	if m := r.Modules; m == nil || m.Release != hooktest.Release || len(m.List) != 2 || m.List[1].Name != "b_c" || !strings.HasPrefix(m.List[1].Vermagic, hooktest.Release+" SMP") || len(m.Foreign()) > 0 {
		t.Errorf("modules %+v", m)
	}
	want := []inspect.Package{
		{Name: "docker.io", Version: "26.1.5", Arch: "amd64", Kind: "deb", In: "containers/services/hook-docker/lower"},
		{Name: "musl", Version: "1.2.5-r1", Arch: "x86_64", Kind: "apk", In: "containers/services/hook-bootkit/lower"},
	}
	if !slices.Equal(r.Packages, want) {
		t.Errorf("packages %+v", r.Packages)
	}
	if len(r.Images) != 1 || r.Images[0].Names[0] != "127.0.0.1/embedded/tink-worker:latest" || r.Images[0].Size != 12345 || r.Images[0].Arch != "amd64" || len(r.Images[0].Missing) > 0 {
		t.Errorf("images %+v", r.Images)
	}
	if len(r.Services) != 2 || r.Services[0].Kind != "onboot" || r.Services[1].Name != "hook-docker" {
		t.Fatalf("services %+v", r.Services)
	}
	docker := r.Services[1]
	if got := strings.Join(docker.Privileges, "; "); got != "NET_ADMIN; Docker's socket; all devices; host IPC; host network" {
		t.Errorf("privileges %q", got)
	}
	if !slices.Equal(docker.Binds, []string{"/var/run/docker:/var/run"}) || docker.Size < 36<<10 {
		t.Errorf("service %+v", docker)
	}
}

// TestKernelsRules: what comes later wins, hard links count once.
func TestKernelsRules(t *testing.T) {
	file := slices.Concat(
		hooktest.Pad(hooktest.Zstd(hooktest.Archive(
			hooktest.Entry{Name: "init", Mode: 0o100755, Data: "#!/bin/sh"},
			hooktest.Entry{Name: "a", Mode: 0o100644, Ino: 7, Links: 2},
			hooktest.Entry{Name: "b", Mode: 0o100644, Ino: 7, Links: 2, Data: strings.Repeat("x", 5000)},
			hooktest.Entry{Name: "old", Data: strings.Repeat("y", 9000)},
			hooktest.Entry{Name: "dir/below", Data: "z"}))),
		hooktest.Zstd(hooktest.Archive(
			hooktest.Entry{Name: "old", Data: "new"},
			hooktest.Entry{Name: "dir", Mode: 0o120777, Data: "a"},
			hooktest.Entry{Name: "../escape", Data: "x"})))
	r, err := look(t, file, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Initramfs.Memory != 4096+8192+4096 {
		t.Errorf("memory %d", r.Initramfs.Memory)
	}
	var b, gone bool
	for _, f := range r.Files {
		b = b || f.Path == "b" && f.LinkOf == "a" && f.Memory == 0 && f.Size == 5000
		gone = gone || f.Path == "dir/below" || strings.Contains(f.Path, "escape")
	}
	if !b || gone {
		t.Errorf("files %+v", r.Files)
	}
	if all := strings.Join(r.Warnings, "\n"); !strings.Contains(all, "escape") || !strings.Contains(all, "dir: a folder is replaced") {
		t.Errorf("warnings %s", all)
	}
}

func TestWarnings(t *testing.T) {
	entries := hooktest.Default()
	for i, e := range entries {
		switch {
		case strings.HasSuffix(e.Name, "b-c.ko.gz"):
			entries[i].Data = string(hooktest.Gzip([]byte(hooktest.Module("b_c", "6.1.0-other"))))
		case strings.HasSuffix(e.Name, "/size"):
			entries[i].Data = "many"
		case strings.HasSuffix(e.Name, "sysctl/config.json"):
			entries[i].Data = "{"
		case e.Name == "init":
			entries[i].Mode = 0o100644
		}
	}
	set := &inspect.Set{Kernel: artifact("k", hooktest.Kernel("6.6.6", "")), Initramfs: artifact("i", hooktest.Zstd(hooktest.Archive(entries...)))}
	r, err := inspect.Inspect(t.Context(), set, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(r.Warnings, "\n")
	for _, want := range []string{"b-c.ko.gz", "layers are not in the store", "000-sysctl/config.json: unexpected end", "no /init", "the kernel is 6.6.6 and the modules are for " + hooktest.Release} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning of %q in:\n%s", want, all)
		}
	}
}

func TestErrors(t *testing.T) {
	whole := hooktest.Archive(hooktest.Default()...)
	packed := hooktest.Zstd(whole)
	for _, tt := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "no archive", nil},
		{"zeros", "no archive", make([]byte, 9000)},
		{"page", "neither an archive nor a known compression", []byte("<!doctype html><p>login")},
		{"truncated", "unexpected EOF", packed[:len(packed)-100]},
		{"second is truncated", "offset", slices.Concat(hooktest.Pad(hooktest.Zstd(whole)), packed[:len(packed)/2])},
		{"plain is out of place", "multiple of 4", slices.Concat(hooktest.Zstd(whole), make([]byte, 4+(-len(packed)&3)-3), whole)},
		{"lz4 of nonsense", "lz4", append([]byte("\x02\x21\x4c\x18\x04\x00\x00\x00"), 0x0f, 0xff, 0xff, 0xff)},
		{"lz4 too large", "lz4", []byte("\x02\x21\x4c\x18\xff\xff\xff\x7f")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := look(t, tt.file, inspect.Options{}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "initramfs") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inspect.Inspect(ctx, &inspect.Set{Initramfs: artifact("i", packed)}, inspect.Options{}); err == nil {
		t.Error("a cancelled context is no error")
	}
}

// writeSet writes an output folder.
func writeSet(t *testing.T, ids ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, id := range ids {
		write(t, dir, "vmlinuz-"+id, hooktest.Kernel(hooktest.Release, "CONFIG_A=y\n# CONFIG_B is not set\n"))
		write(t, dir, "initramfs-"+id, hooktest.Zstd(hooktest.Archive(hooktest.Default()...)))
	}
	return dir
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	dir := writeSet(t, "x86_64", "latest-lts-x86_64")
	other := writeSet(t, "a", "b")
	manifest := build.Manifest{Schema: 1, Builds: []build.Artifacts{{
		BuildID: strings.Repeat("ab", 32), Flavor: "f", OutputID: "a", RAMNeededMiB: 640, Kernel: build.KernelInfo{Cmdline: "console=tty0"},
		Files:    []build.File{{Name: "vmlinuz-a", Aliases: []string{"vmlinuz-x86_64"}, Role: "kernel"}, {Name: "initramfs-a", Role: "initramfs"}},
		Segments: []build.Segment{{Name: "base", Offset: 0}},
	}, {OutputID: "b", Files: []build.File{{Name: "initramfs-b", Role: "initramfs"}}}}}
	known := writeSet(t, "a", "b")
	b, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	write(t, known, build.ManifestName, b)
	server := httptest.NewServer(http.FileServer(http.Dir(known)))
	defer server.Close()
	plain := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer plain.Close()
	for _, tt := range []struct{ ref, id, kernel, initramfs, err string }{
		{ref: dir, kernel: dir + "/vmlinuz-x86_64", initramfs: dir + "/initramfs-x86_64"},
		{ref: "file://" + dir, id: "latest-lts-x86_64", kernel: dir + "/vmlinuz-latest-lts-x86_64", initramfs: dir + "/initramfs-latest-lts-x86_64"},
		{ref: dir, id: "riscv", err: "latest-lts-x86_64, x86_64"},
		{ref: other, err: "choose one: a, b"},
		{ref: t.TempDir(), err: "initramfs-x86_64"},
		{ref: dir + "/none", err: "out/hook"},
		{ref: known, kernel: known + "/vmlinuz-a", initramfs: known + "/initramfs-a"},
		{ref: known, id: "b", initramfs: known + "/initramfs-b"},
		{ref: dir + "/vmlinuz-x86_64", kernel: dir + "/vmlinuz-x86_64"},
		{ref: dir + "/initramfs-x86_64", initramfs: dir + "/initramfs-x86_64"},
		{ref: server.URL, kernel: server.URL + "/vmlinuz-a", initramfs: server.URL + "/initramfs-a"},
		{ref: plain.URL + "/", kernel: plain.URL + "/vmlinuz-x86_64", initramfs: plain.URL + "/initramfs-x86_64"},
		{ref: plain.URL + "/initramfs-x86_64", initramfs: plain.URL + "/initramfs-x86_64"},
		{ref: plain.URL, id: "riscv", err: "404"},
	} {
		t.Run(strings.TrimPrefix(tt.ref, "http://")+" "+tt.id, func(t *testing.T) {
			temp := t.TempDir()
			set, err := inspect.Open(t.Context(), tt.ref, inspect.Choice{ID: tt.id, TempDir: temp})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
			} else if err != nil || name(set.Kernel) != tt.kernel || name(set.Initramfs) != tt.initramfs {
				t.Fatalf("%v: kernel %q, initramfs %q", err, name(set.Kernel), name(set.Initramfs))
			}
			if set != nil {
				if _, err := inspect.Inspect(t.Context(), set, inspect.Options{}); err != nil {
					t.Error(err)
				}
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func name(f *inspect.Artifact) string {
	if f == nil {
		return ""
	}
	return f.Name
}

func TestManifestAdds(t *testing.T) {
	set := &inspect.Set{Kernel: artifact("k", hooktest.Kernel(hooktest.Release, "")), Initramfs: artifact("i", hooktest.Zstd(hooktest.Archive(hooktest.Entry{Name: "init", Mode: 0o100755, Data: "x"}))),
		Build: &build.Artifacts{Flavor: "f", RAMNeededMiB: 640, Kernel: build.KernelInfo{Cmdline: "quiet"}, Segments: []build.Segment{{Name: "base"}},
			Inputs: []build.Input{{Kind: "package", Name: "runc", Version: "1", UsedBy: []string{"hook-init"}}, {Kind: "image", Name: "x"}}}}
	r, err := inspect.Inspect(t.Context(), set, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Build.Flavor != "f" || r.Kernel.Cmdline != "quiet" || r.Initramfs.RAMMiB != 640 || r.Initramfs.Segments[0].Name != "base" || len(r.Packages) != 1 || r.Packages[0].Name != "runc" {
		t.Errorf("%+v %+v %+v", r.Build, r.Initramfs, r.Packages)
	}
}

func TestText(t *testing.T) {
	r, err := look(t, hooktest.Zstd(hooktest.Archive(append(hooktest.Default(), hooktest.Entry{Name: "usr/lib/firmware/\x1b[31mred", Data: "x"})...)), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{40, 80, 200} {
		var out bytes.Buffer
		if err := r.WriteText(&out, inspect.Style{Width: width, All: true}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
				t.Errorf("%d columns in %d: %s", n, width, line)
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("a file name steers the terminal")
		}
	}
	var out bytes.Buffer
	if err := r.WriteText(&out, inspect.Style{Colour: true}); err != nil || !strings.Contains(out.String(), "\x1b[1m") {
		t.Errorf("no colour: %v", err)
	}
}

func TestDiff(t *testing.T) {
	opt := inspect.Options{Contents: true, Seed: maphash.MakeSeed()}
	open := func(config string, entries []hooktest.Entry) *inspect.Report {
		set := &inspect.Set{Source: "x", Kernel: artifact("k", hooktest.Kernel(hooktest.Release, config)), Initramfs: artifact("i", hooktest.Zstd(hooktest.Archive(entries...)))}
		r, err := inspect.Inspect(t.Context(), set, opt)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	base := append(hooktest.Default(), hooktest.Entry{Name: "etc/motd", Data: "hello"}, hooktest.Entry{Name: "usr/lib/modules/" + hooktest.Release + "/modules.symbols", Data: "alias symbol:foo a\n"})
	a := open("CONFIG_A=y\n", base)
	if d := inspect.Compare(a, open("CONFIG_A=y\n", base)); !d.Same {
		t.Errorf("the same differ: %+v", d)
	}
	changed := slices.Clone(base)
	for i, e := range changed {
		switch {
		case e.Name == "etc/motd":
			changed[i].Data = "HELLO"
		case strings.HasSuffix(e.Name, "modules.symbols"):
			changed[i].Data = "alias symbol:bar a\n"
		case strings.HasSuffix(e.Name, "net/a.ko"):
			changed[i].Data += "!"
		case strings.HasSuffix(e.Name, "hook-docker/config.json"):
			changed[i].Data = hooktest.Config("/usr/bin/dockerd", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
		case strings.HasSuffix(e.Name, "dpkg/status"):
			changed[i].Data = strings.Replace(e.Data, "26.1.5", "27.0.1", 1)
		case strings.HasSuffix(e.Name, "x.bin"):
			changed[i].Name = "usr/lib/firmware/intel/y.bin"
		}
	}
	changed = append(changed, hooktest.Entry{Name: "etc/motd.d", Mode: 0o120777, Data: "motd"})
	d := inspect.Compare(a, open("CONFIG_A=m\n", changed))
	var out bytes.Buffer
	if err := d.WriteText(&out, inspect.Style{Width: 200}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"changed docker.io:amd64 in containers/services/hook-docker/lower: 26.1.5 -> 27.0.1", "changed etc/motd: same size, other content",
		"added etc/motd.d: lrwxrwxrwx -> motd", "changed CONFIG_A: y -> m", "added bar", "removed foo", "changed kernel/net/a.ko",
		"removed intel/x.bin", "added intel/y.bin", "changed service hook-docker: capabilities: CHOWN, NET_ADMIN -> CHOWN, SYS_ADMIN", "+1 B",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
