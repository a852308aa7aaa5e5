package ipxe

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// debianBinaries unpacks trixie's package ipxe, cached over runs. Without the
// mirror or dpkg-deb the test is skipped.
func debianBinaries(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(cache, "hooksmith-test", "ipxe-trixie")
	if _, err := os.Stat(filepath.Join(dir, "usr/lib/ipxe/undionly.kpxe")); err == nil {
		return dir
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	deb, err := downloadPackage(ctx, t.TempDir())
	if err != nil {
		t.Skipf("Debian's package ipxe: %v", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "ipxe-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(tmp)
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, tmp).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		t.Logf("caching: %v", err) // another test run was first
	}
	return dir
}

// mirror is the one that this machine uses, or Debian's own.
func mirror() string {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, name := range append(files, "/etc/apt/sources.list") {
		content, _ := os.ReadFile(name)
		if m := sourceURL.FindSubmatch(content); m != nil {
			return strings.TrimRight(string(m[1]), "/")
		}
	}
	return "http://ftp.debian.org/debian"
}

var sourceURL = regexp.MustCompile(`(?m)^(?:URIs:|deb)\s(?:.*\s)?(https?://\S+/debian/?)(?:\s|$)`)

// downloadPackage finds the package in trixie's index and checks its hash.
func downloadPackage(ctx context.Context, dir string) (string, error) {
	index, err := fetch(ctx, "/dists/trixie/main/binary-amd64/Packages.xz")
	if err != nil {
		return "", err
	}
	defer index.Close()
	xz := exec.CommandContext(ctx, "xz", "-dc")
	xz.Stdin = index
	text, err := xz.Output()
	if err != nil {
		return "", fmt.Errorf("xz: %w", err)
	}
	_, stanza, found := strings.Cut("\n"+string(text), "\nPackage: ipxe\n")
	if !found {
		return "", errors.New("not in the index")
	}
	fields := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(stanza)); lines.Scan() && lines.Text() != ""; {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		fields[key] = value
	}
	deb, err := fetch(ctx, "/"+fields["Filename"])
	if err != nil {
		return "", err
	}
	defer deb.Close()
	content, err := io.ReadAll(io.LimitReader(deb, 32<<20))
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != fields["SHA256"] {
		return "", errors.New("wrong hash")
	}
	name := filepath.Join(dir, "ipxe.deb")
	return name, os.WriteFile(name, content, 0o644)
}

func fetch(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, mirror()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, errors.New(resp.Status)
	}
	return resp.Body, nil
}

// TestDebianBinaries looks into the real ones.
func TestDebianBinaries(t *testing.T) {
	set, err := OpenBinaries(os.DirFS(debianBinaries(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, platform := range map[string]Platform{
		"ipxe-amd64.efi": X64, "ipxe.efi": X64, "snponly.efi": X64, "ipxe-arm64.efi": ARM64, "ipxe-riscv64.efi": RISCV64, "ipxe-loong64.efi": LOONG64,
		"undionly.kpxe": BIOS, "ipxe.pxe": BIOS, "ipxe.lkrn": LinuxBIO,
	} {
		b, ok := set.Lookup(name)
		if !ok {
			t.Errorf("%s is not there", name)
			continue
		}
		t.Log(b)
		if b.Platform != platform || b.Signed || b.UserClass != "" || len(b.SHA256) != 64 || b.Size < 50_000 {
			t.Errorf("%+v", b)
		}
		if strings.HasSuffix(name, ".efi") {
			if b.IPXE != Yes || b.HTTPS != Yes || b.VLAN != Yes || b.Autoexec != Yes || b.ImgVerify != No || !strings.HasPrefix(b.Version, "1.21.1+git") {
				t.Errorf("%+v", b)
			}
		} else if b.IPXE != Unknown || b.HTTPS != Unknown {
			t.Errorf("%+v: compressed, nothing can be known", b)
		}
	}
	for platform, want := range map[Platform]string{BIOS: "undionly.kpxe", X64: "ipxe.efi", ARM64: "ipxe-arm64.efi", RISCV64: "ipxe-riscv64.efi", LOONG64: "ipxe-loong64.efi", IA32: ""} {
		if b, _ := set.For(platform); b.Name != want {
			t.Errorf("%s: %s, want %s", platform, b.Name, want)
		}
	}
	f, err := set.Open("ipxe.efi") // a symbolic link
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	if b, _ := set.Lookup("ipxe.efi"); hex.EncodeToString(h.Sum(nil)) != b.SHA256 {
		t.Error("Open gives other bytes than were inspected")
	}
}

func TestInspect(t *testing.T) {
	tink := Inspect("ipxe.efi", fakePE(amd64, tinkIPXE))
	if tink.UserClass != "Tinkerbell" || tink.ImgVerify != Yes || tink.HTTPS != Yes || tink.IPXE != Yes || tink.Autoexec != No {
		t.Errorf("%+v", tink)
	}
	if ia32 := Inspect("x.efi", fakePE(i386, "shim")); ia32.Platform != IA32 || ia32.IPXE != No || !strings.Contains(ia32.String(), "not an iPXE") {
		t.Errorf("%s", ia32)
	}
	for name, content := range map[string][]byte{"a.efi": nil, "b.efi": []byte("MZ"), "c.kpxe": []byte("short"), "d.efi": fakePE(amd64, "")[:0x50]} {
		if b := Inspect(name, content); b.Platform != None {
			t.Errorf("%+v", b)
		}
	}
	if wide := Inspect("x.efi", fakePE(amd64, plainIPXE+string(wide("autoexec.ipxe")))); wide.Autoexec != Yes {
		t.Errorf("%+v", wide)
	}
}

// FuzzInspect: any file in the folder is looked into.
func FuzzInspect(f *testing.F) {
	f.Add("a.efi", fakePE(amd64, tinkIPXE))
	f.Add("a.lkrn", append(append(make([]byte, 0x202), "HdrS"...), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		_ = Inspect(name, content).String()
	})
}

// TestSigned signs nothing: the table is what a signer writes.
func TestSigned(t *testing.T) {
	content := fakePE(amd64, strings.Repeat("\x00", 300))
	le := binary.LittleEndian
	le.PutUint16(content[0x40+20:], 240) // size of the optional header
	optional := content[0x40+24:]
	le.PutUint16(optional, 0x20b)
	le.PutUint32(optional[108:], 16)
	if Inspect("a.efi", content).Signed {
		t.Error("signed without a table")
	}
	le.PutUint32(optional[112+32:], uint32(len(content)-16))
	le.PutUint32(optional[112+36:], 16)
	if !Inspect("a.efi", content).Signed {
		t.Error("not signed with a table")
	}
	le.PutUint32(optional[112+36:], 1000) // beyond the end
	if Inspect("a.efi", content).Signed {
		t.Error("signed by a table beyond the end")
	}
}
