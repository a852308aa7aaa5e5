package kerneltest

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hooksmith/configs"
)

// TestRecipes makes the configurations for 6.12 of their recipes (configs/kernel), with the merge script and the Kconfig
// of the kernel and the compilers of the toolchain image: the files that are checked in are the same, byte by byte.
// Those for 6.6 and 5.10 take another source; scripts/kernel-configs.sh --check has it.
func TestRecipes(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	w := l.configured(t)

	program := filepath.Join(t.TempDir(), "kernelconfigs")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "hooksmith/scripts/kernelconfigs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFile(t.Context(), "/src/recipes/kernelconfigs", data); err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(configs.FS, "kernel", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(configs.FS, name)
		if err != nil {
			return err
		}
		return w.WriteFile(t.Context(), "/src/recipes/"+name, data)
	})
	if err != nil {
		t.Fatal(err)
	}

	// The kernel's build system refuses to build beside a tree that is configured itself.
	const script = `rm -rf .config include/config include/generated arch/x86/include/generated
chmod +x /src/recipes/kernelconfigs
exec /src/recipes/kernelconfigs -check -dir /src/recipes/kernel -work /src/recipes/work -source .`
	var out bytes.Buffer
	if err := w.Run(t.Context(), &out, "sh", "-c", script); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, name := range []string{"vm-6.12.y-x86_64", "generic-6.12.y-x86_64", "generic-6.12.y-aarch64"} {
		if !bytes.Contains(out.Bytes(), []byte(name+": unchanged")) {
			t.Errorf("%s was not made:\n%s", name, out.String())
		}
	}
}
