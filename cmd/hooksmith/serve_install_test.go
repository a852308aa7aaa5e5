package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// systemd reads the unit without a word, and finds it well locked up.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	if code, _, stderr := runHere(t.Context(), "serve", "install", "--root", root, "--user", "daemon", "--interface", "eth0"); code != 0 {
		t.Fatal(stderr)
	}
	path := filepath.Join(root, unitPath)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "@") && strings.Contains(string(text), "@PROGRAM@") {
		t.Errorf("a placeholder is left:\n%s", text)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if noSystemd(out) {
		t.Skipf("%s", out)
	}
	if err != nil || strings.Contains(string(out), unitName) {
		t.Errorf("verify: %v: %s", err, out)
	}
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
	if err != nil {
		t.Skipf("security: %v: %s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("security: %s", out)
	}
	const most = 3.0 // of 10; an ordinary service has 9.6
	if got, err := strconv.ParseFloat(string(m[1]), 64); err != nil || got > most {
		t.Errorf("exposure %.1f, want at most %.1f:\n%s", got, most, out)
	}
	t.Logf("%s", m[0])
}

// noSystemd tells a container in which systemd-analyze cannot work.
func noSystemd(out []byte) bool {
	return regexp.MustCompile(`Failed to (initialize manager|setup working directory|create)`).Match(out)
}
