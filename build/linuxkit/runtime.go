package linuxkit

import specs "github.com/opencontainers/runtime-spec/specs-go"

// runtimeJSON is runtime.json: what the init does around runc. All keys are
// always there (linuxkit.md 1.5).
type runtimeJSON struct {
	Cgroups    []string      `json:"cgroups"`
	Mounts     []specs.Mount `json:"mounts"`
	Mkdir      []string      `json:"mkdir"`
	Interfaces []Interface   `json:"interfaces"`
	BindNS     bindNSJSON    `json:"bindNS"`
	Namespace  string        `json:"namespace"`
}

type bindNSJSON struct {
	Cgroup string `json:"cgroup"`
	Ipc    string `json:"ipc"`
	Mnt    string `json:"mnt"`
	Net    string `json:"net"`
	Pid    string `json:"pid"`
	User   string `json:"user"`
	Uts    string `json:"uts"`
}

// buildRuntime makes runtime.json of a container in dir whose image tree is
// in root, which is another container's if both have the same image.
func buildRuntime(r *Runtime, dir, root string, readonly bool) runtimeJSON {
	return runtimeJSON{
		Cgroups:    orEmpty(r.Cgroups.Value),
		Mounts:     append(rootfsMounts(dir, root, readonly), r.Mounts.Value...),
		Mkdir:      orEmpty(r.Mkdir.Value),
		Interfaces: orEmpty(r.Interfaces.Value),
		BindNS: bindNSJSON{
			Cgroup: r.BindNS.Cgroup.Value, Ipc: r.BindNS.Ipc.Value, Mnt: r.BindNS.Mnt.Value, Net: r.BindNS.Net.Value,
			Pid: r.BindNS.Pid.Value, User: r.BindNS.User.Value, Uts: r.BindNS.Uts.Value,
		},
		Namespace: r.Namespace.Value,
	}
}

// rootfsMounts prepare the rootfs that config.json names: an overlay over the
// tree whose upper directory is a private tmpfs, or a bind of the tree itself.
func rootfsMounts(dir, root string, readonly bool) []specs.Mount {
	rootfs := "/" + dir + "/rootfs"
	if readonly {
		return []specs.Mount{{Destination: rootfs, Source: "/" + root, Options: []string{"bind"}}}
	}
	tmp := "/" + dir + "/tmp"
	return []specs.Mount{
		{Destination: tmp, Type: "tmpfs", Source: "tmpfs"},
		{Destination: tmp, Options: []string{"remount", "private"}},
		{Destination: rootfs, Type: "overlay", Source: "overlay", Options: []string{
			"lowerdir=/" + root, "upperdir=" + tmp + "/upper", "workdir=" + tmp + "/work",
		}},
	}
}

// orEmpty makes JSON of a nil slice [] rather than null.
func orEmpty[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}
