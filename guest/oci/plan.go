package oci

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Step is one thing to do on the host before a container is created. Exactly one of a folder, given by Mkdir, and a
// mount, given by the arguments of mount(2).
type Step struct {
	Mkdir  string
	Source string
	Target string
	Type   string
	Flags  uintptr
	Data   string
}

// String is the step as a person would type it.
func (s Step) String() string {
	if s.Mkdir != "" {
		return "mkdir " + s.Mkdir
	}
	return strings.Join(strings.Fields(fmt.Sprintf("mount -t %s %s %s flags=%#x %s", s.Type, s.Source, s.Target, s.Flags, s.Data)), " ")
}

// Plan lists the steps of runtime.json, in LinuxKit's order: mounts with the folders they need, folders, cgroups.
func (r Runtime) Plan() []Step {
	var steps []Step
	for _, m := range r.Mounts {
		steps = append(steps, m.plan()...)
	}
	for _, dir := range r.Mkdir {
		steps = append(steps, Step{Mkdir: rooted(dir)})
	}
	for _, name := range r.Cgroups {
		steps = append(steps, Step{Mkdir: path.Join("/sys/fs/cgroup", rooted(name))})
	}
	return steps
}

func (m Mount) plan() []Step {
	o := parseOptions(m.Options)
	target := rooted(m.Destination)
	steps := []Step{{Mkdir: target}}
	if m.Type == "overlay" {
		for _, key := range []string{"upperdir", "workdir"} {
			if dir := o.value(key); dir != "" {
				steps = append(steps, Step{Mkdir: rooted(dir)})
			}
		}
	}
	// A remount without anything to change is only LinuxKit's way of saying that the propagation is that of a mount
	// which exists. As a mount of its own it would take its flags away.
	if o.flags != unix.MS_REMOUNT || len(o.propagation) == 0 || len(o.data) > 0 {
		steps = append(steps, mountSteps(m, target, o)...)
	}
	for _, p := range o.propagation {
		steps = append(steps, Step{Target: target, Flags: p})
	}
	return steps
}

// mountSteps is the mount itself. A bind mount ignores other flags, so those take a second call.
func mountSteps(m Mount, target string, o mountOptions) []Step {
	step := Step{Source: m.Source, Target: target, Type: m.Type, Flags: o.flags, Data: strings.Join(o.data, ",")}
	const bind = unix.MS_BIND | unix.MS_REC
	if o.flags&unix.MS_BIND == 0 {
		return []Step{step}
	}
	step.Source, step.Type = rooted(m.Source), ""
	if o.flags&^bind == 0 || o.flags&unix.MS_REMOUNT != 0 {
		return []Step{step}
	}
	again := step
	again.Source, again.Flags = "", (o.flags&^unix.MS_REC)|unix.MS_REMOUNT
	step.Flags = o.flags & bind
	return []Step{step, again}
}

// rooted makes a path of runtime.json absolute. It cannot leave the root.
func rooted(p string) string { return path.Join("/", p) }

// Apply takes the steps. When one fails, the mounts made until then are undone.
func Apply(steps []Step) error {
	for i, s := range steps {
		if err := s.apply(); err != nil {
			Undo(steps[:i])
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (s Step) apply() error {
	if s.Mkdir != "" {
		return os.MkdirAll(s.Mkdir, 0o755)
	}
	return unix.Mount(s.Source, s.Target, s.Type, s.Flags, s.Data)
}

// Undo unmounts what the steps have mounted, last first. Folders stay.
func Undo(steps []Step) {
	const changes = unix.MS_REMOUNT | unix.MS_PRIVATE | unix.MS_SHARED | unix.MS_SLAVE | unix.MS_UNBINDABLE
	for i := len(steps) - 1; i >= 0; i-- {
		if s := steps[i]; s.Mkdir == "" && s.Flags&changes == 0 {
			_ = unix.Unmount(s.Target, unix.MNT_DETACH)
		}
	}
}

// FileSystems are the types of file systems that the host must know to mount for these steps.
func FileSystems(steps []Step) []string {
	var types []string
	for _, s := range steps {
		if s.Type != "" && s.Mkdir == "" {
			types = append(types, s.Type)
		}
	}
	return types
}
