package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func sampleArtifacts(id string) Artifacts {
	return Artifacts{
		BuildID: strings.Repeat("ab", 32), Flavor: "f-" + id, OutputID: id, Arch: "x86_64",
		Inputs: []Input{
			{Kind: "package", Name: "libc6", Version: "2.41-12+deb13u4", Arch: "amd64", SHA256: strings.Repeat("1", 64), Source: "glibc", License: []string{"LGPL-2.1+", "Odd licence"}},
			{Kind: "image", Name: "hooksmith/hook-init:1-amd64"},
			{Kind: "template", Name: "hook.yaml", SHA256: strings.Repeat("2", 64)},
		},
	}
}

// writeSample writes a build with a kernel and an initramfs and commits it.
func writeSample(t *testing.T, dir, id, content string, sbom bool) Artifacts {
	t.Helper()
	out, err := openOutput(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	a := sampleArtifacts(id)
	for _, role := range []string{"vmlinuz", "initramfs"} {
		f, err := out.write(role+"-"+id, func(w *hashing) error { _, err := io.WriteString(w, role+content); return err })
		if err != nil {
			t.Fatal(err)
		}
		f.Role, f.Aliases = role, []string{role + "-x86_64"}
		a.Files = append(a.Files, f)
	}
	if err := out.commit(t.Context(), a, &LockedFlavor{ID: id}, sbom); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOutputFolder(t *testing.T) {
	dir := t.TempDir()
	writeSample(t, dir, "one", "1", true)
	writeSample(t, dir, "two", "22", true)
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Builds) != 2 || m.Builds[0].OutputID != "one" || m.Builds[1].OutputID != "two" {
		t.Fatalf("builds: %+v", m.Builds)
	}
	if len(m.Builds[0].Files[0].Aliases) != 0 || len(m.Builds[1].Files[0].Aliases) != 1 {
		t.Error("the alias does not belong to the newest build alone")
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "vmlinuz-x86_64")); string(b) != "vmlinuz22" {
		t.Errorf("alias holds %q", b)
	}
	check := exec.Command("sha512sum", "--check", "--strict", ChecksumName)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha512sum: %s", out)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".hooksmith-*"))
	if len(left) == 0 {
		return
	}
	t.Errorf("left behind: %v", left)
}

func TestOutputFolderIsTheSameAgain(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	writeSample(t, a, "one", "1", true)
	writeSample(t, b, "one", "0", true)
	writeSample(t, b, "one", "1", true)
	for _, name := range []string{ManifestName, ChecksumName, SBOMName} {
		x, _ := os.ReadFile(filepath.Join(a, name))
		y, _ := os.ReadFile(filepath.Join(b, name))
		if len(x) == 0 || !bytes.Equal(x, y) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestFailedWriteKeepsTheOldFiles(t *testing.T) {
	dir := t.TempDir()
	writeSample(t, dir, "one", "old", true)
	out, err := openOutput(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openOutput(dir, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another hooksmith") {
		t.Errorf("a second builder in the same folder: %v", err)
	}
	if _, err := out.write("initramfs-one", func(w *hashing) error {
		_, _ = io.WriteString(w, "half")
		return errors.New("disk full")
	}); err == nil || !strings.Contains(err.Error(), "initramfs-one") {
		t.Errorf("error %v does not name the file", err)
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "initramfs-one")); string(b) != "initramfsold" {
		t.Errorf("old initramfs is now %q", b)
	}
	if e, _ := filepath.Glob(filepath.Join(dir, ".hook*")); len(e) != 0 {
		t.Errorf("left behind: %v", e)
	}
}

func TestSBOM(t *testing.T) {
	dir := t.TempDir()
	writeSample(t, dir, "one", "1", true)
	b, err := os.ReadFile(filepath.Join(dir, SBOMName))
	if err != nil {
		t.Fatal(err)
	}
	var doc spdxjson.Document
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) != 3 || len(doc.OtherLicenses) != 1 {
		t.Errorf("version %s, %d packages, %d licences", doc.SPDXVersion, len(doc.Packages), len(doc.OtherLicenses))
	}
	if got := doc.Packages[1].PackageLicenseDeclared; got != "LGPL-2.1-or-later AND LicenseRef-Odd-licence" {
		t.Errorf("licence %q", got)
	}
	writeSample(t, dir, "one", "1", false)
	if _, err := os.Stat(filepath.Join(dir, SBOMName)); !os.IsNotExist(err) {
		t.Error("--no-sbom left an old SBOM standing")
	}
}
