package ipxe

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Binary is what is known of a boot binary from its bytes.
type Binary struct {
	Name     string   `json:"name"` // base name
	Platform Platform `json:"platform"`
	Size     int64    `json:"size"`
	SHA256   string   `json:"sha256"`
	Version  string   `json:"version,omitempty"`
	Signed   bool     `json:"signed"` // has an Authenticode signature, of whomever

	// UserClass is set by a script inside the binary, as Tinkerbell's do.
	UserClass string `json:"userClass,omitempty"`

	IPXE      Answer `json:"ipxe"`      // is an iPXE at all: shim and GRUB are not
	HTTPS     Answer `json:"https"`     // fetches https
	ImgVerify Answer `json:"imgverify"` // has imgtrust and imgverify
	VLAN      Answer `json:"vlan"`      // has vcreate
	Autoexec  Answer `json:"autoexec"`  // runs autoexec.ipxe from where it was loaded
	NSLookup  Answer `json:"nslookup"`

	path string
}

// Answer is what bytes tell: BIOS binaries are compressed and tell nothing.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	Yes
	No
)

// String is the answer in a word.
func (a Answer) String() string { return [...]string{"unknown", "yes", "no"}[a] }

// MarshalText writes the word.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// machines is the machine types of PE files.
var machines = map[uint16]Platform{
	pe.IMAGE_FILE_MACHINE_I386:        IA32,
	pe.IMAGE_FILE_MACHINE_AMD64:       X64,
	pe.IMAGE_FILE_MACHINE_ARM:         ARM32,
	pe.IMAGE_FILE_MACHINE_ARMNT:       ARM32,
	pe.IMAGE_FILE_MACHINE_THUMB:       ARM32,
	pe.IMAGE_FILE_MACHINE_ARM64:       ARM64,
	pe.IMAGE_FILE_MACHINE_RISCV32:     RISCV32,
	pe.IMAGE_FILE_MACHINE_RISCV64:     RISCV64,
	pe.IMAGE_FILE_MACHINE_LOONGARCH32: LOONG32,
	pe.IMAGE_FILE_MACHINE_LOONGARCH64: LOONG64,
}

// Inspect reads what it can from a binary's bytes. Name is the base name: a
// BIOS program has no header, so that its format is known by its name.
func Inspect(name string, content []byte) Binary {
	b := Binary{Name: name, Size: int64(len(content))}
	switch {
	case bytes.HasPrefix(content, []byte("MZ")) && !isLinux(content):
		b.inspectPE(content)
	case isLinux(content):
		b.Platform, b.Version = LinuxBIO, linuxVersion(content)
	default:
		b.inspectBIOS(content)
	}
	return b
}

// inspectPE looks into a UEFI program. iPXE's are not compressed: the names
// of its commands stand in a table of C strings.
func (b *Binary) inspectPE(content []byte) {
	h, ok := readPE(content)
	if !ok {
		return
	}
	b.Platform, b.Signed = machines[h.machine], h.signed
	b.Version = peVersion(content)
	b.IPXE = answer(bytes.Contains(content, []byte("ipxe.org")))
	if b.IPXE == No {
		return
	}
	has := func(command string) Answer { return answer(bytes.Contains(content, []byte("\x00"+command+"\x00"))) }
	b.HTTPS = has("https")
	b.VLAN = has("vcreate")
	b.NSLookup = has("nslookup")
	b.ImgVerify = has("imgverify")
	b.Autoexec = answer(bytes.Contains(content, []byte("autoexec.ipxe")) || bytes.Contains(content, wide("autoexec.ipxe")))
	if m := userClass.FindSubmatch(content); m != nil {
		b.UserClass = string(m[1])
	}
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// userClass is the line of an embedded script.
var userClass = regexp.MustCompile(`\nset user-class ([!-~]{1,64})[\r\n]`)

// wide is a string as UEFI has it, UTF-16.
func wide(s string) []byte {
	var b []byte
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return b
}

// peHeader is what matters here of a PE file's headers.
type peHeader struct {
	machine uint16
	signed  bool
}

// readPE reads the headers (Microsoft's "PE Format"). Package debug/pe is not
// used for it: it refuses LoongArch and a file cut short after its headers.
func readPE(content []byte) (h peHeader, ok bool) {
	const coffSize = 24 // with the signature
	if len(content) < 0x40 {
		return h, false
	}
	at := int64(binary.LittleEndian.Uint32(content[0x3c:]))
	if at+coffSize > int64(len(content)) || string(content[at:at+4]) != "PE\x00\x00" {
		return h, false
	}
	coff := content[at:]
	h.machine = binary.LittleEndian.Uint16(coff[4:])
	optional := coff[coffSize:]
	optional = optional[:min(len(optional), int(binary.LittleEndian.Uint16(coff[20:])))]
	h.signed = isSigned(optional, int64(len(content)))
	return h, true
}

// isSigned looks for the certificate table, the fifth data directory. Its
// address is an offset in the file.
func isSigned(optional []byte, size int64) bool {
	const pe32, pe32plus, certificates = 0x10b, 0x20b, 4
	if len(optional) < 2 {
		return false
	}
	directories := map[uint16]int{pe32: 96, pe32plus: 112}[binary.LittleEndian.Uint16(optional)]
	at := directories + certificates*8
	if directories == 0 || len(optional) < at+8 || binary.LittleEndian.Uint32(optional[directories-4:]) <= certificates {
		return false
	}
	address := int64(binary.LittleEndian.Uint32(optional[at:]))
	length := int64(binary.LittleEndian.Uint32(optional[at+4:]))
	return length > 8 && address > 0 && address+length <= size
}

var (
	// sbat is the line about iPXE in the section .sbat, which new binaries have.
	sbat = regexp.MustCompile(`\nipxe,\d+,iPXE,[^,\n]{1,64},([^,\n]{1,64}),`)
	// plainVersion is a version as a C string of its own.
	plainVersion = regexp.MustCompile(`\x00(\d+\.\d+\.\d+(?:\+[!-~]{0,60})?(?: \([!-~]{1,40}\))?)\x00`)
)

func peVersion(content []byte) string {
	for _, form := range []*regexp.Regexp{sbat, plainVersion} {
		if m := form.FindSubmatch(content); m != nil {
			return string(m[1])
		}
	}
	return ""
}

// isLinux knows a bzImage, which ipxe.lkrn is (Documentation/arch/x86/boot.rst).
func isLinux(content []byte) bool {
	return len(content) > 0x220 && string(content[0x202:0x206]) == "HdrS"
}

// linuxVersion follows the header's pointer to the version string.
func linuxVersion(content []byte) string {
	at := int(binary.LittleEndian.Uint16(content[0x20e:])) + 0x200
	if at == 0x200 || at >= len(content) {
		return ""
	}
	text, _, ok := bytes.Cut(content[at:min(at+128, len(content))], []byte{0})
	if !ok || !printable(text) {
		return ""
	}
	return strings.TrimPrefix(string(text), "iPXE ")
}

// inspectBIOS trusts the name. The program is compressed; the embedded script
// of a Tinkerbell binary cannot be seen.
func (b *Binary) inspectBIOS(content []byte) {
	switch strings.ToLower(path.Ext(b.Name)) {
	case ".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".0":
		if len(content) > 512 {
			b.Platform = BIOS
		}
	}
}

// String is one line for people: what the server shows at start.
func (b Binary) String() string {
	var parts []string
	if b.Version != "" {
		parts = append(parts, b.Version)
	}
	if b.Signed {
		parts = append(parts, "signed")
	}
	for _, each := range []struct {
		name   string
		answer Answer
	}{{"https", b.HTTPS}, {"vlan", b.VLAN}, {"imgverify", b.ImgVerify}, {"autoexec", b.Autoexec}} {
		switch each.answer {
		case Yes:
			parts = append(parts, each.name)
		case No:
			parts = append(parts, "no "+each.name)
		}
	}
	if b.UserClass != "" {
		parts = append(parts, "user class "+b.UserClass)
	}
	if b.IPXE == No {
		parts = append(parts[:0], "not an iPXE")
	}
	parts = append([]string{orElse(string(b.Platform), "unknown platform"), fmt.Sprintf("%d bytes", b.Size)}, parts...)
	return b.Name + ": " + strings.Join(parts, ", ")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
