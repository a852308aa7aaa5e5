package compile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/kernel"
	"hooksmith/kernel/source"
)

// Kernel is a kernel that was compiled. Its image reads files that Close
// removes.
type Kernel struct {
	Image   v1.Image
	Release string // 6.12.48, with what the configuration adds
	Objects int    // of the kernel, its modules and the programs that build it
	Hits    int    // files that ccache had in its cache
	Misses  int    // files that it had to compile
	dir     string
	remove  func() error // removes dir; nil: there is none
}

// Close removes the files of the image.
func (k *Kernel) Close() error {
	if k.remove == nil {
		return nil
	}
	return k.remove()
}

// Build compiles a kernel. Nothing is left in the daemon but the toolchain and
// the cache, also if it fails or ctx ends. The caller closes the kernel.
func (b *Builder) Build(ctx context.Context, s Spec) (k *Kernel, err error) {
	// The folder of the result first: it is too late for its errors in an hour.
	k = &Kernel{}
	if k.dir, k.remove, err = makeFolder(b.TempDir); err != nil {
		return nil, fmt.Errorf("a folder for the kernel: %w", err)
	}
	defer func() {
		if err != nil {
			k.Close()
			k = nil
		}
	}()
	w, err := b.Open(ctx, s)
	if err != nil {
		return k, err
	}
	defer func() {
		if closeErr := w.Close(); closeErr != nil {
			b.log().Warn("cleaning up after the kernel's compilation", "error", closeErr)
		}
	}()
	// 1. compile the kernel and its modules
	if err := w.compile(ctx, b, k); err != nil {
		return k, err
	}
	// 2. modules from outside, then the index over all of them
	if err := w.install(ctx, b); err != nil {
		return k, err
	}
	// 3. the result, out of the container
	task := b.begin("fetching the kernel", 0)
	err = w.fetch(ctx, b, k)
	task.Done(err)
	if err != nil {
		return k, err
	}
	// 4. and into an image
	k.Image, err = newImage(s, k)
	return k, err
}

// compile runs make, and counts what it compiles.
func (w *Workspace) compile(ctx context.Context, b *Builder, k *Kernel) (err error) {
	total := w.estimate(ctx)
	need := int64(max(total, 500)) * objectSpace
	if err := w.needSpace(ctx, need, "compiling "+w.spec.ConfigName); err != nil {
		return err
	}
	task := b.begin("compiling "+w.spec.ConfigName, total)
	defer func() { task.Done(err) }()
	count := &objectCounter{to: b.raw(), add: func() { k.Objects++; task.Add(1) }}
	if err := w.step(ctx, count, "compile", strconv.Itoa(w.spec.Jobs)); err != nil {
		return w.explainMake(err, "compiling "+w.spec.ConfigName, need)
	}
	if out, err := w.output(ctx, "hits"); err == nil {
		_, _ = fmt.Sscan(out, &k.Hits, &k.Misses)
	}
	if err := w.step(ctx, nil, "remember", w.estimateName(), strconv.Itoa(k.Objects)); err != nil {
		b.log().Warn("the number of objects is not kept for the next time's estimate", "error", err)
	}
	return ctx.Err()
}

// estimate is about how many objects will be compiled; 0: nobody knows.
func (w *Workspace) estimate(ctx context.Context) int {
	out, err := w.output(ctx, "estimate", w.estimateName())
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(out)
	return max(n, 0)
}

var plainName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// estimateName is the file that keeps how many objects a configuration has.
func (w *Workspace) estimateName() string {
	return plainName.ReplaceAllString(fmt.Sprintf("%s-%s-%s", w.spec.ConfigName, w.spec.arch(), source.Series(w.spec.Source.Version())), "_")
}

// explainMake says why make failed; need is what its step needs of the disk,
// 0: nobody knows.
func (w *Workspace) explainMake(err error, what string, need int64) error {
	var exit *ExitError
	switch {
	case !errors.As(err, &exit) && isNoSpace(err):
		return noSpace(err, what, need)
	case exit != nil && isNoSpace(err):
		return noSpace(exit.reduced(saysNoSpace), what, need)
	case exit != nil && exit.killed():
		return hintf(fmt.Errorf("%s: killed, probably for want of memory: %w", what, exit.reduced(killedLine.MatchString)), "give Docker more memory, or compile with fewer --jobs (now %d)", w.spec.Jobs)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// install installs modules, builds those from outside, and makes the files of
// the image.
func (w *Workspace) install(ctx context.Context, b *Builder) (err error) {
	jobs := strconv.Itoa(w.spec.Jobs)
	task := b.begin("installing modules", 0)
	defer func() { task.Done(err) }()
	if err := w.step(ctx, b.raw(), "install"); err != nil {
		return w.explainMake(err, "installing the modules", 0)
	}
	for _, e := range w.spec.External {
		if err := w.step(ctx, b.raw(), "external", e.Name, e.Dir, jobs); err != nil {
			return w.explainMake(err, fmt.Sprintf("external module %s (%s) for Linux %s", e.Name, e.Path, w.spec.Source.Version()), 0)
		}
	}
	if err := w.step(ctx, b.raw(), "finish", w.spec.image()); err != nil {
		return w.explainMake(err, "putting the kernel together", 0)
	}
	return nil
}

var hunkLine = regexp.MustCompile(`(?m)^(?:patching file .*|Hunk .* FAILED.*|can't find file .*|patch: \*{4} .*|Reversed .*|.*previously applied.*|The text leading up to this was:|File .* is not empty.*|.*No such file.*)$`)

// patch applies a patch.
func (w *Workspace) patch(ctx context.Context, p source.Patch) error {
	const file = "/src/patch"
	if err := w.WriteFile(ctx, file, p.Data); err != nil {
		return err
	}
	var out bytes.Buffer
	err := w.step(ctx, &out, "patch", file)
	var exit *ExitError
	if !errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("patch %s does not apply to %s (Linux %s):\n  %s", p.Name, w.spec.Source, w.spec.Source.Version(), strings.Join(failedHunks(out.String()), "\n  "))
}

// failedHunks is what patch said of the files that did not take a hunk.
func failedHunks(out string) []string {
	var lines []string
	file, bad := "", false
	for _, l := range hunkLine.FindAllString(out, 200) {
		if strings.HasPrefix(l, "patching file ") {
			file, bad = strings.TrimPrefix(l, "patching file "), false
			continue
		}
		if file != "" && !bad {
			lines = append(lines, "file "+file+":")
			bad = true
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		lines = strings.Split(strings.TrimSpace(out), "\n")
		lines = lines[max(0, len(lines)-10):]
	}
	return lines[:min(len(lines), 20)]
}

// Files of the result. All are far smaller: a bound for a daemon gone mad.
const maxResult = 8 << 30

// fetch copies the result into a folder of ours, and opens it as those who use
// it will.
func (w *Workspace) fetch(ctx context.Context, b *Builder, k *Kernel) error {
	r, err := w.ReadTree(ctx, "/src/out/image")
	if err != nil {
		return err
	}
	defer r.Close()
	if err := unpackFlat(io.LimitReader(r, maxResult), k.dir); err != nil {
		return fmt.Errorf("fetching the kernel out of the container: %w", errors.Join(ctx.Err(), err))
	}
	opened, err := kernel.OpenLinuxKit(os.DirFS(k.dir), w.spec.Arch)
	if err != nil {
		return fmt.Errorf("what was compiled cannot be used: %w", err)
	}
	k.Release = opened.Release
	return checkCommandLine(filepath.Join(k.dir, "kernel"), w.spec.Arch)
}

// cmdlineSize is where an x86 image says how long its command line may be:
// https://docs.kernel.org/arch/x86/boot.html
const cmdlineSize = 0x238

// checkCommandLine reads the length of the command line where the image tells.
func checkCommandLine(file string, arch kernel.Arch) error {
	if arch != kernel.X86_64 {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [4]byte
	if _, err := f.ReadAt(b[:], cmdlineSize); err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint32(b[:]); n < 4095 {
		return fmt.Errorf("the kernel takes a command line of %d bytes, not 4095: COMMAND_LINE_SIZE is not what the boot code uses", n)
	}
	return nil
}

// unpackFlat writes the files of a folder's tar.
func unpackFlat(r io.Reader, dir string) error {
	return eachFile(r, func(name string, size int64, content io.Reader) error {
		f, err := os.OpenFile(filepath.Join(dir, path.Base(name)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	})
}
