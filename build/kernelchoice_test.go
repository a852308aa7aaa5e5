package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

// compiled is a kernel image as hooksmith makes it, of a configuration with
// this hash; year is when it says that it was made.
func compiled(t testing.TB, sum string, year int) v1.Image {
	t.Helper()
	file := must(kernelImage(t).ConfigFile()).DeepCopy()
	file.Config.Labels = map[string]string{kernel.LabelConfig: "generic-6.12.y-x86_64", kernel.LabelConfigSHA256: sum}
	file.Created = v1.Time{Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
	return must(mutate.ConfigFile(kernelImage(t), file))
}

// TestChooseBuild: of several builds of one release, the one that fits best,
// and a warning where nobody can tell or where it is an old one.
func TestChooseBuild(t *testing.T) {
	const base, several, stale, limit = DefaultKernelBase, "several kernels of one release fit", "from another configuration than generic-6.12.y-x86_64 is now", "not all kernels of this release"
	many := imageMap{base + ":6.12.48-z": compiled(t, "now", 2000), base + ":6.12.47-z": compiled(t, "now", 2000)}
	for i := range maxCandidates + 1 {
		many[fmt.Sprintf("%s:6.12.48-a%02d", base, i)] = compiled(t, "then", 2000)
	}
	foreign := imageMap{base + ":6.12.1-0": compiled(t, "now", 2000)}
	for i := range maxCandidates {
		foreign[fmt.Sprintf("%s:6.12.48-a%02d", base, i)] = configured(t, "vm-6.12.y-x86_64")
	}
	local := func(tag, sum string, minute int) images.Local {
		l := images.Local{Tag: tag, Labels: map[string]string{kernel.LabelConfig: "generic-6.12.y-x86_64", kernel.LabelConfigSHA256: sum}}
		if minute > 0 {
			l.Tagged = time.Unix(1e9, 0).Add(time.Duration(minute) * time.Minute)
		}
		return l
	}
	for _, tt := range []struct {
		name     string
		registry imageMap
		local    []images.Local
		unknown  bool // what the flavor's configuration is now
		want     string
		warnings []string
		err      string
	}{
		{name: "published, of the configuration as it is now", want: "6.12.48-bbbb",
			registry: imageMap{base + ":6.12.48-aaaa": compiled(t, "then", 2000), base + ":6.12.48-bbbb": compiled(t, "now", 2000), base + ":6.12.47-cccc": compiled(t, "now", 2000)}},
		{name: "published, all older", want: "6.12.48-aaaa", warnings: []string{several, "6.12.48-bbbb", stale, "hooksmith kernel mine"},
			registry: imageMap{base + ":6.12.48-aaaa": compiled(t, "then", 2000), base + ":6.12.48-bbbb": compiled(t, "long ago", 2000)}},
		{name: "published, with another patch", want: "6.12.48-aaaa", warnings: []string{several, "6.12.48-bbbb", "--kernel IMAGE"},
			registry: imageMap{base + ":6.12.48-aaaa": compiled(t, "now", 2000), base + ":6.12.48-bbbb": compiled(t, "now", 2000)}},
		{name: "published by upstream, which tells the time", want: "6.12.48-bbbb",
			registry: imageMap{base + ":6.12.48-aaaa": compiled(t, "", 2024), base + ":6.12.48-bbbb": compiled(t, "", 2025), base + ":6.12.48-cccc": compiled(t, "", 2023)}},
		{name: "published, nothing is known", unknown: true, want: "6.12.48-aaaa", warnings: []string{several},
			registry: imageMap{base + ":6.12.48-aaaa": compiled(t, "then", 2000), base + ":6.12.48-bbbb": compiled(t, "now", 2000)}},
		{name: "published, too many of one release", registry: many, want: "6.12.48-a00", warnings: []string{limit, several, stale}},
		{name: "published, too many that do not fit", registry: foreign, err: "the 1 tags of 6.12 after these were not looked into"},
		{name: "the daemon's last", local: []images.Local{local("6.12.48-a", "now", 1), local("6.12.48-b", "now", 2)}, want: "6.12.48-b"},
		{name: "the daemon's last, of --kconfig", local: []images.Local{local("6.12.48-a", "now", 1), local("6.12.48-b", "mine", 2)}, want: "6.12.48-b", warnings: []string{stale}},
		{name: "the daemon's, after kernel-config", local: []images.Local{local("6.12.48-a", "then", 1)}, want: "6.12.48-a", warnings: []string{stale, "hooksmith kernel mine"}},
		{name: "the daemon's, under another name", want: "6.12.48-a", local: []images.Local{
			{Tag: "6.12.48-a", Labels: map[string]string{kernel.LabelConfig: "copied-6.12.y-x86_64", kernel.LabelConfigSHA256: "now"}},
			{Tag: "6.12.48-b", Labels: map[string]string{kernel.LabelConfig: "copied-6.12.y-x86_64", kernel.LabelConfigSHA256: "then"}}}},
		{name: "the daemon's, loaded", local: []images.Local{local("6.12.48-a", "then", 0), local("6.12.48-b", "now", 0)}, want: "6.12.48-b"},
		{name: "the daemon's, loaded, both older", local: []images.Local{local("6.12.48-a", "then", 0), local("6.12.48-b", "long ago", 0)}, want: "6.12.48-a", warnings: []string{several, stale}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			p := &Plan{vars: map[string]string{}, arch: kernel.X86_64, opt: fileOptions(t)}
			p.opt.Log = slog.New(slog.NewTextHandler(&log, nil))
			p.opt.Images = withDaemon{tt.registry, tt.local, nil}
			p.opt.Flavor = Flavor{ID: "mine", Arch: "x86_64", Kernel: KernelSpec{Version: "6.12", Config: "generic", ConfigSHA256: "now"}}
			if tt.unknown {
				p.opt.Flavor.Kernel.ConfigSHA256 = ""
			}
			err := p.nameKernel(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v lacks %q", err, tt.err)
				}
				return
			}
			if got := p.vars["HOOK_KERNEL_IMAGE"]; err != nil || got != base+":"+tt.want {
				t.Errorf("%s, %v", got, err)
			}
			for _, warning := range []string{several, stale, limit} {
				if strings.Contains(log.String(), warning) != slices.Contains(tt.warnings, warning) {
					t.Errorf("warning %q: %s", warning, log.String())
				}
			}
			for _, want := range tt.warnings {
				if !strings.Contains(log.String(), want) {
					t.Errorf("%q lacks %q", log.String(), want)
				}
			}
		})
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
