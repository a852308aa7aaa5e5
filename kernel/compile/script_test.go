package compile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runStep runs a step of kernel.sh here, in a folder with these files.
func runStep(t *testing.T, arch string, files map[string]string, args ...string) (dir, out string, err error) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", append([]string{"-s", "--"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), "ARCH="+arch), bytes.NewReader(script)
	b, err := cmd.CombinedOutput()
	return dir, string(b), err
}

// TestCommandLineSize: a source in which the size cannot be raised is an error.
func TestCommandLineSize(t *testing.T) {
	const x86, arm64 = "arch/x86/include/asm/setup.h", "arch/arm64/include/uapi/asm/setup.h"
	for _, tt := range []struct {
		name, arch, file, text string
		want                   string // of the file afterwards
		wantErr                string
	}{
		{"x86", "x86_64", x86, "#ifndef A\n#define COMMAND_LINE_SIZE 2048\n#endif\n", "#ifndef A\n#define COMMAND_LINE_SIZE 4096\n#endif\n", ""},
		{"arm64", "arm64", arm64, "#define COMMAND_LINE_SIZE\t2048\n", "#define COMMAND_LINE_SIZE\t4096\n", ""},
		{"blanks", "x86_64", x86, "# define  COMMAND_LINE_SIZE  256\n", "# define  COMMAND_LINE_SIZE  4096\n", ""},
		{"larger already", "x86_64", x86, "#define COMMAND_LINE_SIZE 8192\n", "#define COMMAND_LINE_SIZE 8192\n", ""},
		{"4096 already", "arm64", arm64, "#define COMMAND_LINE_SIZE 4096\n", "#define COMMAND_LINE_SIZE 4096\n", ""},
		{"no file", "arm64", x86, "#define COMMAND_LINE_SIZE 2048\n", "", "has no " + arm64},
		{"no number", "x86_64", x86, "#define COMMAND_LINE_SIZE CONFIG_X\n", "", "does not define COMMAND_LINE_SIZE once, as a number"},
		{"twice", "x86_64", x86, "#define COMMAND_LINE_SIZE 1\n#define COMMAND_LINE_SIZE 2\n", "", "does not define COMMAND_LINE_SIZE once, as a number"},
		{"an expression", "x86_64", x86, "#define COMMAND_LINE_SIZE 2048 * 2\n", "", "did not become 4096"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, out, err := runStep(t, tt.arch, map[string]string{tt.file: tt.text}, "cmdline")
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(out, tt.wantErr) {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			if got, _ := os.ReadFile(filepath.Join(dir, tt.file)); err != nil || string(got) != tt.want {
				t.Errorf("%v: %s: %q", err, out, got)
			}
		})
	}
}

func TestPatchStep(t *testing.T) {
	files := map[string]string{"a.c": "one\ntwo\nthree\n", "p": "--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n", "bad": "--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n 1\n-zwei\n+2\n 3\n"}
	if _, err := exec.LookPath("patch"); err != nil {
		t.Skip("patch is not installed")
	}
	dir, out, err := runStep(t, "x86_64", files, "patch", "p")
	if got, _ := os.ReadFile(filepath.Join(dir, "a.c")); err != nil || string(got) != "one\n2\nthree\n" {
		t.Errorf("%v: %s: %q", err, out, got)
	}
	_, out, err = runStep(t, "x86_64", files, "patch", "bad")
	if got := strings.Join(failedHunks(out), " "); err == nil || !strings.Contains(got, "file a.c: Hunk #1 FAILED") {
		t.Errorf("%v: %s", err, got)
	}
}

// TestCount: kbuild's ways to list objects.
func TestCount(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	dir, _, _ := runStep(t, "x86_64", map[string]string{
		".config": "CONFIG_Y=y\nCONFIG_M=m\nCONFIG_TEXT=\"a b\"\n# CONFIG_N is not set\n",
		"d/Makefile": `obj-y += plain.o whole.o sub/ $(call cc-option,-x)
obj-$(CONFIG_M) += mod.o modparts.o below/
obj-$(CONFIG_N) += never.o never/
whole-y := a.o b.o
whole-$(CONFIG_Y) += c.o
whole-$(CONFIG_N) += never2.o
modparts-objs := p.o q.o
lib-y += l.o
subdir-y += helper
$(obj)/generated.h: ; false
`,
	}, "release")
	cmd := exec.Command("make", "-s", "--no-print-directory", "-f", "-", "obj=d", "ARCH=x86_64")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(counter)
	out, err := cmd.CombinedOutput()
	// plain a b c mod p q l, and the .mod.o of two modules
	if got := strings.TrimSpace(string(out)); err != nil || got != "10 d/below d/helper d/sub" {
		t.Errorf("%v: %s", err, got)
	}
}
