package build

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hooksmith/build/images"
	"hooksmith/kernel"
)

// withDaemon is a source of images that knows a daemon's too.
type withDaemon struct {
	imageMap
	local []images.Local
	err   error
}

func (w withDaemon) Local(context.Context, string) ([]images.Local, error) { return w.local, w.err }

// configured is a kernel image with the label of its configuration.
func configured(t testing.TB, config string) v1.Image {
	t.Helper()
	file := must(kernelImage(t).ConfigFile()).DeepCopy()
	file.Config.Labels = map[string]string{kernel.LabelConfig: config}
	return must(mutate.ConfigFile(kernelImage(t), file))
}

func TestChooseKernel(t *testing.T) {
	const base = DefaultKernelBase
	local := func(tag, config string, minute int) images.Local {
		return images.Local{Tag: tag, Labels: map[string]string{kernel.LabelConfig: config}, Tagged: time.Unix(1e9, 0).Add(time.Duration(minute) * time.Minute)}
	}
	registry := imageMap{
		base + ":6.12.40-aaaaaaaa": kernelImage(t), base + ":6.12.9-bbbbbbbb": kernelImage(t),
		base + ":6.12.60-cccccccc": configured(t, "vm-6.12.y-x86_64"), base + ":6.6.99-dddddddd": kernelImage(t),
	}
	generic, vm := KernelSpec{Version: "6.12", Config: "generic"}, KernelSpec{Version: "6.12", Config: "vm"}
	for _, tt := range []struct {
		name  string
		spec  KernelSpec
		local []images.Local
		noone error // no daemon
		vars  map[string]string
		want  string // tag
		errs  []string
	}{
		{name: "the daemon's comes first", spec: generic, local: []images.Local{local("6.12.5-11111111", "generic-6.12.y-x86_64", 0)}, want: "6.12.5-11111111"},
		{name: "the highest release, as numbers", spec: generic, local: []images.Local{local("6.12.9-1", "generic", 9), local("6.12.10-2", "generic", 1)}, want: "6.12.10-2"},
		{name: "of one release the last", spec: generic, local: []images.Local{local("6.12.5-f", "generic", 1), local("6.12.5-a", "generic", 2), local("6.12.5-b", "generic", 0)}, want: "6.12.5-a"},
		{name: "of its configuration", spec: generic, local: []images.Local{local("6.12.70-1", "vm-6.12.y-x86_64", 1)}, want: "6.12.40-aaaaaaaa"},
		{name: "no label is generic", spec: generic, local: []images.Local{{Tag: "6.12.1-1"}}, want: "6.12.1-1"},
		{name: "of its version", spec: generic, local: []images.Local{local("6.6.99-1", "generic", 1), local("latest", "generic", 1), local("6.120.1-1", "generic", 1)}, want: "6.12.40-aaaaaaaa"},
		{name: "no daemon", spec: generic, noone: errors.New("no daemon runs"), want: "6.12.40-aaaaaaaa"},
		{name: "vm in the registry", spec: vm, noone: errors.New("no daemon runs"), want: "6.12.60-cccccccc"},
		{name: "latest is the registry's", spec: generic, local: []images.Local{local("6.12.90-1", "generic", 1)}, vars: map[string]string{LatestKernel: "latest"}, want: "6.12.40-aaaaaaaa"},
		{name: "point release", spec: generic, vars: map[string]string{"KERNEL_POINT_RELEASE": "6.12.9"}, want: "6.12.9-bbbbbbbb"},
		{name: "point release as a number", spec: generic, local: []images.Local{local("6.12.9-1", "generic", 0), local("6.12.10-1", "generic", 0)}, vars: map[string]string{"KERNEL_POINT_RELEASE": "9"}, want: "6.12.9-1"},
		{name: "nowhere", spec: KernelSpec{Version: "5.4", Config: "generic"}, noone: errors.New("no daemon runs"), errs: []string{"kernel 5.4 generic", base, "hooksmith kernel mine", "--kernel", "no daemon runs"}},
		{name: "only others", spec: KernelSpec{Version: "6.6", Config: "vm"}, errs: []string{"6.6.99-dddddddd", "its configuration is generic, need vm", "hooksmith kernel mine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plan{vars: map[string]string{}, arch: kernel.X86_64}
			for k, v := range tt.vars {
				p.vars[k] = v
			}
			p.opt = fileOptions(t)
			p.opt.Log = discard
			p.opt.Images = withDaemon{registry, tt.local, tt.noone}
			p.opt.Flavor = Flavor{ID: "mine", Arch: "x86_64", Kernel: tt.spec}
			err := p.nameKernel(t.Context())
			if tt.errs != nil {
				for _, want := range tt.errs {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v lacks %q", err, want)
					}
				}
				return
			}
			version, _, _ := strings.Cut(tt.want, "-")
			if err != nil || p.vars["HOOK_KERNEL_IMAGE"] != base+":"+tt.want || p.vars["HOOK_KERNEL_VERSION"] != version {
				t.Errorf("%v, %v, want %s", p.vars, err, tt.want)
			}
			if len(p.inputs) != 1 || p.inputs[0].Version != base+":"+tt.want {
				t.Errorf("the lock file would have %v", p.inputs)
			}
		})
	}
}

func TestRefVersion(t *testing.T) {
	for ref, want := range map[string]string{
		"ghcr.io/x/hook-kernel:6.12.48-0123abcd": "6.12.48", "localhost:5000/k:5.10-x": "5.10", "localhost:5000/k": "", "k@sha256:0123": "",
		"k:latest": "", "k:6.6.1@sha256:0123": "6.6.1", "": "", "k:": "",
	} {
		if got := refVersion(ref); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
}

// FuzzKernelTags: only tags of the version come out, sorted.
func FuzzKernelTags(f *testing.F) {
	f.Add("6.12.48-aaaa\n6.12.9-b\nlatest\n6.12", "6.12")
	f.Fuzz(func(t *testing.T, list, version string) {
		refVersion(list)
		for _, tag := range newestFirst(strings.Split(list, "\n"), version) {
			if release(tag) != version && !strings.HasPrefix(tag, version+".") {
				t.Errorf("%q for %q", tag, version)
			}
		}
	})
}
