package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/publish/check"
	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
)

// hookDir is an output folder with a small HookOS.
func hookDir(t *testing.T, more ...hooktest.Entry) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"vmlinuz-x86_64":   hooktest.Kernel(hooktest.Release, ""),
		"initramfs-x86_64": hooktest.Zstd(hooktest.Archive(append(hooktest.Default(), more...)...)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInspectCommand(t *testing.T) {
	dir := hookDir(t)
	code, out, stderr := runHere(t.Context(), "inspect", dir)
	if code != exitOK || !strings.Contains(out, "kernel "+hooktest.Release) || !strings.Contains(out, "hook-docker") || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	if _, out, _ := runHere(t.Context(), "inspect", dir, "--color", "always"); !strings.Contains(out, "\x1b[1m") {
		t.Error("no colour")
	}
	for _, files := range []bool{false, true} {
		args := []string{"inspect", dir, "--json"}
		if files {
			args = append(args, "--files")
		}
		_, out, _ := runHere(t.Context(), args...)
		var r inspect.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Schema != inspect.Schema || r.Kernel.Release != hooktest.Release || (len(r.Files) > 0) != files {
			t.Errorf("%v: %v, %+v", args, err, r)
		}
	}
	page := filepath.Join(t.TempDir(), "report.html")
	code, out, stderr = runHere(t.Context(), "inspect", dir, "--html", page)
	if b, err := os.ReadFile(page); code != exitOK || err != nil || out != "" || !strings.Contains(string(b), "Content-Security-Policy") {
		t.Errorf("exit %d, %v\n%s%s", code, err, out, stderr)
	}
	if code, _, stderr = runHere(t.Context(), "inspect", dir, "--html", page+"/no/report.html"); code != exitFailure || !strings.Contains(stderr, "--html") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr = runHere(t.Context(), "inspect", dir, "--id", "riscv"); code != exitFailure || !strings.Contains(stderr, "there are: x86_64") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestDiffCommand(t *testing.T) {
	a, b := hookDir(t), hookDir(t, hooktest.Entry{Name: "etc/new", Data: "x"})
	if code, out, stderr := runHere(t.Context(), "diff", a, a); code != exitOK || !strings.Contains(out, "hold the same") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := runHere(t.Context(), "diff", a, b); code != exitFailure || !strings.Contains(out, "added etc/new") || !strings.Contains(stderr, "differ") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	code, out, _ := runHere(t.Context(), "diff", a, b, "--json")
	var d inspect.Diff
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitFailure || d.Same || len(d.Files) != 1 || d.Files[0].Kind != inspect.Added {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

func TestCheckCommand(t *testing.T) {
	dir := hookDir(t)
	code, out, stderr := runHere(t.Context(), "check", dir)
	if code != exitOK || !strings.Contains(out, "pass  worker image") || !strings.Contains(out, "fix: ") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	code, out, stderr = runHere(t.Context(), "check", dir, "--ram", "256", "--json")
	var r check.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailure || r.OK || !strings.Contains(stderr, "1 failed") {
		t.Errorf("exit %d, %v: %s%s", code, err, out, stderr)
	}
	for _, args := range [][]string{{"--key", dir + "/none"}, {"--cacert", dir + "/none"}, {"--cacert", dir + "/vmlinuz-x86_64"}} {
		if code, _, stderr := runHere(t.Context(), append([]string{"check", dir}, args...)...); code != exitFailure || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if code, _, _ := runHere(t.Context(), "check", dir, "--ram", "-1"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
}
