package inspect

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// allCaps is how many capabilities there are (CAP_CHECKPOINT_RESTORE is 40).
const allCaps = 41

// dangerous are the capabilities that are as good as root on the host.
var dangerous = []string{"SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "SYS_BOOT", "DAC_READ_SEARCH", "NET_ADMIN", "BPF", "MKNOD"}

var serviceKinds = []struct{ dir, kind string }{
	{"onboot", "onboot"}, {"services", "service"}, {"onshutdown", "onshutdown"},
}

// services reads the containers of LinuxKit's layout.
func (t *tree) services() []Service {
	out := []Service{}
	for _, k := range serviceKinds {
		prefix := "containers/" + k.dir + "/"
		first, _ := slices.BinarySearch(t.paths, prefix)
		for _, p := range t.paths[first:] {
			rest, ok := strings.CutPrefix(p, prefix)
			if !ok {
				break
			}
			name, file, _ := strings.Cut(rest, "/")
			if file != "config.json" {
				continue
			}
			s, err := parseService(t.content(p))
			if err != nil {
				t.warnings = append(t.warnings, fmt.Sprintf("%s: %v; the container will not start", p, err))
			}
			s.Name, s.Kind, s.Size = name, k.kind, t.sizeBelow(prefix+name)
			out = append(out, s)
		}
	}
	return out
}

// sizeBelow sums the memory of a folder.
func (t *tree) sizeBelow(dir string) (sum int64) {
	first, _ := slices.BinarySearch(t.paths, dir+"/")
	for _, p := range t.paths[first:] {
		if !strings.HasPrefix(p, dir+"/") {
			break
		}
		sum += t.nodes[p].memory()
	}
	return sum
}

// parseService reads an OCI config.json.
func parseService(b []byte) (Service, error) {
	s := Service{Privileges: []string{}, Caps: []string{}, Namespaces: []string{}}
	var c specs.Spec
	if err := json.Unmarshal(b, &c); err != nil {
		return s, err
	}
	if p := c.Process; p != nil {
		s.Command = p.Args
		if p.User.UID != 0 || p.User.GID != 0 {
			s.User = fmt.Sprintf("%d:%d", p.User.UID, p.User.GID)
		}
		if p.Capabilities != nil {
			for _, name := range slices.Concat(p.Capabilities.Bounding, p.Capabilities.Effective) {
				s.Caps = append(s.Caps, strings.TrimPrefix(name, "CAP_"))
			}
			slices.Sort(s.Caps)
			s.Caps = slices.Compact(s.Caps)
		}
	}
	s.ReadOnly = c.Root != nil && c.Root.Readonly
	for _, m := range c.Mounts {
		if m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			s.Binds = append(s.Binds, m.Source+":"+m.Destination)
		}
	}
	if c.Linux != nil {
		for _, ns := range c.Linux.Namespaces {
			if ns.Path == "" {
				s.Namespaces = append(s.Namespaces, string(ns.Type))
			}
		}
		for _, d := range c.Linux.Devices {
			s.Devices = append(s.Devices, d.Path)
		}
	}
	s.Privileges = privileges(&s, &c)
	return s, nil
}

// privileges says in words what the container may do to the host.
func privileges(s *Service, c *specs.Spec) []string {
	out := []string{}
	if len(s.Caps) >= allCaps {
		out = append(out, "all capabilities")
	} else if caps := slices.DeleteFunc(slices.Clone(s.Caps), func(n string) bool { return !slices.Contains(dangerous, n) }); len(caps) > 0 {
		out = append(out, strings.Join(caps, ", "))
	}
	for _, ns := range []struct{ name, words string }{{"network", "host network"}, {"pid", "host processes"}, {"ipc", "host IPC"}} {
		if !slices.Contains(s.Namespaces, ns.name) {
			out = append(out, ns.words)
		}
	}
	if c.Linux != nil && c.Linux.Resources != nil {
		for _, d := range c.Linux.Resources.Devices {
			if d.Allow && d.Major == nil && d.Minor == nil && (d.Type == "a" || d.Type == "") {
				out = append(out, "all devices")
				break
			}
		}
	}
	for _, b := range s.Binds {
		source, _, _ := strings.Cut(b, ":")
		switch {
		case source == "/":
			out = append(out, "the host's whole root")
		case source == "/dev":
			out = append(out, "/dev of the host")
		case path.Base(source) == "docker.sock", source == "/var/run/docker":
			out = append(out, "Docker's socket")
		}
	}
	slices.Sort(out[min(1, len(out)):])
	return slices.Compact(out)
}
