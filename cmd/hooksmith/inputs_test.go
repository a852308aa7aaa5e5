package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSplitVariables(t *testing.T) {
	words, vars, err := splitVariables([]string{"hook-default-amd64", "A=b=c", "B="})
	if err != nil || len(words) != 1 || vars["A"] != "b=c" || vars["B"] != "" {
		t.Errorf("%q, %q, %v", words, vars, err)
	}
	for _, bad := range [][]string{{"=x"}, {"one", "two"}} {
		if _, _, err := splitVariables(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// What is wrong with a LinuxKit file or with the flags about it is said
// without a network, and with the right exit code.
func TestLinuxKitFileErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yml")
	if err := os.WriteFile(file, []byte("init: []\nservces: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.pem")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#\n"), 1<<19+1), 0o644); err != nil {
		t.Fatal(err)
	}
	cache := "--cache-dir=" + filepath.Join(dir, "cache")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"build", "--file", file, cache, "--offline"}, exitFailure, "a.yml:2:1"},
		{[]string{"lint", file, cache, "--offline"}, exitFailure, "a.yml:2:1"},
		{[]string{"build", "hook-debian-amd64", "--file", file}, exitUsage, "give one of them"},
		{[]string{"build", "--file", "-"}, exitUsage, "--name"},
		{[]string{"build", "--file", file, "--ssh-key", "x"}, exitUsage, "hook-ssh.yaml"},
		{[]string{"build", "--file", file, "--mirror", "docker.io="}, exitUsage, "--mirror"},
		{[]string{"build", "--file", filepath.Join(dir, "none.yml")}, exitFailure, "none.yml"},
		{[]string{"build", "--dev", "--level", "3"}, exitUsage, "dev"},
		{[]string{"build", "--file", file, "--name", "a\nb"}, exitUsage, `--name "a\nb"`},
		{[]string{"build", "--file", file, "--out", ""}, exitUsage, "--out is empty"},
		{[]string{"build", "--file", file, "--images", filepath.Join(dir, "none")}, exitFailure, "--images: open " + filepath.Join(dir, "none")},
		{[]string{"build", "--file", file, "--images", dir}, exitFailure, "has no folder with a Dockerfile"},
		{[]string{"build", "--file", file, "--ca", large}, exitFailure, "--ca: " + large + " has more than 1048576 bytes"},
		{[]string{"build", "linuxkit.yml"}, exitFailure, "--file linuxkit.yml"},
		{[]string{"cache", "ls", cache}, exitOK, ""},
	} {
		var out, talk bytes.Buffer
		if code := run(t.Context(), tt.args, strings.NewReader(""), &out, &talk); code != tt.code || !strings.Contains(talk.String(), tt.want) {
			t.Errorf("%q: code %d, want %d; stderr %s", tt.args, code, tt.code, talk.String())
		}
	}
}
