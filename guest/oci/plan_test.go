package oci

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPlan(t *testing.T) {
	tests := []struct {
		name    string
		runtime Runtime
		want    []Step
	}{
		{"nothing", Runtime{}, nil},
		{
			"writable, as LinuxKit writes it",
			Runtime{Mounts: []Mount{
				{Destination: "containers/services/x/tmp", Type: "tmpfs", Source: "tmpfs"},
				{Destination: "containers/services/x/tmp", Options: []string{"remount", "private"}},
				{Destination: "containers/services/x/rootfs", Type: "overlay", Source: "overlay", Options: []string{
					"lowerdir=/containers/services/x/lower", "upperdir=/containers/services/x/tmp/upper", "workdir=/containers/services/x/tmp/work",
				}},
			}},
			[]Step{
				{Mkdir: "/containers/services/x/tmp"},
				{Source: "tmpfs", Target: "/containers/services/x/tmp", Type: "tmpfs"},
				{Mkdir: "/containers/services/x/tmp"},
				{Target: "/containers/services/x/tmp", Flags: unix.MS_PRIVATE},
				{Mkdir: "/containers/services/x/rootfs"},
				{Mkdir: "/containers/services/x/tmp/upper"},
				{Mkdir: "/containers/services/x/tmp/work"},
				{Source: "overlay", Target: "/containers/services/x/rootfs", Type: "overlay",
					Data: "lowerdir=/containers/services/x/lower,upperdir=/containers/services/x/tmp/upper,workdir=/containers/services/x/tmp/work"},
			},
		},
		{
			"readonly",
			Runtime{Mounts: []Mount{{Destination: "containers/onboot/000-x/rootfs", Source: "/containers/onboot/001-y/lower", Options: []string{"bind"}}}},
			[]Step{
				{Mkdir: "/containers/onboot/000-x/rootfs"},
				{Source: "/containers/onboot/001-y/lower", Target: "/containers/onboot/000-x/rootfs", Flags: unix.MS_BIND},
			},
		},
		{
			"bind with flags, propagation",
			Runtime{Mounts: []Mount{{Destination: "/a", Type: "bind", Source: "b", Options: []string{"rbind", "ro", "rshared"}}}},
			[]Step{
				{Mkdir: "/a"},
				{Source: "/b", Target: "/a", Flags: unix.MS_BIND | unix.MS_REC},
				{Target: "/a", Flags: unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, Source: ""},
				{Target: "/a", Flags: unix.MS_SHARED | unix.MS_REC},
			},
		},
		{
			"remount with a size, cleared flag",
			Runtime{Mounts: []Mount{{Destination: "/a", Options: []string{"remount", "ro", "rw", "size=1m", ""}}}},
			[]Step{{Mkdir: "/a"}, {Target: "/a", Flags: unix.MS_REMOUNT, Data: "size=1m"}},
		},
		{
			"folders and cgroups stay inside",
			Runtime{Mkdir: []string{"var/run/docker", "/../etc/../x"}, Cgroups: []string{"podruntime", "../../etc"}},
			[]Step{{Mkdir: "/var/run/docker"}, {Mkdir: "/x"}, {Mkdir: "/sys/fs/cgroup/podruntime"}, {Mkdir: "/sys/fs/cgroup/etc"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.runtime.Plan(); !reflect.DeepEqual(got, test.want) {
				t.Errorf("plan:\n%s\nwant:\n%s", list(got), list(test.want))
			}
		})
	}
	steps := tests[1].runtime.Plan()
	if got := FileSystems(steps); !slices.Equal(got, []string{"tmpfs", "overlay"}) {
		t.Errorf("FileSystems = %q", got)
	}
}

func list(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

func TestLoadAndList(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("001-b/config.json", `{"ociVersion":"1.2.1","annotations":{"hooksmith.restart":"always"}}`)
	write("001-b/runtime.json", `{"cgroups":[],"mounts":[],"mkdir":["x"],"interfaces":[{"name":"eth0","add":"veth","peer":"p","createInRoot":false}],`+
		`"bindNS":{"cgroup":"","ipc":"","mnt":"","net":"/run/netns/b","pid":"","user":"","uts":""},"namespace":""}`)
	write("000-a/config.json", `{}`)
	write("002-broken/config.json", `{"annotations":3}`)
	write("003-large/config.json", `{"x":"`+strings.Repeat("y", maxJSON)+`"}`)
	write("README", "not a container")

	names, err := List(root)
	if err != nil || !slices.Equal(names, []string{"000-a", "001-b", "002-broken", "003-large"}) {
		t.Errorf("List = %q, %v", names, err)
	}
	if names, err := List(filepath.Join(root, "absent")); names != nil || err != nil {
		t.Errorf("List of nothing = %q, %v", names, err)
	}
	b, err := Load(filepath.Join(root, "001-b"))
	want := Runtime{Cgroups: []string{}, Mounts: []Mount{}, Mkdir: []string{"x"}, Interfaces: []Interface{{"eth0", "veth", "p", false}}, BindNS: Namespaces{Net: "/run/netns/b"}}
	if err != nil || !reflect.DeepEqual(b.Runtime, want) || b.Config.Annotations["hooksmith.restart"] != "always" || b.Name != "001-b" {
		t.Errorf("Load = %+v, %v", b, err)
	}
	if !b.Runtime.betweenCreateAndStart() {
		t.Error("a kept namespace needs create and start apart")
	}
	if b, err := Load(filepath.Join(root, "000-a")); err != nil || b.Runtime.betweenCreateAndStart() {
		t.Errorf("Load without runtime.json = %+v, %v", b, err)
	}
	for _, name := range []string{"002-broken", "003-large"} {
		if _, err := Load(filepath.Join(root, name)); err == nil || !strings.Contains(err.Error(), name+"/config.json") {
			t.Errorf("Load(%s): %v", name, err)
		}
	}
	if _, err := Load(filepath.Join(root, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of nothing: %v", err)
	}
}

func TestReason(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	text := `{"level":"warning","msg":"w"}` + "\n" + `{"level":"error","msg":"runc create failed: no such file\n"}` + "\n" + `{"level":"debug","msg":"d"}` + "\nnot json"
	if err := os.WriteFile(log, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := reason(log); err == nil || err.Error() != "runc create failed: no such file" {
		t.Errorf("reason = %v", err)
	}
	if err := reason(log + ".absent"); err != nil {
		t.Errorf("reason without a log = %v", err)
	}
}
