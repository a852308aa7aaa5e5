package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Format is how a kernel image is packed.
type Format string

// The formats that boot loaders hand a HookOS to.
const (
	BzImage Format = "bzImage"  // x86: setup sectors, then the compressed kernel
	Plain   Format = "Image"    // arm64: uncompressed, with the 64-byte header
	Gzipped Format = "Image.gz" // the same in gzip; a boot loader unpacks it, EFI firmware does not
	Zboot   Format = "zboot"    // the same compressed within an EFI program (EFI_ZBOOT)
)

// Image is what a kernel image says of itself.
type Image struct {
	Format   Format
	Arch     Arch
	Size     int64  // bytes of the file
	Release  string // "6.12.117+deb13-amd64", as uname -r will print it
	Version  string // the whole line: release, builder, "#1 SMP .. Debian 6.12.117-1 (2026-11-12)"
	Protocol uint16 // x86 boot protocol, 0x020f is 2.15; 0 on arm64
	// CommandLine is the most bytes that the kernel command line may have; 0
	// if the image does not tell (arm64).
	CommandLine int
	// LoadSize is the memory in bytes that the kernel occupies when it starts,
	// before it frees anything; 0 if the image does not tell.
	LoadSize int64
	EFI      bool // starts as an EFI program
	Signed   bool // carries a PE certificate table: Secure Boot can check it
}

// maxImage bounds a kernel image, packed and unpacked; Debian's largest has 38 MB.
const maxImage = 512 << 20

// Inspect looks into a kernel image of size bytes. It reads the headers and,
// on arm64, where no header names the release, the kernel up to its banner.
func Inspect(r io.ReaderAt, size int64) (*Image, error) {
	head := make([]byte, min(size, headSize))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the kernel image: %w", err)
	}
	inspect := inspector(head)
	if inspect == nil {
		return nil, fmt.Errorf("is no kernel image for x86_64 or arm64: neither bzImage nor Image nor Image.gz nor zboot (begins with % x)", head[:min(len(head), 8)])
	}
	image, err := inspect(io.NewSectionReader(r, 0, size), head)
	if err != nil {
		return nil, err
	}
	image.Size = size
	image.Release, _, _ = strings.Cut(image.Version, " ")
	if image.Release == "" {
		return nil, fmt.Errorf("%s does not name its version", image.Format)
	}
	return image, nil
}

// headSize covers every fixed header: the boot sector and the setup header of
// x86 end at 0x290, PE headers within the first page.
const headSize = 4096

func inspector(head []byte) func(*io.SectionReader, []byte) (*Image, error) {
	switch {
	case at(head, 0x202, "HdrS"):
		return inspectBzImage
	case at(head, 0x38, "ARM\x64"):
		return inspectPlain
	case at(head, 0, "MZ") && at(head, 4, "zimg"):
		return inspectZboot
	case at(head, 0, "\x1f\x8b"):
		return inspectGzipped
	}
	return nil
}

func at(b []byte, offset int, magic string) bool {
	return len(b) >= offset+len(magic) && string(b[offset:offset+len(magic)]) == magic
}

// errNoBanner means that no "Linux version" was found.
var errNoBanner = errors.New("no \"Linux version\" in the kernel")

// bannerPrefix begins the line that the kernel prints first.
var bannerPrefix = []byte("Linux version ")

// findBanner reads on until the kernel's banner and returns the line behind
// its prefix. The image holds it twice, the first time with an empty build
// number ("# SMP") on newer kernels; the numbered one is preferred.
func findBanner(r io.Reader) (string, error) {
	const window = 1 << 20
	const longest = 1024
	var first string
	buf := make([]byte, 0, window+longest)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		last := err != nil
		if last && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
		for rest := buf; ; {
			i := bytes.Index(rest, bannerPrefix)
			if i < 0 || (len(rest)-i < longest && !last) {
				break
			}
			rest = rest[i+len(bannerPrefix):]
			line := bannerLine(rest[:min(len(rest), longest)])
			if isNumbered(line) {
				return line, nil
			}
			if first == "" {
				first = line
			}
		}
		if last {
			break
		}
		buf = append(buf[:0], buf[len(buf)-longest:]...)
	}
	if first == "" {
		return "", errNoBanner
	}
	return first, nil
}

// bannerLine returns the line if it is a banner: "6.12.1 (builder) (compiler) #1 ..",
// and not the format string "%s (%s)" or a message that mentions it.
func bannerLine(b []byte) string {
	if i := bytes.IndexAny(b, "\n\x00"); i >= 0 {
		b = b[:i]
	}
	release, rest, _ := bytes.Cut(b, []byte(" "))
	if len(release) == 0 || release[0] < '0' || release[0] > '9' || !bytes.HasPrefix(rest, []byte("(")) || !printable(b) {
		return ""
	}
	return string(b)
}

func isNumbered(line string) bool {
	_, number, ok := strings.Cut(line, " #")
	return ok && number != "" && number[0] >= '0' && number[0] <= '9'
}

func printable(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
