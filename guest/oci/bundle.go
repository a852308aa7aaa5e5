package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// maxJSON bounds config.json and runtime.json.
const maxJSON = 4 << 20

// Bundle is one container on disk.
type Bundle struct {
	Name    string // of its folder: "hook-docker", "000-sysctl"
	Dir     string
	Runtime Runtime
	Config  Config
}

// Config is what init itself needs of config.json; runc reads all of it.
type Config struct {
	Annotations map[string]string `json:"annotations"`
}

// Runtime is runtime.json. Paths are relative to the root of the host whether they begin with a slash or not.
type Runtime struct {
	Cgroups    []string    `json:"cgroups"`
	Mounts     []Mount     `json:"mounts"`
	Mkdir      []string    `json:"mkdir"`
	Interfaces []Interface `json:"interfaces"`
	BindNS     Namespaces  `json:"bindNS"`
	// Namespace is one of containerd; runc has none.
	Namespace string `json:"namespace"`
}

// Mount is a mount to make on the host before the container is created.
type Mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

// Interface is a network interface to make for the container, or to move into it when Add is empty.
type Interface struct {
	Name         string `json:"name"`
	Add          string `json:"add"`          // kind of link: "veth", "dummy", "wireguard"
	Peer         string `json:"peer"`         // other end of a veth, which stays outside; implies Add
	CreateInRoot bool   `json:"createInRoot"` // make it outside and move it then, as wireguard needs
}

// Namespaces are the paths at which the container's namespaces are to stay.
type Namespaces struct {
	Cgroup string `json:"cgroup"`
	Ipc    string `json:"ipc"`
	Mnt    string `json:"mnt"`
	Net    string `json:"net"`
	Pid    string `json:"pid"`
	User   string `json:"user"`
	Uts    string `json:"uts"`
}

// paths gives the wanted path of each namespace by its name in /proc/PID/ns, in a fixed order, without empty ones.
func (n Namespaces) paths() []struct{ name, path string } {
	all := []struct{ name, path string }{
		{"cgroup", n.Cgroup}, {"ipc", n.Ipc}, {"mnt", n.Mnt}, {"net", n.Net}, {"pid", n.Pid}, {"user", n.User}, {"uts", n.Uts},
	}
	kept := all[:0]
	for _, each := range all {
		if each.path != "" {
			kept = append(kept, each)
		}
	}
	return kept
}

// betweenCreateAndStart says whether something has to happen while the container exists but does not run yet.
func (r Runtime) betweenCreateAndStart() bool {
	return len(r.Interfaces) > 0 || len(r.BindNS.paths()) > 0
}

// List names the bundles in dir ("/containers/onboot") in the order in which onboot containers run. A folder that does
// not exist holds none.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Load reads the container in dir. A missing runtime.json asks for nothing.
func Load(dir string) (Bundle, error) {
	b := Bundle{Name: filepath.Base(dir), Dir: dir}
	if err := readJSON(filepath.Join(dir, "config.json"), &b.Config); err != nil {
		return b, err
	}
	err := readJSON(filepath.Join(dir, "runtime.json"), &b.Runtime)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	return b, nil
}

func readJSON(file string, into any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return err
	}
	if len(text) > maxJSON {
		return fmt.Errorf("reading %s: larger than %d bytes", file, maxJSON)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}
