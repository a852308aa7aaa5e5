package linuxkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultMounts are what every container has unless it says otherwise.
func defaultMounts(readonly bool) []specs.Mount {
	dev := []string{"nosuid", "strictatime", "mode=755", "size=65536k"}
	sys := []string{"nosuid", "noexec", "nodev"}
	if readonly {
		dev, sys = append(dev, "ro"), append(sys, "ro")
	}
	return []specs.Mount{
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: dev},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec", "relatime"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// parseTmpfs reads `dest[:opt,opt]`.
func parseTmpfs(s string) (specs.Mount, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 2 {
		return specs.Mount{}, fmt.Errorf("%.80q: a tmpfs is destination[:options], this has %d parts", s, len(parts))
	}
	if parts[0] == "" {
		return specs.Mount{}, fmt.Errorf("%.80q: a tmpfs needs a destination", s)
	}
	m := specs.Mount{Destination: parts[0], Type: "tmpfs", Source: "tmpfs"}
	if len(parts) == 2 {
		m.Options = strings.Split(parts[1], ",")
	}
	return m, nil
}

func checkTmpfs(s string) error {
	_, err := parseTmpfs(s)
	return err
}

// parseBind reads `source:destination[:options]`. The source is as written:
// a path or the name of a volume.
func parseBind(s string) (specs.Mount, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return specs.Mount{}, fmt.Errorf("%.80q: a bind is source:destination[:options], this has %d part%s", s, len(parts), plural(len(parts)))
	}
	if parts[0] == "" || parts[1] == "" {
		return specs.Mount{}, fmt.Errorf("%.80q: a bind needs a source and a destination", s)
	}
	m := specs.Mount{Destination: parts[1], Type: "bind", Source: parts[0], Options: []string{"rw", "rbind", "rshared"}}
	if len(parts) == 3 {
		m.Options = append(strings.Split(parts[2], ","), "rbind")
	}
	return m, nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func checkBind(s string) error {
	_, err := parseBind(s)
	return err
}

// usualDestination is where a file system of a type is mounted if nothing is said.
var usualDestination = map[string]string{
	"proc": "/proc", "devpts": "/dev/pts", "sysfs": "/sys", "cgroup": "/sys/fs/cgroup", "mqueue": "/dev/mqueue",
}

// completeMount infers what an element of `mounts` leaves out.
func completeMount(m specs.Mount) (specs.Mount, error) {
	if m.Type == "" {
		if _, ok := usualDestination[m.Source]; ok {
			m.Type = m.Source
		} else if m.Destination == "/dev" {
			m.Type = "tmpfs"
		} else {
			return m, fmt.Errorf("the mount at %.80q has no type", m.Destination)
		}
	}
	if m.Source == "" {
		m.Source = m.Type
	}
	if m.Destination == "" {
		m.Destination = usualDestination[m.Type]
	}
	if m.Destination == "" {
		return m, fmt.Errorf("the %.40s mount of %.80q has no destination", m.Type, m.Source)
	}
	return m, nil
}

// volumeSource returns the path that the source of a bind mount means: names
// that are no path are volumes.
func (n names) volumeSource(source string, options []string) (string, error) {
	if strings.HasPrefix(source, "/") {
		return source, nil
	}
	v, ok := n.volumes[source]
	if !ok {
		return "", fmt.Errorf("no volume %.80q%s (a source that is no volume must begin with /)", source, didYouMean(source, known(n.volumes)))
	}
	if v.Readonly.Value && !slices.Contains(options, "ro") {
		return "", fmt.Errorf("volume %q is read-only: add the option ro", source)
	}
	return v.merged(), nil
}

// bind reads a bind and resolves its volume.
func (n names) bind(s string) (specs.Mount, error) {
	m, err := parseBind(s)
	if err != nil {
		return m, err
	}
	m.Source, err = n.volumeSource(m.Source, m.Options)
	return m, err
}

// isVolumeMount reports whether the source of an element of `mounts` is meant
// as a volume's name.
func isVolumeMount(m specs.Mount) bool {
	return m.Type == "bind" && !strings.HasPrefix(m.Source, "/")
}

// mount resolves the volume of an element of `mounts`.
func (n names) mount(m specs.Mount) (specs.Mount, error) {
	if !isVolumeMount(m) {
		return m, nil
	}
	source, err := n.volumeSource(m.Source, m.Options)
	m.Source = source
	return m, err
}

// mounts returns all mounts of a container sorted by destination. For one
// destination the last wins: defaults, tmpfs, binds, mounts.
func (n names) mounts(s *Settings, opts Options) ([]specs.Mount, error) {
	var all []specs.Mount
	var errs []error
	add := func(m specs.Mount, err error) {
		all, errs = append(all, m), append(errs, err)
	}
	for _, m := range defaultMounts(s.Readonly.Value) {
		add(m, nil)
	}
	for _, tmpfs := range s.Tmpfs.Value {
		add(parseTmpfs(tmpfs))
	}
	for _, bind := range s.Binds.Value {
		add(n.bind(bind))
	}
	for _, m := range s.Mounts.Value {
		resolved, err := n.mount(m)
		if opts.Compat {
			resolved = m // LinuxKit checks the volume and forgets its path
		}
		add(resolved, err)
	}
	byDestination := map[string]specs.Mount{}
	for _, m := range all {
		byDestination[m.Destination] = m
	}
	sorted := make([]specs.Mount, 0, len(byDestination))
	for _, destination := range known(byDestination) {
		sorted = append(sorted, byDestination[destination])
	}
	return sorted, errors.Join(errs...)
}
