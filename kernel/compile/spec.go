package compile

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"hooksmith/kernel"
	"hooksmith/kernel/source"
)

// dockerfile makes the toolchain.
//
//go:embed Dockerfile
var dockerfile []byte

// script has the steps that run in the workspace.
//
//go:embed kernel.sh
var script []byte

// counter counts what a kernel will compile, without compiling it.
//
//go:embed count.mk
var counter []byte

// layout changes when the image is put together otherwise.
const layout = "1"

// Spec is all that a kernel is made of.
type Spec struct {
	Arch       kernel.Arch
	ConfigName string // generic-6.12.y-x86_64, for people
	Config     []byte // a .config or what savedefconfig makes of one
	Source     source.Source
	Patches    []source.Patch    // in the order in which they are applied
	External   []source.External // in the order in which they are built
	Jobs       int               // of make; 0: the daemon's processors
}

// Tag is the tag of the kernel's image: its version, and eight digits of the
// hash of all that matters. How many jobs compile it does not.
func (s Spec) Tag() string { return s.Source.Version() + "-" + s.hash()[:8] }

// Image is the name of the kernel's image in a repository.
func (s Spec) Image(repository string) (name.Tag, error) {
	tag, err := name.NewTag(repository + ":" + s.Tag())
	if err != nil {
		return tag, fmt.Errorf("the kernel's name: %w", err)
	}
	return tag, nil
}

func (s Spec) hash() string {
	h := sha256.New()
	add := func(name string, data []byte) { fmt.Fprintf(h, "%s %d\n", name, len(data)); _, _ = h.Write(data) }
	add("layout", []byte(layout))
	add("arch", []byte(s.Arch))
	add("config", s.Config)
	add("dockerfile", dockerfile)
	add("script", script)
	add("source", []byte(s.Source.Hash()))
	for _, p := range s.Patches {
		add("patch", p.Data)
	}
	for _, e := range s.External {
		add("external "+e.Name, []byte(e.Hash()))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// validate refuses what no container is needed for to see it.
func (s Spec) validate() error {
	if s.Arch != kernel.X86_64 && s.Arch != kernel.AArch64 {
		_, err := kernel.ParseArch(string(s.Arch))
		return err
	}
	if s.Source == nil {
		return fmt.Errorf("kernel %s: no source", s.ConfigName)
	}
	if len(s.Config) == 0 {
		return fmt.Errorf("kernel configuration %s is empty", s.ConfigName)
	}
	names := map[string]string{}
	for _, e := range s.External {
		if other, twice := names[e.Name]; twice {
			return fmt.Errorf("external modules %s and %s are both called %s: rename one", other, e.Path, e.Name)
		}
		names[e.Name] = e.Path
	}
	return nil
}

// arch is what the kernel's makefiles call the architecture.
func (s Spec) arch() string {
	if s.Arch == kernel.AArch64 {
		return "arm64"
	}
	return "x86_64"
}

// image is the path of what boots, in the kernel's tree.
func (s Spec) image() string {
	if s.Arch == kernel.AArch64 {
		return "arch/arm64/boot/Image"
	}
	return "arch/x86/boot/bzImage"
}

// environment is set for every command in a workspace on a daemon of that
// architecture, as `uname -m` prints it.
func (s Spec) environment(daemon string) []string {
	env := []string{"ARCH=" + s.arch(), "LOCALVERSION="}
	if here, err := kernel.ParseArch(daemon); err == nil && here != s.Arch {
		env = append(env, "CROSS_COMPILE="+string(s.Arch)+"-linux-gnu-")
	}
	return env
}
