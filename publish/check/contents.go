package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"hooksmith/build"
	"hooksmith/publish/inspect"
	"hooksmith/publish/sign"
	"hooksmith/publish/verify"
)

// contents looks into the files as the machine will.
func (c *checker) contents(ctx context.Context, files *local) error {
	kernelName, initramfsName := c.names()
	set, opened, err := openSet(files, kernelName, initramfsName)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range opened {
			_ = f.Close() // only read
		}
	}()
	if !c.swapped(set) {
		k := c.kernel(ctx, set)
		i := c.initramfs(ctx, set)
		c.together(k, i)
		if i != nil {
			c.pieces(i)
		}
	}
	return c.hashes(ctx, files)
}

// openSet opens what is there.
func openSet(files *local, kernelName, initramfsName string) (*inspect.Set, []*os.File, error) {
	set := &inspect.Set{}
	var opened []*os.File
	for name, to := range map[string]**inspect.Artifact{kernelName: &set.Kernel, initramfsName: &set.Initramfs} {
		p, ok := files.names[name]
		if !ok {
			continue
		}
		f, err := os.Open(p)
		if err != nil {
			return nil, opened, err
		}
		opened = append(opened, f)
		st, err := f.Stat()
		if err != nil {
			return nil, opened, err
		}
		*to = &inspect.Artifact{ReaderAt: f, Name: name, Size: st.Size()}
	}
	return set, opened, nil
}

// swapped finds the commonest of all mistakes before it is reported as two.
func (c *checker) swapped(set *inspect.Set) bool {
	if set.Kernel == nil || set.Initramfs == nil || inspect.IsKernel(set.Kernel) || !inspect.IsKernel(set.Initramfs) {
		return false
	}
	c.add("swapped", "kernel and initramfs", Fail, "publish each under its own name", "%s is an initramfs and %s is a kernel: they are swapped", set.Kernel.Name, set.Initramfs.Name)
	return true
}

// kernel opens the kernel as a boot loader does; nil if it is none.
func (c *checker) kernel(ctx context.Context, set *inspect.Set) *inspect.Kernel {
	const id, title = "kernel", "kernel image"
	if set.Kernel == nil {
		c.add(id, title, Skip, "", "it could not be had")
		return nil
	}
	r, err := inspect.Inspect(ctx, &inspect.Set{Kernel: set.Kernel}, inspect.Options{})
	if err != nil {
		c.add(id, title, Fail, "publish it again; hooksmith build makes one", "%v", err)
		return nil
	}
	k := r.Kernel
	words := fmt.Sprintf("%s %s, %s", k.Format, k.Release, k.Arch)
	switch {
	case k.Arch != c.opt.Arch:
		c.add(id, title, Fail, "publish the kernel for "+c.opt.Arch+" under this name", "%s, but machines of %s boot it", words, c.opt.Arch)
	case !k.EFI:
		c.add(id, title, Fail, "use a kernel with CONFIG_EFI_STUB, not in gzip: EKS Anywhere's machines boot by UEFI", "%s is no EFI program", words)
	default:
		c.add(id, title, Pass, "", "%s", words)
	}
	if !k.Signed {
		c.add("kernel.signed", "Secure Boot", Warn, "switch Secure Boot off in the machines, or use a flavor with a signed kernel", "the kernel has no signature")
	}
	return k
}

// initramfs walks the archives to their end; nil if that fails.
func (c *checker) initramfs(ctx context.Context, set *inspect.Set) *inspect.Report {
	const id, title = "initramfs", "initramfs, read to its end"
	if set.Initramfs == nil {
		c.add(id, title, Skip, "", "it could not be had")
		return nil
	}
	r, err := inspect.Inspect(ctx, &inspect.Set{Initramfs: set.Initramfs}, inspect.Options{})
	if err != nil {
		c.add(id, title, Fail, "publish it again, whole: the kernel stops unpacking there, and the machine panics or lacks files", "%v", err)
		return nil
	}
	i := r.Initramfs
	c.add(id, title, Pass, "", "%d segments, %d entries, layout %s", len(i.Segments), i.Entries, i.Layout)
	return r
}

// together compares the kernel with the initramfs.
func (c *checker) together(k *inspect.Kernel, r *inspect.Report) {
	if r == nil {
		return
	}
	if arch := r.Initramfs.Arch; arch != "" && arch != c.opt.Arch {
		c.add("arch", "architecture", Fail, "publish the initramfs for "+c.opt.Arch+" under this name", "the programs in the initramfs are for %s, the machines are %s", arch, c.opt.Arch)
	} else {
		c.add("arch", "architecture", Pass, "", "%s", c.opt.Arch)
	}
	const id, title = "modules", "modules fit the kernel"
	switch {
	case r.Modules == nil:
		c.add(id, title, Warn, "see that every driver is built into the kernel", "there are no modules in the initramfs")
	case k == nil:
		c.add(id, title, Skip, "", "without a kernel there is nothing to compare")
	case !slices.Contains(r.Modules.Releases, k.Release):
		c.add(id, title, Fail, "publish kernel and initramfs of one build: nothing loads, and the network card stays dark", "the kernel is %s, the modules are for %s", k.Release, strings.Join(r.Modules.Releases, ", "))
	case len(r.Modules.Foreign()) > 0:
		m := r.Modules.Foreign()[0]
		c.add(id, title, Fail, "build them for this kernel", "%d modules are for another one, for example %s: %q", len(r.Modules.Foreign()), m.Path, m.Vermagic)
	default:
		c.add(id, title, Pass, "", "%d for %s", len(r.Modules.List), r.Modules.Release)
	}
}

// pieces looks for what a workflow needs, and at the memory that it takes.
func (c *checker) pieces(r *inspect.Report) {
	if r.Init == "" {
		c.add("init", "/init", Fail, "build it with an init; the kernel starts /init of an initramfs", "there is none that can be run")
	} else {
		c.add("init", "/init", Pass, "", "there")
	}
	c.docker(r)
	c.worker(r)
	need := r.Initramfs.RAMMiB
	switch {
	case c.opt.RAMMiB == 0:
		c.add("ram", "memory", Pass, "", "needs %d MiB (%s); give --ram to compare", need, r.Initramfs.RAMFrom)
	case need > c.opt.RAMMiB:
		c.add("ram", "memory", Fail, "embed fewer images, take a smaller flavor, or machines with more", "needs %d MiB (%s), the machines have %d", need, r.Initramfs.RAMFrom, c.opt.RAMMiB)
	default:
		c.add("ram", "memory", Pass, "", "needs %d MiB of %d (%s)", need, c.opt.RAMMiB, r.Initramfs.RAMFrom)
	}
	if len(r.Warnings) > 0 {
		c.add("warnings", "what is odd in the initramfs", Warn, "hooksmith inspect shows where", "%s", strings.Join(r.Warnings, "; "))
	}
}

// docker looks for the daemon in which actions run.
func (c *checker) docker(r *inspect.Report) {
	const id, title = "docker", "Docker"
	for _, f := range r.Files {
		if strings.HasSuffix(f.Path, "bin/dockerd") && f.Mode[0] != 'd' {
			c.add(id, title, Pass, "", "/%s", f.Path)
			return
		}
	}
	c.add(id, title, Fail, "use a flavor with the service hook-docker", "there is no dockerd: no action of a workflow can run")
}

// worker looks for the image that is started first.
func (c *checker) worker(r *inspect.Report) {
	const id, title = "worker", "worker image"
	if c.opt.NoWorker {
		c.add(id, title, Skip, "", "it is pulled from a registry")
		return
	}
	for _, img := range r.Images {
		for _, name := range img.Names {
			if name != c.opt.Worker && !strings.HasPrefix(name, c.opt.Worker+":") {
				continue
			}
			if len(img.Missing) > 0 {
				c.add(id, title, Fail, "build it anew", "%s is there, but %d of its layers are not: Docker ignores it", name, len(img.Missing))
			} else if want := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[c.opt.Arch]; img.Arch != "" && img.Arch != want {
				c.add(id, title, Fail, "embed the image for "+want, "%s is for %s", name, img.Arch)
			} else {
				c.add(id, title, Pass, "", "%s", name)
			}
			return
		}
	}
	c.add(id, title, Fail, "build with --agent IMAGE (and --bundle); without EKS Anywhere: check --for tinkerbell",
		"%s is not embedded (%d images are): EKS Anywhere tells HookOS to start it, and there is no registry to pull it from", c.opt.Worker, len(r.Images))
}

// hashes compares everything with hook.json, and hook.json with its signature.
func (c *checker) hashes(ctx context.Context, files *local) error {
	const id, title = "hashes", "hashes of " + build.ManifestName
	kernelName, initramfsName := c.names()
	opt := verify.Options{Key: c.opt.Key}
	if files.web != nil {
		opt.Skip = func(name string) bool { return files.names[name] == "" }
	}
	r, err := verify.Set(ctx, files, opt)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.opt.Key == nil:
		c.add(id, title, Warn, "publish it too: hooksmith fetch, serve and check compare with it", "there is none, so nothing tells whether the files are the ones that were built")
		return ctx.Err()
	case err != nil:
		c.add(id, title, Fail, "publish the set again, with its "+build.ManifestName+" and signature", "%v", err)
		return ctx.Err()
	}
	c.signature(r)
	var wrong []string
	known := map[string]bool{}
	for _, f := range r.Files {
		known[f.Name] = true
		if f.Err != nil {
			wrong = append(wrong, f.Err.Error())
		}
	}
	switch {
	case len(wrong) > 0:
		c.add(id, title, Fail, "publish the set again: the files are not the ones that were built", "%s", strings.Join(wrong, "; "))
	case files.names[kernelName] == "" || files.names[initramfsName] == "":
		c.add(id, title, Skip, "", "not both files could be had")
	case !known[kernelName] || !known[initramfsName]:
		c.add(id, title, Warn, "publish with hooksmith, which keeps them together", "%s does not know %s and %s: they may be of another build", build.ManifestName, kernelName, initramfsName)
	default:
		c.add(id, title, Pass, "", "set %s", r.ID)
	}
	c.oneBuild(r, kernelName, initramfsName)
	return nil
}

// oneBuild finds a kernel and an initramfs that hook.json ascribes to different builds.
func (c *checker) oneBuild(r *verify.Report, kernelName, initramfsName string) {
	owner := map[string]string{}
	for _, b := range r.Manifest.Builds {
		for _, f := range b.Files {
			for _, name := range append([]string{f.Name}, f.Aliases...) {
				owner[name] = b.OutputID
			}
		}
	}
	if k, i := owner[kernelName], owner[initramfsName]; k != i && k != "" && i != "" {
		c.add("build", "one build", Fail, "publish both of one build", "%s is of %s and %s of %s", kernelName, k, initramfsName, i)
	}
}

func (c *checker) signature(r *verify.Report) {
	const id, title = "signature", "signature"
	if r.Signature == nil {
		c.add(id, title, Skip, "", "not asked for; --key FILE verifies %s", sign.Name)
		return
	}
	c.add(id, title, Pass, "", "by key %s", c.opt.Key.ID())
}
