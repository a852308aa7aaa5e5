package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func readBytes(path string, b []byte) ([]byte, int, error) {
	var u infoReader
	defer u.close()
	info, err := u.read(path, bytes.NewReader(b), testRelease, elf.EM_X86_64)
	return info, u.complete, err
}

// big makes the rest of a module long enough that the search comes first.
const big = 64 << 10

func TestReadModinfo(t *testing.T) {
	info := []string{"license=GPL", "alias=pci:v1", "depends=b,c-d", "firmware=x/y.bin"}
	const tail = "name=a\x00vermagic=" + testRelease + " SMP mod_unload \x00"
	want := strings.Join(info, "\x00") + "\x00" + tail
	for _, tt := range []struct {
		name  string
		m     testModule
		whole bool // has to be decompressed completely
	}{
		{"small", testModule{info: info}, true},
		{"quick", testModule{info: info, padding: big}, false},
		{"strings around", testModule{info: info, before: "some text\x00more\x00", behind: "usage: %s\x00other\x00", padding: big}, false},
		{"zeros around", testModule{info: info, before: strings.Repeat("\x00", 300), behind: strings.Repeat("\x00", 300), padding: big}, false},
		{"binary before", testModule{info: info, before: "\x01\x02\xff", padding: big}, true},
		{"key before", testModule{info: info, before: "failed, alias=%s\x00", padding: big}, true},
		{"unknown key before", testModule{info: info, before: "state=%d\x00", padding: big}, true},
		{"key behind", testModule{info: info, behind: "cannot read firmware=%s\x00", padding: big}, true},
		{"key behind a gap", testModule{info: info, behind: "\x00\x00text\x00name=%s\x00", padding: big}, true},
		{"second name", testModule{info: info, behind: "name=%s\x00", padding: big}, true},
		{"second vermagic", testModule{info: info, before: "x\x00vermagic=%s\x00y\x00", padding: big}, true},
		{"unknown key inside", testModule{info: append([]string{"license=GPL", "rhelversion=9.4"}, info[1:]...), padding: big}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, complete, err := readBytes("kernel/a.ko", tt.m.bytes("a"))
			if err != nil {
				t.Fatal(err)
			}
			expect := strings.Replace(want, "license=GPL\x00", strings.Join(tt.m.info[:len(tt.m.info)-3], "\x00")+"\x00", 1)
			if string(got) != expect {
				t.Errorf("got  %q\nwant %q", got, expect)
			}
			if (complete == 1) != tt.whole {
				t.Errorf("read completely: %v", complete == 1)
			}
		})
	}
}

// TestInfoSearchSteps grows the part that is known byte by byte: the search
// must give nothing, or the right thing.
func TestInfoSearchSteps(t *testing.T) {
	m := testModule{info: []string{"license=GPL", "depends=", "alias=x"}, before: "text\x00", behind: "text\x00alpha", padding: 1024}
	b := m.bytes("a")
	want, _, err := readBytes("a.ko", b)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	s := infoSearch{name: "a", release: testRelease}
	for n := range b {
		if got := s.find(b[:n]); got != nil {
			found++
			if !bytes.Equal(got, want) {
				t.Fatalf("with %d bytes: %q", n, got)
			}
		}
	}
	if found == 0 {
		t.Error("never found")
	}
}

func TestSetInfo(t *testing.T) {
	var m Module
	err := m.setInfo([]byte("license=GPL v2\x00\x00\x00parm=debug:level (0=none,\n1=all)\x00parmtype=debug:int\x00parmtype=alpha:bool\x00" +
		"alias=net-pf-1-proto-2\x00depends=snd-pcm,libphy\x00softdep=pre: crc32c post: x\x00weakdep=w\x00firmware=a/b.bin\x00" +
		"vermagic=6.1.0-1 SMP mod_unload \x00"))
	if err != nil {
		t.Fatal(err)
	}
	want := Module{
		License: "GPL v2", Params: []string{"alpha", "debug"}, Aliases: []string{"net-pf-1-proto-2"}, Depends: []string{"snd_pcm", "libphy"},
		Softdeps: []string{"pre: crc32c post: x"}, Weakdeps: []string{"w"}, Firmware: []string{"a/b.bin"}, Vermagic: "6.1.0-1 SMP mod_unload ",
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	for _, bad := range []string{"alias=a\nalias b", "softdep=pre: x\n", "firmware=a\tb"} {
		if err := new(Module).setInfo([]byte(bad + "\x00")); err == nil || !strings.Contains(err.Error(), "control character") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReadCompressed(t *testing.T) {
	b := testModule{info: []string{"license=GPL", "depends="}, padding: big}.bytes("a")
	want, _, err := readBytes("a.ko", b)
	if err != nil {
		t.Fatal(err)
	}
	var u infoReader // the same for all: what is left of one must not disturb the next
	defer u.close()
	for range 2 {
		for suffix, packed := range map[string][]byte{".zst": zstdBytes(t, b), ".gz": gzipBytes(t, b), ".xz": xzBytes(t, b), "": b} {
			got, err := u.read("a.ko"+suffix, bytes.NewReader(packed), testRelease, elf.EM_X86_64)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: %q %v", suffix, got, err)
			}
			_, err = u.read("a.ko"+suffix, bytes.NewReader(packed[:len(packed)/3]), "other", elf.EM_X86_64)
			if err == nil {
				t.Errorf("%q: truncated file accepted", suffix)
			}
		}
	}
}

func zstdBytes(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, &out, w, b)
}

func gzipBytes(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	return written(t, &out, gzip.NewWriter(&out), b)
}

func written(t testing.TB, out *bytes.Buffer, w io.WriteCloser, b []byte) []byte {
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func xzBytes(t testing.TB, b []byte) []byte {
	cmd := exec.Command("xz", "--check=crc32", "--lzma2=dict=1MiB", "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("xz: %v", err)
	}
	return out
}

func TestBombs(t *testing.T) {
	const limit = 8 << 20
	bomb := testModule{padding: limit}.object("license=GPL\x00")
	for suffix, packed := range map[string][]byte{".zst": zstdBytes(t, bomb), ".gz": gzipBytes(t, bomb), ".xz": xzBytes(t, bomb)} {
		u := infoReader{limit: limit}
		_, err := u.read("a.ko"+suffix, bytes.NewReader(packed), testRelease, elf.EM_X86_64)
		if err == nil || !strings.Contains(err.Error(), "more than 8 MiB") {
			t.Errorf("%s: %d bytes: %v", suffix, len(packed), err)
		}
		if cap(u.buf) > 2*limit {
			t.Errorf("%s: buffer of %d bytes", suffix, cap(u.buf))
		}
		u.close()
	}
}

func TestHostileModules(t *testing.T) {
	good := testModule{info: []string{"license=GPL", "depends="}}
	change := func(offset int, value ...byte) []byte {
		b := good.bytes("a")
		copy(b[offset:], value)
		return b
	}
	table := len(good.bytes("a")) - 5*64
	section := func(field int, value ...byte) []byte { return change(table+2*64+field, value...) }
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	for _, tt := range []struct {
		name, message string
		b             []byte
	}{
		{"empty", "no ELF file", nil},
		{"text", "no ELF file", []byte(strings.Repeat("text ", 100))},
		{"32-bit", "64-bit little-endian", change(4, 1)},
		{"big-endian", "64-bit little-endian", change(5, 2)},
		{"program", "type ET_EXEC", change(16, 2)},
		{"other machine", "EM_AARCH64", testModule{info: good.info, machine: elf.EM_AARCH64}.bytes("a")},
		{"section table outside", "elf: ", change(40, huge...)},
		{"many sections", "elf: ", change(60, 0xff, 0xff)},
		{"section outside", "truncated", section(24, huge...)},
		{"huge section", "bytes", section(32, huge...)},
		{"section without bytes", "SHT_NOBITS", section(4, 8)},
		{"compressed section", "SHF_COMPRESSED", section(8, 0, 8)},
		{"no modinfo", "no .modinfo", section(0, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := readBytes("a.ko", tt.b)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
	whole := good.bytes("a")
	for n := range whole {
		if _, _, err := readBytes("a.ko", whole[:n]); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", n, len(whole))
		}
	}
}

func FuzzReadModinfo(f *testing.F) {
	m := testModule{info: []string{"license=GPL", "depends=x", "alias=a*"}, before: "t\x00", behind: "t\x00"}
	f.Add(m.bytes("a"))
	m.padding = 8 << 10
	f.Add(m.bytes("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, _, err := readBytes("a.ko", b)
		if err != nil {
			return
		}
		var module Module
		if err := module.setInfo(info); err != nil {
			return
		}
		for _, line := range append(module.Aliases, module.Softdeps...) {
			if strings.ContainsAny(line, "\n\x00") {
				t.Errorf("%q would break a line of modules.alias", line)
			}
		}
	})
}
