package compile

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// another starts this test's binary again, as a process that does what
// TestAnother does for these words, and returns what it printed first.
func another(t *testing.T, attr *syscall.SysProcAttr, words ...string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestAnother$")
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), "ANOTHER="+strings.Join(words, " ")), attr
	if _, err := cmd.StdinPipe(); err != nil { // it waits for its end
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(out, b); err != nil {
			t.Fatalf("it printed %q: %v", line, err)
		}
		if b[0] == '\n' {
			return cmd, string(line)
		}
	}
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestAnother(t *testing.T) {
	what, path, _ := strings.Cut(os.Getenv("ANOTHER"), " ")
	switch what {
	case "":
		t.Skip("run by other tests")
	case "owner":
		fmt.Println(owner())
	case "folder":
		dir, _, err := makeFolder(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "kernel"), []byte("large"), 0o644)
		}
		fmt.Println(dir, err)
	case "export":
		f, err := createUnnamed(path)
		if err == nil {
			_, err = f.WriteString("large")
		}
		fmt.Println(f.temp, err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestAbandoned(t *testing.T) {
	here := place()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	boot, rest, _ := strings.Cut(here, " ")
	namespace, host, ok := strings.Cut(rest, " ")
	if !ok || len(boot) != 36 || !strings.HasPrefix(namespace, "pid:[") {
		t.Fatalf("place is %q", here)
	}
	dead := ended.Process.Pid
	for label, want := range map[string]bool{
		owner(): false,
		fmt.Sprintf("%d 1 %s", os.Getpid(), here):                                    true, // the id was used again
		fmt.Sprintf("%d - %s", os.Getpid(), here):                                    false,
		fmt.Sprintf("%d 1 %s", dead, here):                                           true,
		fmt.Sprintf("%d - %s", dead, here):                                           true,
		fmt.Sprintf("%d 1 %s", dead, host):                                           false,
		fmt.Sprintf("%d 1 %s %s another-%s", dead, boot, namespace, host):            false,
		fmt.Sprintf("%d 1 %s pid:[1] %s", dead, boot, host):                          false, // a container of CI
		fmt.Sprintf("%d 1 %s %s %s", dead, strings.Repeat("0", 36), namespace, host): false, // a machine of the same name
		"":                       false,
		"x 1 " + here:            false,
		"-1 1 " + here:           false,
		"0 1 " + here:            false,
		fmt.Sprint(os.Getpid()):  false,
		"999999999999 1 " + here: true,
	} {
		if got := abandoned(label, here); got != want {
			t.Errorf("%q: %v", label, got)
		}
		if abandoned(label, "") {
			t.Errorf("%q is removed from a place that is not known", label)
		}
	}
}

// TestAbandonedElsewhere: processes in a namespace of their own, as containers
// have, are not taken for dead ones of this one.
func TestAbandonedElsewhere(t *testing.T) {
	here := place()
	cmd, label := another(t, nil, "owner")
	if abandoned(label, here) {
		t.Errorf("%q lives", label)
	}
	kill(cmd)
	if !abandoned(label, here) {
		t.Errorf("%q is dead", label)
	}
	if os.Getuid() != 0 {
		t.Skip("a namespace of process ids needs root")
	}
	_, label = another(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, "owner")
	if !strings.HasPrefix(label, "1 ") || abandoned(label, here) {
		t.Errorf("%q lives elsewhere", label)
	}
}

// TestLeftovers: what a killed process leaves goes, and what a living one has
// stays.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, folderPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	mine, remove, err := makeFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd, said := another(t, nil, "folder", dir)
	theirs, ok := strings.CutSuffix(said, " <nil>")
	if !ok {
		t.Fatal(said)
	}
	if left := Leftovers(dir); left != nil {
		t.Errorf("%q are of living processes", left)
	}
	kill(cmd)
	if left := Leftovers(dir); !slices.Equal(left, []string{theirs}) {
		t.Errorf("left %q, want %s", left, theirs)
	}
	(&Builder{TempDir: dir}).sweepFolders()
	want := []string{filepath.Base(mine), folderPrefix + "link", "images"}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if left, err := Sweep(filepath.Join(dir, "none")); left != nil || err != nil {
		t.Errorf("%q, %v", left, err)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestUnnamed: a file is there whole or not at all, also if its writer is
// killed.
func TestUnnamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k.tar")
	cmd, said := another(t, nil, "export", path)
	if said != " <nil>" {
		t.Skipf("this file system has no files without names: %s", said)
	}
	kill(cmd)
	if got := names(t, dir); got != nil {
		t.Errorf("left %q", got)
	}
	for _, text := range []string{"one", "two"} {
		for _, commit := range []bool{false, true} {
			f, err := createUnnamed(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(text); err != nil {
				t.Fatal(err)
			}
			if commit {
				if err := f.commit(); err != nil {
					t.Fatal(err)
				}
			}
			f.discard()
		}
		st, err := os.Stat(path)
		got, _ := os.ReadFile(path)
		if err != nil || string(got) != text || st.Mode() != 0o644 {
			t.Errorf("%q, %v, %v", got, st, err)
		}
	}
	if got := names(t, dir); !slices.Equal(got, []string{"k.tar"}) {
		t.Errorf("left %q", got)
	}
}
