package linuxkit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// modules is a kernel.tar with times and a root of its own.
func modules(t *testing.T) []byte {
	layer := must(NewLayer(time.Unix(1e9, 0), Entry{Name: "./", Mode: 0o711}, Entry{Name: "./lib/", Mode: 0o755}, Entry{Name: "./lib/modules/", Mode: 0o755},
		Entry{Name: "./lib/modules/m.ko", Mode: 0o640, Data: []byte("module")}))
	return content(t, layer)
}

func open(t *testing.T, f KernelFile) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data := string(must(io.ReadAll(r)))
	if int64(len(data)) != f.Size {
		t.Errorf("%s: %d bytes, Size says %d", f.Name, len(data), f.Size)
	}
	return data
}

func TestSection1_8(t *testing.T) {
	base := []Entry{
		{Name: "System.map", Data: []byte("map")}, {Name: "kernel", Mode: 0o755, Data: []byte("old kernel")},
		{Name: "kernel.tar", Data: modules(t)}, {Name: "kernel-dev.tar", Data: []byte("dev")}, {Name: "dtbs.tar.gz"},
		{Name: "bzImage", Mode: 0o600, Data: []byte("bz")}, {Name: "intel.cpio", Mode: 0o644, Data: []byte("ucode")}, {Name: "boot/kernel", Data: []byte("not this")},
	}
	img := image(t, v1.Config{}, base, []Entry{{Name: "./kernel", Mode: 0o755, Data: []byte("kernel")}})
	tests := []struct{ name, yaml, binary, ucode string }{
		{"defaults", "{image: k, cmdline: 'console=tty0 a=b'}", "kernel", ""},
		{"other names", "{image: k, binary: bzImage, ucode: intel.cpio}", "bz", "ucode"},
		{"empty ucode", "{image: k, ucode: ''}", "kernel", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			kernel := parse(t, "kernel: "+test.yaml).Kernel
			k, err := KernelParts(t.Context(), img, kernel, KernelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := open(t, k.Binary); got != test.binary || k.Cmdline != kernel.Cmdline.Value {
				t.Errorf("%q %q", got, k.Cmdline)
			}
			if (k.UCode != nil) != (test.ucode != "") || k.UCode != nil && open(t, *k.UCode) != test.ucode {
				t.Errorf("microcode %+v", k.UCode)
			}
			checkLayer(t, k.Tar)
			all := unpack(t, must(k.Parts(Options{})))
			if got := all[""]; got.hdr.Mode != 0o711 || got.hdr.ModTime.Unix() != 1e9 {
				t.Errorf("the root is that of kernel.tar: %v", got)
			}
			if got := all["lib/modules/m.ko"]; got.String() != "0 0640 0:0 module" || got.hdr.ModTime.Unix() != 1e9 {
				t.Errorf("%v", got)
			}
			if got := strings.Join(all.paths(), " "); got != " boot lib lib/modules lib/modules/m.ko" {
				t.Errorf("%q: boot stays, what is in it does not", got)
			}
		})
	}
}

func TestSection1_8Boot(t *testing.T) {
	img := image(t, v1.Config{}, []Entry{{Name: "kernel", Mode: 0o755, Data: []byte("k")}, {Name: "u", Mode: 0o600, Data: []byte("uc")}})
	k := must(KernelParts(t.Context(), img, parse(t, "kernel: {image: k, tar: none, ucode: u, cmdline: 'a b'}").Kernel, KernelOptions{}))
	if k.Tar != nil {
		t.Error("tar: none means no tar")
	}
	all := unpack(t, []Part{must(k.BootPart(Options{}))})
	for path, want := range map[string]string{
		"boot": "5 0755 0:0", "boot/cmdline": "0 0644 0:0 a b", "boot/kernel": "0 0755 0:0 k", "boot/ucode.cpio": "0 0600 0:0 uc",
	} {
		if got := all[path].String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if parts := must(k.Parts(Options{})); len(parts) != 1 {
		t.Errorf("%+v", parts)
	}
}

func TestSection1_8Errors(t *testing.T) {
	file := func(name string) Entry { return Entry{Name: name, Data: []byte("x")} }
	tests := []struct {
		name   string
		layers [][]Entry
		yaml   string
		want   string
	}{
		{"no kernel", [][]Entry{{file("kernel.tar")}}, "{image: k}", `hook.yaml:1:10: kernel "k": did not find kernel in kernel image: no file kernel at its root`},
		{"no tar", [][]Entry{{file("kernel")}}, "{image: k}", `did not find kernel tar in kernel image: no file kernel.tar at its root; write tar: none`},
		{"no named tar", [][]Entry{{file("kernel")}}, "{image: k, tar: m.tar}", `hook.yaml:1:20: kernel "k": did not find kernel tar in kernel image: no file m.tar`},
		{"no microcode", [][]Entry{{file("kernel"), file("kernel.tar")}}, "{image: k, ucode: u}", `did not find microcode in kernel image: no file u`},
		{"two kernels", [][]Entry{{file("kernel"), file("./kernel")}}, "{image: k, tar: none}", `found kernel twice in one layer`},
		{"deleted", [][]Entry{{file("kernel")}, {file(".wh.kernel")}}, "{image: k, tar: none}", `did not find kernel`},
		{"opaque", [][]Entry{{file("kernel")}, {file(".wh..wh..opq")}}, "{image: k, tar: none}", `did not find kernel`},
		{"in a folder", [][]Entry{{file("boot/kernel")}}, "{image: k, tar: none}", `did not find kernel`},
		{"symbolic link", [][]Entry{{{Name: "kernel", Link: "vmlinuz"}}}, "{image: k, tar: none}", `kernel is a symbolic link to vmlinuz; name the file itself`},
		{"folder", [][]Entry{{{Name: "kernel/"}}}, "{image: k, tar: none}", `kernel is not a regular file`},
		{"hard link in a circle", [][]Entry{{{Name: "kernel", Type: tar.TypeLink, Link: "kernel"}}}, "{image: k, tar: none}", `did not find kernel`},
		{"hard link to nothing", [][]Entry{{{Name: "kernel", Type: tar.TypeLink, Link: "x"}}}, "{image: k, tar: none}", `did not find kernel`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := KernelParts(t.Context(), image(t, v1.Config{}, test.layers...), parse(t, "kernel: "+test.yaml).Kernel, KernelOptions{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := KernelParts(ctx, image(t, v1.Config{}, []Entry{file("kernel")}), Kernel{}, KernelOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k := must(KernelParts(t.Context(), image(t, v1.Config{}, []Entry{file("kernel"), {Name: "kernel.tar", Data: zip("tar")}}), Kernel{}, KernelOptions{}))
	if _, err := k.Tar.Uncompressed(); err == nil || !strings.Contains(err.Error(), "kernel.tar is compressed with gzip: LinuxKit wants a plain tar") {
		t.Error(err)
	}
}

// Layers above win, hard links lead to the content below, a file that is
// deleted and made again in one layer is there.
func TestFindFiles(t *testing.T) {
	img := image(t, v1.Config{},
		[]Entry{{Name: "real", Mode: 0o700, Data: []byte("low")}, {Name: "gone", Data: []byte("g")}, {Name: "dir/x", Data: []byte("x")}},
		[]Entry{{Name: "linked", Type: tar.TypeLink, Link: "real"}, {Name: "again/.wh.f"}, {Name: "again/f", Data: []byte("new")}},
		[]Entry{{Name: ".wh.gone"}, {Name: ".wh.dir"}, {Name: "alias", Type: tar.TypeLink, Link: "./alias2"}, {Name: "alias2", Type: tar.TypeLink, Link: "linked"}},
	)
	found := must(findFiles(t.Context(), img, "linked", "alias", "real", "gone", "dir/x", "again/f", "never"))
	got := map[string]string{}
	for name, f := range found {
		r := must(f.Open())
		got[name] = string(must(io.ReadAll(r)))
		r.Close()
	}
	if fmt.Sprint(got) != "map[again/f:new alias:low linked:low real:low]" {
		t.Error(got)
	}
}

func zip(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.Bytes()
}

// bzImage makes the part of a bzImage that matters.
func bzImage(version uint16, sectors byte, payload []byte) []byte {
	real := int(sectors)
	if real == 0 {
		real = 4
	}
	data := make([]byte, (real+1)*512+64)
	data[setupSects] = sectors
	copy(data[headerMagic:], "HdrS")
	binary.LittleEndian.PutUint16(data[protocol:], version)
	binary.LittleEndian.PutUint32(data[payloadOffset:], 64)
	binary.LittleEndian.PutUint32(data[payloadLength:], uint32(len(payload)))
	return append(data, payload...)
}

func TestSection1_8Decompress(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string
		err  string
	}{
		{"gzip", zip("vmlinux"), "vmlinux", ""},
		{"bzImage", bzImage(0x20f, 3, zip("vmlinux")), "vmlinux", ""},
		{"bzImage, default sectors", bzImage(0x208, 0, zip("vmlinux")), "vmlinux", ""},
		{"padded payload", bzImage(0x208, 1, append(zip("vmlinux"), 1, 2, 3, 4)), "vmlinux", ""},
		{"old protocol", bzImage(0x207, 1, zip("x")), "", "boot protocol 2.07 has no payload fields, 2.08 is needed"},
		{"zstd", bzImage(0x20f, 1, []byte("\x28\xb5\x2f\xfd")), "", "compressed with zstd, only gzip can be undone"},
		{"xz", bzImage(0x20f, 1, []byte("\xfd7zXZ\x00")), "", "compressed with xz"},
		{"unknown payload", bzImage(0x20f, 1, []byte("????")), "", "compressed with something unknown"},
		{"truncated", bzImage(0x20f, 1, zip("x"))[:1100], "", "its payload ends at byte"},
		{"truncated gzip", zip("vmlinux")[:15], "", "unexpected EOF"},
		{"ELF", []byte("\x7fELF"), "", "neither gzip nor a bzImage"},
		{"empty", nil, "", "neither gzip nor a bzImage"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img := image(t, v1.Config{}, []Entry{{Name: "kernel", Mode: 0o755, Data: test.data}})
			k, err := KernelParts(t.Context(), img, parse(t, "kernel: {image: k, tar: none}").Kernel, KernelOptions{Decompress: true})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), `kernel "k": decompressing kernel: `) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := open(t, k.Binary); got != test.want {
				t.Errorf("%q", got)
			}
		})
	}
}

// The tar of modules comes out of the image as a stream: what is held does
// not grow with it.
func TestKernelTarIsStreamed(t *testing.T) {
	const size = 64 << 20
	big := func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(zeroReader{}, size)), nil }
	layer := must(NewLayer(Epoch, Entry{Name: "kernel", Data: []byte("k")}, Entry{Name: "kernel.tar", Size: size, Open: big}))
	img := imageOf(t, layer)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	k := must(KernelParts(t.Context(), img, Kernel{}, KernelOptions{}))
	must(k.Tar.DiffID())
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 4<<20 {
		t.Errorf("%d bytes allocated for a tar of %d", allocated, size)
	}
}

func TestKnown(t *testing.T) {
	if got := known(map[string]int{"b": 1, "a": 2}); !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
}
