package compile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/build/docker"
	"hooksmith/kernel"
	"hooksmith/kernel/source"
)

// fixed is a source that is never read.
type fixed struct{ version, hash, text string }

func (f fixed) Version() string { return f.version }
func (f fixed) Hash() string    { return f.hash }
func (f fixed) String() string  { return f.text }
func (f fixed) Tar(context.Context) (io.ReadCloser, error) {
	return nil, errors.New("the source was read")
}

func spec(change ...func(*Spec)) Spec {
	s := Spec{Arch: kernel.X86_64, ConfigName: "vm-6.12.y-x86_64", Config: []byte("CONFIG_X=y\n"), Source: fixed{"6.12.48", strings.Repeat("a", 64), "/home/me/linux.tar"}}
	for _, c := range change {
		c(&s)
	}
	return s
}

// TestTag: all that matters is in the tag, and nothing else.
func TestTag(t *testing.T) {
	tag := spec().Tag()
	if !strings.HasPrefix(tag, "6.12.48-") || len(tag) != len("6.12.48-")+8 {
		t.Fatalf("tag %s", tag)
	}
	for name, same := range map[string]func(*Spec){
		"jobs": func(s *Spec) { s.Jobs = 7 },
		"name": func(s *Spec) { s.ConfigName = "mine" },
		"path": func(s *Spec) { s.Source = fixed{"6.12.48", strings.Repeat("a", 64), "/elsewhere"} },
	} {
		if got := spec(same).Tag(); got != tag {
			t.Errorf("%s changes the tag", name)
		}
	}
	seen := map[string]string{tag: "nothing"}
	for name, other := range map[string]func(*Spec){
		"arch":             func(s *Spec) { s.Arch = kernel.AArch64 },
		"config":           func(s *Spec) { s.Config = []byte("CONFIG_X=m\n") },
		"source":           func(s *Spec) { s.Source = fixed{"6.12.48", strings.Repeat("b", 64), ""} },
		"patch":            func(s *Spec) { s.Patches = []source.Patch{{Data: []byte("1")}} },
		"other patch":      func(s *Spec) { s.Patches = []source.Patch{{Data: []byte("2")}} },
		"patches":          func(s *Spec) { s.Patches = []source.Patch{{Data: []byte("1")}, {Data: []byte("2")}} },
		"patches, turned":  func(s *Spec) { s.Patches = []source.Patch{{Data: []byte("2")}, {Data: []byte("1")}} },
		"external":         func(s *Spec) { s.External = []source.External{{Name: "a"}} },
		"another external": func(s *Spec) { s.External = []source.External{{Name: "b"}} },
	} {
		got := spec(other).Tag()
		if twin, twice := seen[got]; twice {
			t.Errorf("%s and %s have the same tag", name, twin)
		}
		seen[got] = name
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Spec){
		"unknown architecture": func(s *Spec) { s.Arch = "sparc" },
		"no source":            func(s *Spec) { s.Source = nil },
		"is empty":             func(s *Spec) { s.Config = nil },
		"both called ice":      func(s *Spec) { s.External = []source.External{{Name: "ice", Path: "a"}, {Name: "ice", Path: "b"}} },
	} {
		if err := spec(change).validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := spec().validate(); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	arm := func(s *Spec) { s.Arch = kernel.AArch64 }
	for _, tt := range []struct {
		spec   Spec
		daemon string
		want   string
	}{
		{spec(), "x86_64", "ARCH=x86_64 LOCALVERSION="},
		{spec(arm), "aarch64", "ARCH=arm64 LOCALVERSION="},
		{spec(arm), "x86_64", "ARCH=arm64 LOCALVERSION= CROSS_COMPILE=aarch64-linux-gnu-"},
		{spec(), "aarch64", "ARCH=x86_64 LOCALVERSION= CROSS_COMPILE=x86_64-linux-gnu-"},
	} {
		if got := strings.Join(tt.spec.environment(tt.daemon), " "); got != tt.want {
			t.Errorf("%s on %s: %s", tt.spec.Arch, tt.daemon, got)
		}
	}
}

func TestObjectCounter(t *testing.T) {
	const out = "  HOSTCC  scripts/basic/fixdep\n  CC      init/main.o\n  AS      arch/x86/entry/entry.o\n  CC [M]  drivers/x.o\n  LD [M]  drivers/x.ko\n" +
		"warning:   CC      no\n  CCC     x\n  AR      built-in.a\n  CC      cut"
	for _, size := range []int{1, 7, 1000} {
		var to bytes.Buffer
		n := 0
		c := &objectCounter{to: &to, add: func() { n++ }}
		for rest := []byte(out); len(rest) > 0; {
			k := min(size, len(rest))
			if _, err := c.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		if n != 4 || to.String() != out {
			t.Errorf("%d objects, %q", n, to.String())
		}
	}
}

func TestErrorLines(t *testing.T) {
	e := &errorLines{}
	fmt.Fprintf(e, "  CC x.o\nx.c:3:1: error: expected ';'\nmake[1]: ")
	fmt.Fprintf(e, "*** [x.o] Error 1\nerrors.o is fine\n%s\nld: undefined reference to `y'\n", strings.Repeat("z", 100<<10))
	want := []string{"x.c:3:1: error: expected ';'", "make[1]: *** [x.o] Error 1", "ld: undefined reference to `y'"}
	if !slices.Equal(e.lines, want) {
		t.Errorf("%q", e.lines)
	}
	for range 100 {
		fmt.Fprintln(e, "a: error: b")
	}
	if len(e.lines) != maxErrorLines || len(e.open) > 64<<10 {
		t.Errorf("%d lines are kept, %d bytes", len(e.lines), len(e.open))
	}
	text := (&ExitError{Command: []string{"make", "-j2"}, Status: 2, Lines: []string{"last"}, Errors: want}).Error()
	for _, part := range append(want, "make -j2: exit status 2", "last") {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

func TestFailedHunks(t *testing.T) {
	const out = `patching file good.c
patching file init/main.c
Hunk #1 succeeded at 5 (offset 2 lines).
Hunk #2 FAILED at 1000.
1 out of 2 hunks FAILED
patching file other.c
Hunk #1 FAILED at 3.
`
	want := []string{"file init/main.c:", "Hunk #2 FAILED at 1000.", "file other.c:", "Hunk #1 FAILED at 3."}
	if got := failedHunks(out); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := failedHunks("can't find file to patch at input line 3\n"); !slices.Equal(got, []string{"can't find file to patch at input line 3"}) {
		t.Errorf("%q", got)
	}
	if got := failedHunks("patch is unhappy\n"); !slices.Equal(got, []string{"patch is unhappy"}) {
		t.Errorf("%q", got)
	}
}

func TestEnough(t *testing.T) {
	if err := enough(10, 10, "x", "/d"); err != nil {
		t.Error(err)
	}
	err := enough(1<<30, 2200<<20, "the source", "/var/lib/docker")
	var h interface{ Hint() string }
	if !errors.As(err, &h) || !strings.Contains(h.Hint(), "docker system prune") {
		t.Errorf("%v has no hint", err)
	}
	for _, part := range []string{"2.3 GB are needed", "/var/lib/docker", "1.1 GB are free", "the source"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
}

// TestExplainMake: what a full disk, too little memory and a wrong file look
// like in the end of make's output.
func TestExplainMake(t *testing.T) {
	w := &Workspace{spec: spec(func(s *Spec) { s.Jobs = 64 })}
	for _, tt := range []struct {
		err  *ExitError
		want string
		hint string
	}{
		{&ExitError{Status: 2, Errors: []string{"fatal error: error writing to /tmp/x.s: No space left on device"}}, "disk of Docker's data folder is full: compiling may need 5.0 GB: ", "docker system prune"},
		{&ExitError{Status: 137}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Errors: []string{"x86_64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Lines: []string{"collect2: fatal error: ld terminated with signal 9 [Killed]"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Lines: []string{"Killed", "make: done"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Lines: []string{"scripts/link-vmlinux.sh: line 49: 12345 Killed                  ${ld} -o vmlinux"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Errors: []string{"make[2]: *** [scripts/Makefile.build:229: mm/slub.o] Killed"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Errors: []string{"make[2]: *** [scripts/Makefile.vmlinux:34: vmlinux] Error 137"}}, "want of memory", "--jobs (now 64)"},
		{&ExitError{Status: 2, Errors: []string{`oom.c:9: error: expected ';' before "Killed process"`}}, "expected ';'", ""},
		{&ExitError{Status: 2, Errors: []string{"x.c:1: error: y"}}, "x.c:1: error: y", ""},
	} {
		tt.err.Command = []string{"sh", scriptPath, "compile", "64"}
		tt.err.Lines = append(tt.err.Lines, "  CC      noise.o")
		err := w.explainMake(tt.err, "compiling", 5e9)
		if err := w.explainMake(tt.err, "installing", 0); strings.Contains(err.Error(), "0.0 GB") {
			t.Error(err)
		}
		text := ""
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			text = h.Hint()
		}
		if tt.hint != "" && strings.Contains(err.Error(), "noise") {
			t.Errorf("the reason is known, and yet: %v", err)
		}
		if !strings.Contains(err.Error(), tt.want) || !strings.Contains(text, tt.hint) || (tt.hint == "") != (text == "") {
			t.Errorf("%v\nhint: %s", err, text)
		}
	}
}

func TestCheckCommandLine(t *testing.T) {
	for size, ok := range map[uint32]bool{2047: false, 4095: true, 8191: true} {
		b := make([]byte, 0x400)
		binary.LittleEndian.PutUint32(b[cmdlineSize:], size)
		path := filepath.Join(t.TempDir(), "kernel")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := checkCommandLine(path, kernel.X86_64); (err == nil) != ok {
			t.Errorf("%d: %v", size, err)
		}
		if err := checkCommandLine(path, kernel.AArch64); err != nil {
			t.Error(err)
		}
	}
}

func TestDockerfile(t *testing.T) {
	for _, stage := range []Stage{Toolchain, Configurator} {
		if !bytes.Contains(dockerfile, []byte(" AS "+string(stage)+"\n")) {
			t.Errorf("no stage %s", stage)
		}
	}
	if Toolchain.reference() == Configurator.reference() {
		t.Error("the stages have one name")
	}
	var buf bytes.Buffer
	if err := writeDockerfile(t.Context(), &buf); err != nil || !bytes.Contains(buf.Bytes(), dockerfile) {
		t.Errorf("%v", err)
	}
}

// FuzzOutput: whatever make and patch print, little of it is kept, and however
// it is cut, the same is counted.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("  CC      init/main.o\nx.c:1: error: y\npatching file a\nHunk #1 FAILED at 3.\n"), 3)
	f.Fuzz(func(t *testing.T, out []byte, cut int) {
		count := func(pieces ...[]byte) (n int, lines []string) {
			e := &errorLines{}
			c := &objectCounter{to: e, add: func() { n++ }}
			for _, p := range pieces {
				if _, err := c.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			return n, e.lines
		}
		at := min(max(cut, 0), len(out))
		n, lines := count(out)
		m, others := count(out[:at], out[at:])
		if n != m || !slices.Equal(lines, others) || len(lines) > maxErrorLines {
			t.Errorf("%d, %q; cut at %d: %d, %q", n, lines, at, m, others)
		}
		if hunks := failedHunks(string(out)); len(hunks) > 20 {
			t.Errorf("%d lines", len(hunks))
		}
		abandoned(string(out), place())
	})
}

// TestNoFolder: that the result has no place is said before anything else.
func TestNoFolder(t *testing.T) {
	b := &Builder{Docker: docker.Config{Host: "unix:///nonexistent/docker.sock"}, TempDir: filepath.Join(t.TempDir(), "none")}
	if k, err := b.Build(t.Context(), spec()); k != nil || err == nil || !strings.Contains(err.Error(), "a folder for the kernel") {
		t.Errorf("%v, %v", k, err)
	}
	b.TempDir = t.TempDir()
	if _, err := b.Build(t.Context(), spec()); err == nil || !strings.Contains(err.Error(), "no Docker daemon answers") {
		t.Error(err)
	}
	if left, err := os.ReadDir(b.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
