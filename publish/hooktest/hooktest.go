// Package hooktest makes small HookOS artifacts for the tests of publish/*: a
// kernel that boot loaders accept, and initramfs files of any shape, broken
// ones too. What it writes does not depend on the code that is tested.
package hooktest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Release is the kernel's in Kernel and Default.
const Release = "6.12.1-hook"

// Kernel is an EFI bzImage of the release; config, if not "", is what
// CONFIG_IKCONFIG puts into it.
func Kernel(release, config string) []byte {
	b := make([]byte, 16<<10)
	put := func(offset int, value any) {
		var buf bytes.Buffer
		_ = binary.Write(&buf, binary.LittleEndian, value)
		copy(b[offset:], buf.Bytes())
	}
	copy(b, "MZ")
	b[0x1f1] = 4
	put(0x1fe, uint16(0xaa55))
	copy(b[0x202:], "HdrS")
	put(0x206, uint16(0x020f))
	put(0x20e, uint16(0x600))
	put(0x236, uint16(0x7f))
	put(0x238, uint32(2047))
	put(0x260, uint32(58<<20))
	copy(b[0x800:], release+" (builder@host) #1 SMP PREEMPT_DYNAMIC\x00")
	const pe = 0x300
	put(0x3c, uint32(pe))
	copy(b[pe:], "PE\x00\x00")
	put(pe+24, uint16(0x20b))
	put(pe+24+108, uint32(6))
	payload := []byte("vmlinux")
	if config != "" {
		payload = slices.Concat(make([]byte, 40000), []byte("IKCFG_ST"), Gzip([]byte(config)), []byte("IKCFG_ED"))
	}
	packed := Zstd(payload)
	put(0x248, uint32(len(b)-5*512))
	put(0x24c, uint32(len(packed)))
	return append(b, packed...)
}

// ARMKernel is an arm64 Image of the release, without an EFI stub.
func ARMKernel(release string) []byte {
	b := make([]byte, 8<<10)
	binary.LittleEndian.PutUint64(b[16:], 38<<20)
	b[24] = 0xa
	copy(b[0x38:], "ARM\x64")
	b = append(b, "Linux version "+release+" (builder@host) #1 SMP\n\x00"...)
	return append(b, make([]byte, 4<<10)...)
}

// Entry is one record of an archive.
type Entry struct {
	Name   string
	Mode   uint32 // 0: a file 0644, or a folder if Name ends in "/"
	Data   string
	Ino    uint32 // with Links > 1
	Links  uint32
	UID    uint32
	Device [2]uint32
}

// Archive is a newc archive of the entries, parents made before them.
func Archive(entries ...Entry) []byte {
	var out bytes.Buffer
	made := map[string]bool{}
	ino := uint32(1000)
	for _, e := range entries {
		dir := strings.HasSuffix(e.Name, "/")
		name := strings.TrimSuffix(e.Name, "/")
		for i, c := range name {
			if parent := name[:i]; c == '/' && i > 0 && !made[parent] && parent != "." && !strings.HasPrefix(parent, "..") {
				made[parent] = true
				ino++
				record(&out, Entry{Name: parent, Mode: 0o40755, Ino: ino, Links: 2})
			}
		}
		if e.Mode == 0 {
			e.Mode = 0o100644
			if dir {
				e.Mode = 0o40755
			}
		}
		made[name] = made[name] || dir
		if e.Ino == 0 {
			ino++
			e.Ino, e.Links = ino, max(e.Links, 1)
		}
		e.Name = name
		record(&out, e)
	}
	record(&out, Entry{Name: "TRAILER!!!", Links: 1})
	return out.Bytes()
}

func record(out *bytes.Buffer, e Entry) {
	fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		e.Ino, e.Mode, e.UID, 0, e.Links, 1700000000, len(e.Data), 0, 0, e.Device[0], e.Device[1], len(e.Name)+1, 0)
	out.WriteString(e.Name + "\x00")
	pad(out)
	out.WriteString(e.Data)
	pad(out)
}

func pad(out *bytes.Buffer) { out.Write(make([]byte, -out.Len()&3)) }

// Zstd, Gzip and LZ4 compress; LZ4 is the kernel's legacy format, of literals only.
func Zstd(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func Gzip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func LZ4(b []byte) []byte {
	block := []byte{}
	if len(b) >= 15 {
		block = append(block, 0xf0)
		rest := len(b) - 15
		for ; rest >= 255; rest -= 255 {
			block = append(block, 255)
		}
		block = append(block, byte(rest))
	} else {
		block = append(block, byte(len(b)<<4))
	}
	block = append(block, b...)
	out := binary.LittleEndian.AppendUint32([]byte("\x02\x21\x4c\x18"), uint32(len(block)))
	return append(out, block...)
}

// Pad fills up to a multiple of four.
func Pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// Program is the head of an ELF program for x86_64 (62) or aarch64 (183).
func Program(machine byte, rest string) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18] = 2, machine
	return string(b) + rest
}

// Module is enough of a kernel module to tell what it was built for.
func Module(name, release string) string {
	return Program(62, "\x00license=GPL\x00name="+name+"\x00vermagic="+release+" SMP preempt mod_unload \x00"+strings.Repeat("code ", 100))
}

// Config is an OCI config.json; patch replaces its first occurrence of old.
func Config(args string, patch ...string) string {
	c := `{"ociVersion":"1.2.1","process":{"user":{"uid":0,"gid":0},"args":["` + args + `"],"cwd":"/","capabilities":{"bounding":["CAP_NET_ADMIN","CAP_CHOWN"]}},` +
		`"root":{"path":"rootfs"},"mounts":[{"destination":"/dev","type":"tmpfs"},{"destination":"/var/run","type":"bind","source":"/var/run/docker","options":["rw","rbind"]}],` +
		`"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]}}`
	return strings.NewReplacer(patch...).Replace(c)
}

// Store is Docker's store at dir with one image of the name.
func Store(dir, name, arch string) []Entry {
	diff := digest("layer of " + name)
	config := `{"architecture":"` + arch + `","os":"linux","rootfs":{"type":"layers","diff_ids":["` + diff + `"]}}`
	id := digest(config)
	repository, _, _ := strings.Cut(path.Base(name), ":")
	repository = path.Join(path.Dir(name), repository)
	repositories, err := json.Marshal(map[string]any{"Repositories": map[string]any{repository: map[string]string{name: id}}})
	if err != nil {
		panic(err)
	}
	layer := dir + "/image/overlay2/layerdb/" + strings.Replace(diff, ":", "/", 1)
	return []Entry{
		{Name: dir + "/image/overlay2/repositories.json", Data: string(repositories)},
		{Name: dir + "/image/overlay2/imagedb/content/" + strings.Replace(id, ":", "/", 1), Data: config},
		{Name: layer + "/diff", Data: diff},
		{Name: layer + "/size", Data: "12345"},
		{Name: dir + "/overlay2/abc/diff/bin/worker", Mode: 0o100755, Data: Program(62, "worker")},
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Default is what a small HookOS with a worker holds.
func Default() []Entry {
	modules := "usr/lib/modules/" + Release + "/"
	return append([]Entry{
		{Name: "etc/hooksmith/ram", Data: "512\n"},
		{Name: "init", Mode: 0o100755, Data: Program(62, "init")},
		{Name: "lib", Mode: 0o120777, Data: "usr/lib"},
		{Name: "dev/console", Mode: 0o20600, Device: [2]uint32{5, 1}},
		{Name: modules + "modules.dep", Data: "kernel/net/a.ko:\n"},
		{Name: modules + "kernel/net/a.ko", Data: Module("a", Release)},
		{Name: modules + "kernel/net/b-c.ko.gz", Data: string(Gzip([]byte(Module("b_c", Release))))},
		{Name: "usr/lib/firmware/intel/x.bin", Data: "firmware"},
		{Name: "containers/onboot/000-sysctl/config.json", Data: Config("/sysctl")},
		{Name: "containers/services/hook-docker/config.json", Data: Config("/usr/bin/dockerd", `"linux":{`, `"linux":{"resources":{"devices":[{"allow":true,"access":"rwm"}]},`)},
		{Name: "containers/services/hook-docker/lower/usr/bin/dockerd", Mode: 0o100755, Data: Program(62, strings.Repeat("docker ", 5000))},
		{Name: "containers/services/hook-docker/lower/var/lib/dpkg/status", Data: "Package: docker.io\nStatus: install ok installed\nVersion: 26.1.5\nArchitecture: amd64\nDescription: x\n y\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"},
		{Name: "containers/services/hook-bootkit/lower/lib/apk/db/installed", Data: "C:Q1\nP:musl\nV:1.2.5-r1\nA:x86_64\nF:lib\nR:ld.so\n\n"},
	}, Store("etc/embedded-images", "127.0.0.1/embedded/tink-worker:latest", "amd64")...)
}
