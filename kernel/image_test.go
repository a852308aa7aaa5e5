package kernel

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// Hand-made kernel images: headers and a banner, no kernel.

const testBanner = testRelease + " (builder@host) (gcc 14) #1 SMP Test 6.12.1-1 (2026-11-12)"

func put(b []byte, offset int, value any) {
	var buf bytes.Buffer
	must(binary.Write(&buf, binary.LittleEndian, value))
	copy(b[offset:], buf.Bytes())
}

// testBzImage is an x86 image of four setup sectors.
func testBzImage() []byte {
	b := make([]byte, 16<<10)
	b[x86SetupSects] = 4
	put(b, x86BootFlag, uint16(0xaa55))
	copy(b[0x202:], "HdrS")
	put(b, x86Protocol, uint16(0x020f))
	put(b, x86KernelVersion, uint16(0x600))
	put(b, x86XLoadFlags, uint16(0x7f))
	put(b, x86CmdlineSize, uint32(2047))
	put(b, x86InitSize, uint32(58<<20))
	copy(b[0x800:], testBanner+"\x00")
	return b
}

// withPE makes an EFI program of an image; the PE header stands at offset.
func withPE(b []byte, offset int) []byte {
	copy(b, "MZ")
	put(b, peOffset, uint32(offset))
	copy(b[offset:], "PE\x00\x00")
	put(b, offset+peOptional, uint16(pePlus))
	put(b, offset+peOptional+peDirCount, uint32(6))
	return b
}

// signed attaches a certificate table, which is not one that firmware would accept.
func signed(b []byte, offset int) []byte {
	table := make([]byte, 64)
	put(table, 0, uint32(60))
	put(table, 4, uint16(0x0200))
	put(table, 6, uint16(2))
	put(b, offset+peOptional+peCertDirectory, uint32(len(b)))
	put(b, offset+peOptional+peCertDirectory+4, uint32(len(table)))
	return append(b, table...)
}

func testPlain(banners ...string) []byte {
	b := make([]byte, 8<<10)
	put(b, arm64ImageSize, uint64(38<<20))
	put(b, arm64Flags, uint64(0xa))
	copy(b[0x38:], "ARM\x64")
	b = append(b, "%s version %s (x) Linux version unknown\x00"...)
	for _, banner := range banners {
		b = append(b, "Linux version "+banner+"\n\x00"...)
	}
	return append(b, make([]byte, 4<<10)...)
}

func testZboot(compression string, payload []byte) []byte {
	b := make([]byte, 4<<10)
	b = withPE(b, 0x40)
	copy(b[4:], "zimg")
	put(b, zbootPayload, uint32(len(b)))
	put(b, zbootPayloadSize, uint32(len(payload)))
	copy(b[zbootCompression:], compression)
	return append(b, payload...)
}

func inspectBytes(b []byte) (*Image, error) { return Inspect(bytes.NewReader(b), int64(len(b))) }

func TestInspect(t *testing.T) {
	plain := testPlain(strings.Replace(testBanner, "#1", "#", 1), testBanner)
	for _, tt := range []struct {
		name string
		b    []byte
		want Image
	}{
		{"bzImage", testBzImage(), Image{Format: BzImage, Arch: X86_64, Protocol: 0x020f, CommandLine: 2047, LoadSize: 58 << 20}},
		{"bzImage, EFI", withPE(testBzImage(), 0x40), Image{Format: BzImage, Arch: X86_64, Protocol: 0x020f, CommandLine: 2047, LoadSize: 58 << 20, EFI: true}},
		{"bzImage, signed", signed(withPE(testBzImage(), 0x40), 0x40),
			Image{Format: BzImage, Arch: X86_64, Protocol: 0x020f, CommandLine: 2047, LoadSize: 58 << 20, EFI: true, Signed: true}},
		{"Image", plain, Image{Format: Plain, Arch: AArch64, LoadSize: 38 << 20}},
		{"Image, EFI", withPE(bytes.Clone(plain), 0x40), Image{Format: Plain, Arch: AArch64, LoadSize: 38 << 20, EFI: true}},
		{"Image.gz", gzipBytes(t, plain), Image{Format: Gzipped, Arch: AArch64, LoadSize: 38 << 20}},
		{"zboot, gzip", testZboot("gzip", gzipBytes(t, plain)), Image{Format: Zboot, Arch: AArch64, LoadSize: 38 << 20, EFI: true}},
		{"zboot, zstd", testZboot("zstd22", zstdBytes(t, plain)), Image{Format: Zboot, Arch: AArch64, LoadSize: 38 << 20, EFI: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := inspectBytes(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Size, tt.want.Version, tt.want.Release = int64(len(tt.b)), testBanner, testRelease
			if *got != tt.want {
				t.Errorf("got  %+v\nwant %+v", *got, tt.want)
			}
		})
	}
}

func TestInspectErrors(t *testing.T) {
	bz := func(offset int, value any) []byte { b := testBzImage(); put(b, offset, value); return b }
	bigEndian := testPlain(testBanner)
	put(bigEndian, arm64Flags, uint64(1))
	truncated := signed(withPE(testBzImage(), 0x40), 0x40)
	for _, tt := range []struct {
		name, message string
		b             []byte
	}{
		{"empty", "no kernel image", nil},
		{"text", "no kernel image", []byte("#!/bin/sh\n")},
		{"only the first sector", "no kernel image", testBzImage()[:512]},
		{"truncated header", "truncated within its setup header", testBzImage()[:0x210]},
		{"no boot flag", "truncated within its setup header", bz(x86BootFlag, uint16(0))},
		{"32-bit", "32-bit kernel", bz(x86XLoadFlags, uint16(0))},
		{"old protocol", "boot protocol 2.09", bz(x86Protocol, uint16(0x0209))},
		{"no version", "does not name its version", bz(x86KernelVersion, uint16(0))},
		{"version outside", "does not name its version", bz(x86KernelVersion, uint16(0xfff0))},
		{"version is binary", "does not name its version", bz(0x800, [4]byte{1, 2, 3, 4})},
		{"signature cut off", "signature ends behind", truncated[:len(truncated)-1]},
		{"big-endian", "big-endian", bigEndian},
		{"no banner", "no \"Linux version\"", testPlain()},
		{"gzip of something else", "holds no arm64 kernel", gzipBytes(t, make([]byte, 4096))},
		{"truncated gzip", "unexpected EOF", gzipBytes(t, testPlain(testBanner))[:40]},
		{"zboot cut off", "truncated", testZboot("gzip", gzipBytes(t, testPlain(testBanner)))[:4<<10]},
		{"zboot of another compression", `compressed with "lzma"`, testZboot("lzma", []byte("x"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := inspectBytes(tt.b)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

// TestFindBanner puts the banner across the border of two reads.
func TestFindBanner(t *testing.T) {
	const window = 1 << 20
	for offset := window - 40; offset < window+1100; offset += 7 {
		b := make([]byte, 2*window)
		copy(b[offset:], "Linux version "+testBanner+"\n")
		got, err := findBanner(bytes.NewReader(b))
		if err != nil || got != testBanner {
			t.Fatalf("at %d: %q %v", offset, got, err)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(testBzImage())
	f.Add(signed(withPE(testBzImage(), 0x40), 0x40))
	f.Add(testPlain(testBanner))
	f.Add(gzipBytes(f, testPlain(testBanner)))
	f.Add(testZboot("gzip", gzipBytes(f, testPlain(testBanner))))
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := inspectBytes(b)
		if err == nil && (image.Release == "" || image.Size != int64(len(b))) {
			t.Errorf("%+v", image)
		}
	})
}
