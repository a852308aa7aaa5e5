package drivers

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/configs"
)

// realRoot is a root file system with all modules of Debian's kernel, for
// which depmod has run.
func realRoot(t *testing.T) (dir, version string) {
	t.Helper()
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set: this test unpacks Debian's kernel")
	}
	for _, tool := range []string{"depmod", "modprobe"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	keys, err := debian.ShippedKeys(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	cacheDir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache := &fetch.Cache{Dir: filepath.Join(cacheDir, "hooksmith")}
	repo, err := debian.Open(t.Context(), cache, debian.Options{Mirrors: debian.HostMirrors(os.DirFS("/")), Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	index, err := repo.Index(t.Context(), "amd64", "linux-image-*")
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := index.ResolveMeta("linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	layer := debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(t.Context(), cache, repo.Mirrors()) })
	dir = t.TempDir()
	if err := untar(t.Context(), layer, dir); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(dir + "/usr/lib/modules/*")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %q", err, found)
	}
	if err := os.Symlink("usr/lib", dir+"/lib"); err != nil {
		t.Fatal(err)
	}
	version = filepath.Base(found[0])
	run(t, "depmod", "-b", dir, version)
	return dir, version
}

// untar lets tar unpack a layer.
func untar(ctx context.Context, layer *debian.Layer, dir string) error {
	rc, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "tar", "-x", "-C", dir, "--no-same-owner", "usr/lib/modules")
	cmd.Stdin = rc
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("tar: %w: %s", err, out)
	}
	return errors.Join(err, rc.Close())
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && name == "modprobe" && errs.Len() == 0 {
		err = nil // for one of the aliases there is no module
	}
	if err != nil {
		t.Fatalf("%s: %v: %.500s", name, err, errs.String())
	}
	return out
}

// TestModprobeAgrees asks the real modprobe about thousands of modaliases,
// made from the patterns of Debian's kernel, near misses among them.
func TestModprobeAgrees(t *testing.T) {
	dir, version := realRoot(t)
	a, err := Open(t.Context(), os.DirFS(dir), Options{Source: dir})
	if err != nil {
		t.Fatal(err)
	}
	samples := sample(t, filepath.Join(dir, "usr/lib/modules", version, "modules.alias"), 6000)
	got := resolve(t, dir, version, samples)
	matched := 0
	for i, modalias := range samples {
		d, err := ParseModalias("sample", modalias)
		if err != nil {
			d = Device{Modalias: modalias} // not one that the kernel would write, but modprobe takes it
			d.Bus, _, _ = strings.Cut(modalias, ":")
		}
		var ours []string
		for _, f := range a.aliases.match(&d) {
			ours = append(ours, f.module)
		}
		slices.Sort(ours)
		slices.Sort(got[i])
		if !slices.Equal(ours, slices.Compact(got[i])) {
			t.Errorf("%s: %q, modprobe says %q", modalias, ours, got[i])
		}
		if len(ours) > 0 {
			matched++
		}
	}
	t.Logf("%d modaliases, %d of them have drivers", len(samples), matched)
	if matched < len(samples)/2 {
		t.Errorf("only %d of %d samples have drivers: the samples are poor", matched, len(samples))
	}
}

// TestModprobeBrackets asks depmod and modprobe about dashes and brackets, in
// the aliases of modules and in what devices call themselves.
func TestModprobeBrackets(t *testing.T) {
	for _, tool := range []string{"depmod", "modprobe"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	modules := filepath.Join(dir, "lib/modules", release)
	if err := os.MkdirAll(modules, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, alias := range map[string]string{
		"dashed": "dmi*A-B*", "plus": "dmi*A[+-]B*", "class": "dmi*[A-B]*", "open": "dmi*[A-B*", "close": "dmi*]*",
		"first": "dmi:bvn-[!-]*", "bus": "md-io*:x-*", "loop": "loop",
	} {
		if err := os.WriteFile(filepath.Join(modules, name+".ko"), object(elf.EM_X86_64, name, "alias="+alias).Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range []string{"modules.order", "modules.builtin"} {
		if err := os.WriteFile(filepath.Join(modules, list), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "depmod", "-b", dir, release).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a, err := Open(t.Context(), os.DirFS(dir), Options{Source: dir})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"dmi:bvn[A-B]:", "dmi:bvnA-B:", "dmi:bvnA_B:", "dmi:bvnA+B:", "dmi:bvn-[-]:", "dmi:bvn--:", "dmi:bvn-x:", "dmi:bvn[A-B:", "dmi:bvnA]:", "md-io1:x-2", "md_io1:x_2"}
	for i, got := range resolve(t, dir, release, names) {
		d, err := ParseModalias("name", names[i])
		if err != nil {
			t.Fatal(err)
		}
		var ours []string
		for _, f := range a.aliases.match(&d) {
			ours = append(ours, f.module)
		}
		slices.Sort(ours)
		slices.Sort(got)
		if !slices.Equal(ours, slices.Compact(got)) {
			t.Errorf("%s: %q, modprobe says %q", names[i], ours, got)
		}
	}
}

// sample makes modaliases from the patterns of a modules.alias.
func sample(t *testing.T, file string, n int) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" && strings.Contains(f[1], ":") && !strings.HasPrefix(f[1], "symbol:") {
			patterns = append(patterns, f[1])
		}
	}
	rnd := rand.New(rand.NewPCG(6, 4))
	var out []string
	for len(out) < n {
		s := instance(rnd, patterns[rnd.IntN(len(patterns))])
		if rnd.IntN(4) == 0 { // a near miss: one other digit
			i := rnd.IntN(len(s))
			s = s[:i] + string("0123456789ABCDEF"[rnd.IntN(16)]) + s[i+1:]
		}
		if !strings.HasPrefix(s, "-") {
			out = append(out, s)
		}
	}
	return out
}

// instance replaces the wildcards of a pattern: by digits of the length that
// the kernel writes in a PCI modalias, else by a few characters.
func instance(rnd *rand.Rand, pattern string) string {
	digits := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789ABCDEF"[rnd.IntN(16)]
		}
		return string(b)
	}
	if p, ok := ParsePCI(pattern); ok {
		for i, id := range p.parts() {
			if !id.Known {
				*id = known(rnd.Uint32() >> (32 - 4*min(pciParts[i].digits, 4)))
			}
		}
		return p.Modalias()
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*':
			b.WriteString(digits(rnd.IntN(5)))
		case c == '?':
			b.WriteString(digits(1))
		case c == '[':
			end := i + strings.IndexByte(pattern[i:], ']')
			b.WriteByte(pattern[end-1])
			i = end
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// resolve asks modprobe about many modaliases at once. Between two of them it
// is asked about one whose answer is known.
func resolve(t *testing.T, dir, version string, list []string) [][]string {
	t.Helper()
	var out [][]string
	for chunk := range slices.Chunk(list, 200) {
		args := []string{"-a", "-q", "-R", "-C", "/nonexistent", "-d", dir, "-S", version, "loop"}
		for _, s := range chunk {
			args = append(args, s, "loop")
		}
		groups := strings.Split("\n"+string(run(t, "modprobe", args...)), "\nloop")
		if len(groups) != len(chunk)+2 {
			t.Fatalf("modprobe answered %d times, asked %d times ", len(groups)-2, len(chunk))
		}
		for _, g := range groups[1 : len(groups)-1] {
			out = append(out, strings.Fields(g))
		}
	}
	return out
}
