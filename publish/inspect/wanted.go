package inspect

import (
	"bytes"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// wanted is how many bytes of a file are worth keeping; 0 for none.
func wanted(p string) int64 {
	const kib, mib = 1 << 10, 1 << 20
	dir, base := path.Split(p)
	switch {
	case base == "config.json" && strings.HasPrefix(p, "containers/"):
		return mib
	case strings.HasSuffix(p, "var/lib/dpkg/status"), strings.HasSuffix(p, "lib/apk/db/installed"):
		return 16 * mib
	case strings.HasSuffix(dir, "var/lib/dpkg/status.d/"), p == "etc/hooksmith/ram", p == "etc/hooksmith/release":
		return 64 * kib
	case base == "repositories.json" && strings.Contains(p, storeDir):
		return 4 * mib
	case strings.Contains(dir, storeDir+"imagedb/content/sha256/"):
		return mib
	case strings.Contains(dir, storeDir+"layerdb/sha256/"):
		if base == "size" || base == "diff" || base == "parent" {
			return kib
		}
	case strings.HasPrefix(base, "sbom.") && strings.HasSuffix(base, ".json") && !strings.Contains(p, "/"):
		return 16 * mib
	case base == "modules.symbols" && isModulesDir(dir), strings.HasPrefix(base, "System.map"):
		return 16 * mib
	case strings.HasPrefix(base, "config-") && strings.HasSuffix(dir, "boot/"), base == "config" && isModulesDir(dir):
		return mib
	}
	return 0
}

// isModulesDir reports whether dir is lib/modules/RELEASE/ of the root.
func isModulesDir(dir string) bool {
	_, rest, ok := modulePath(dir)
	return ok && strings.Trim(rest, "/") == ""
}

// modulePath cuts a path below lib/modules in the release and the rest.
func modulePath(p string) (release, rest string, ok bool) {
	p, ok = strings.CutPrefix(strings.TrimPrefix(p, "usr/"), "lib/modules/")
	release, rest, _ = strings.Cut(p, "/")
	return release, rest, ok && release != ""
}

// firmwareName is the name by which the kernel asks for the file.
func firmwareName(p string) (string, bool) {
	name, ok := strings.CutPrefix(strings.TrimPrefix(p, "usr/"), "lib/firmware/")
	if ok {
		return name, true
	}
	if strings.HasPrefix(p, "kernel/x86/microcode/") {
		return p, true
	}
	return "", false
}

var moduleSuffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

func isModule(p string) bool {
	_, _, ok := modulePath(p)
	return ok && moduleName(p) != ""
}

// moduleName is the name that lsmod prints.
func moduleName(p string) string {
	base := path.Base(p)
	for _, suffix := range moduleSuffixes {
		if name, ok := strings.CutSuffix(base, suffix); ok {
			return strings.ReplaceAll(name, "-", "_")
		}
	}
	return ""
}

// maxWindow bounds the dictionary that a compressed module may ask for, and
// maxModule what it may unpack to.
const (
	maxWindow = 16 << 20
	maxModule = 128 << 20
)

// unpacker opens compressed contents one after the other, with the same
// buffers. Its zero value is ready; it is not safe for concurrent use.
type unpacker struct {
	xz   *xz.Reader
	zstd *zstd.Decoder
	gzip *gzip.Reader
	buf  []byte
}

// vermagic reads a module up to its version magic, "" if there is none to be
// found, which is not an error of the initramfs. unpacked is how far it read.
func (u *unpacker) vermagic(p string, r io.Reader) (magic string, unpacked int64) {
	content, err := u.open(path.Ext(p), r, maxWindow)
	if err != nil {
		return "", 0
	}
	if u.buf == nil {
		u.buf = make([]byte, 0, 16<<10)
	}
	limited := &io.LimitedReader{R: content, N: maxModule}
	magic = findVermagic(limited, u.buf)
	return magic, maxModule - limited.N
}

// open opens what a suffix stands for. The reader is valid until the next call.
func (u *unpacker) open(suffix string, r io.Reader, window int) (content io.Reader, err error) {
	switch {
	case suffix == ".xz" && u.xz != nil:
		return u.xz, u.xz.Reset(r)
	case suffix == ".xz":
		u.xz, err = xz.NewReader(r, uint32(window))
		return u.xz, err
	case suffix == ".zst" && u.zstd != nil:
		return u.zstd, u.zstd.Reset(r)
	case suffix == ".zst":
		u.zstd, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderLowmem(true))
		return u.zstd, err
	case suffix == ".gz" && u.gzip != nil:
		return u.gzip, u.gzip.Reset(r)
	case suffix == ".gz":
		u.gzip, err = gzip.NewReader(r)
		return u.gzip, err
	}
	return r, nil
}

// close gives the buffers back.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// findVermagic looks for the string "vermagic=..", which .modinfo has between
// zero bytes.
func findVermagic(r io.Reader, buf []byte) string {
	const maxMagic = 256
	key := []byte("\x00vermagic=")
	buf = buf[:0]
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf, key); i >= 0 {
			if value, _, ok := bytes.Cut(buf[i+len(key):], []byte{0}); ok && printable(value) {
				return string(value)
			}
		}
		if err != nil {
			return ""
		}
		buf = append(buf[:0], buf[len(buf)-maxMagic:]...)
	}
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
