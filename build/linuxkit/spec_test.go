package linuxkit

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata: as JSON, and, since key order and
// indentation are part of linuxkit.md 1.4 and 1.5, as bytes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, string(want))
	if got != string(want) {
		t.Errorf("%s: equal as JSON, but the text differs:\n%s", name, got)
	}
}

func TestSection1_4Golden(t *testing.T) {
	tests := []struct {
		file, yaml, label string
	}{
		{"onboot-one", "onboot: [{name: one, image: x, capabilities.add: [CAP_SYS_ADMIN, CAP_NET_ADMIN], binds.add: ['/dev:/dev', '/run:/run']}]",
			`{"capabilities": ["CAP_SYS_ADMIN"], "binds": ["/etc/x:/etc/x:ro"]}`},
		{"every-key", everyKey[:strings.Index(everyKey, "onshutdown:")], ""},
		{"minimal", "services: [{name: one, image: x}]", ""},
		{"readonly", "services: [{name: one, image: x, readonly: true, pid: host, net: none}]", ""},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			rc := one(t, test.yaml, test.label, Options{})
			golden(t, test.file+".config.json", toJSON(t, rc.Spec))
			r := buildRuntime(&rc.Merged.Runtime, rc.Dir(), rc.Dir()+"/lower", rc.Merged.Readonly.Value)
			golden(t, test.file+".runtime.json", toJSON(t, r))
		})
	}
}

// TestSection1_4 has a row for every statement: what the file says and what
// one part of config.json is.
func TestSection1_4(t *testing.T) {
	mount := func(destination string) func(*specs.Spec) any {
		return func(s *specs.Spec) any {
			for _, m := range s.Mounts {
				if m.Destination == destination {
					return m
				}
			}
			return nil
		}
	}
	namespaces := func(s *specs.Spec) any { return s.Linux.Namespaces }
	const newPid = `{"type":"pid"},{"type":"mount"}`
	tests := []struct {
		name, yaml string
		get        func(*specs.Spec) any
		want       string
	}{
		{"version", "", func(s *specs.Spec) any { return s.Version }, `"1.2.1"`},
		{"root", "", func(s *specs.Spec) any { return s.Root }, `{"path":"rootfs"}`},
		{"root, readonly", "readonly: true", func(s *specs.Spec) any { return s.Root }, `{"path":"rootfs","readonly":true}`},
		{"mount /dev", "", mount("/dev"), `{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]}`},
		{"mount /dev, readonly", "readonly: true", mount("/dev"), `{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k","ro"]}`},
		{"mount /dev/pts", "", mount("/dev/pts"), `{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620"]}`},
		{"mount /proc", "", mount("/proc"), `{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","nodev","noexec","relatime"]}`},
		{"mount /sys", "", mount("/sys"), `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev"]}`},
		{"mount /sys, readonly", "readonly: true", mount("/sys"), `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}`},
		{"mount cgroup", "", mount("/sys/fs/cgroup"), `{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["nosuid","noexec","nodev","relatime","ro"]}`},
		{"order of mounts", "binds: ['/z:/b', '/z:/a']", func(s *specs.Spec) any {
			var all []string
			for _, m := range s.Mounts {
				all = append(all, m.Destination)
			}
			return all
		}, `["/a","/b","/dev","/dev/pts","/proc","/sys","/sys/fs/cgroup"]`},
		{"tmpfs", "tmpfs: [/t]", mount("/t"), `{"destination":"/t","type":"tmpfs","source":"tmpfs"}`},
		{"tmpfs with options", "tmpfs: ['/t:ro,size=1m']", mount("/t"), `{"destination":"/t","type":"tmpfs","source":"tmpfs","options":["ro","size=1m"]}`},
		{"bind", "binds: ['/s:/t']", mount("/t"), `{"destination":"/t","type":"bind","source":"/s","options":["rw","rbind","rshared"]}`},
		{"bind with options", "binds: ['/s:/t:ro,nosuid']", mount("/t"), `{"destination":"/t","type":"bind","source":"/s","options":["ro","nosuid","rbind"]}`},
		{"bind over default", "binds: ['/dev:/dev']", mount("/dev"), `{"destination":"/dev","type":"bind","source":"/dev","options":["rw","rbind","rshared"]}`},
		{"bind over tmpfs", "tmpfs: [/t], binds: ['/s:/t']", mount("/t"), `{"destination":"/t","type":"bind","source":"/s","options":["rw","rbind","rshared"]}`},
		{"mount over bind", "binds: ['/s:/t'], mounts: [{type: tmpfs, destination: /t}]", mount("/t"), `{"destination":"/t","type":"tmpfs","source":"tmpfs"}`},
		{"later bind over earlier", "binds: ['/s:/t', '/u:/t']", mount("/t"), `{"destination":"/t","type":"bind","source":"/u","options":["rw","rbind","rshared"]}`},
		{"type from source mqueue", "mounts: [{source: mqueue}]", mount("/dev/mqueue"), `{"destination":"/dev/mqueue","type":"mqueue","source":"mqueue"}`},
		{"type from source devpts", "mounts: [{source: devpts}]", mount("/dev/pts"), `{"destination":"/dev/pts","type":"devpts","source":"devpts"}`},
		{"type from source proc", "mounts: [{source: proc, options: [ro]}]", mount("/proc"), `{"destination":"/proc","type":"proc","source":"proc","options":["ro"]}`},
		{"type from source sysfs", "mounts: [{source: sysfs}]", mount("/sys"), `{"destination":"/sys","type":"sysfs","source":"sysfs"}`},
		{"type from source cgroup", "mounts: [{source: cgroup}]", mount("/sys/fs/cgroup"), `{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup"}`},
		{"type from destination /dev", "mounts: [{destination: /dev}]", mount("/dev"), `{"destination":"/dev","type":"tmpfs","source":"tmpfs"}`},
		{"source from type", "mounts: [{type: ext4, destination: /t}]", mount("/t"), `{"destination":"/t","type":"ext4","source":"ext4"}`},
		{"destination from type", "mounts: [{type: proc, source: x}]", mount("/proc"), `{"destination":"/proc","type":"proc","source":"x"}`},
		{"namespaces", "", namespaces, "[" + newPid + "]"},
		{"all new", "net: new, ipc: new, uts: new, pid: new, userns: new", namespaces,
			`[{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"pid"},{"type":"user"},{"type":"mount"}]`},
		{"net none", "net: none", namespaces, `[{"type":"network"},` + newPid + "]"},
		{"host", "net: host, ipc: host, uts: host, pid: host, userns: host", namespaces, `[{"type":"mount"}]`},
		{"root", "net: root, ipc: root, uts: root, pid: root, userns: root", namespaces, `[{"type":"mount"}]`},
		{"paths", "net: /run/net, pid: /run/pid", namespaces, `[{"type":"network","path":"/run/net"},{"type":"pid","path":"/run/pid"},{"type":"mount"}]`},
		{"capabilities", "capabilities: [CAP_SYS_ADMIN, CAP_CHOWN], ambient: [CAP_KILL]", func(s *specs.Spec) any { return s.Process.Capabilities }, `{
			"bounding":["CAP_CHOWN","CAP_KILL","CAP_SYS_ADMIN"],"effective":["CAP_SYS_ADMIN","CAP_CHOWN"],"ambient":["CAP_KILL"],
			"inheritable":["CAP_CHOWN","CAP_KILL","CAP_SYS_ADMIN"],"permitted":["CAP_CHOWN","CAP_KILL","CAP_SYS_ADMIN"]}`},
		{"no capabilities", "", func(s *specs.Spec) any { return s.Process.Capabilities }, `{}`},
		{"capabilities none", "capabilities: [none]", func(s *specs.Spec) any { return s.Process.Capabilities }, `{}`},
		{"capabilities all", "capabilities: [all]", func(s *specs.Spec) any {
			e := s.Process.Capabilities.Effective
			return []any{len(e), e[0], e[12], e[40]}
		}, `[41,"CAP_CHOWN","CAP_NET_ADMIN","CAP_CHECKPOINT_RESTORE"]`},
		{"user", "", func(s *specs.Spec) any { return s.Process.User }, `{"uid":0,"gid":0}`},
		{"user numbers", "uid: 5, gid: 6, additionalGids: [7, 8]", func(s *specs.Spec) any { return s.Process.User }, `{"uid":5,"gid":6,"additionalGids":[7,8]}`},
		{"user names", "uid: one, gid: root, additionalGids: ['', one]", func(s *specs.Spec) any { return s.Process.User }, `{"uid":100,"gid":0,"additionalGids":[0,100]}`},
		{"rlimits", "rlimits: ['nofile,1024,unlimited', 'CORE,unlimited,0']", func(s *specs.Spec) any { return s.Process.Rlimits },
			`[{"type":"RLIMIT_NOFILE","hard":18446744073709551615,"soft":1024},{"type":"RLIMIT_CORE","hard":0,"soft":18446744073709551615}]`},
		{"device all", "devices: [{path: all, type: a}]", func(s *specs.Spec) any { return []any{s.Linux.Devices, s.Linux.Resources} },
			`[null,{"devices":[{"allow":true,"type":"a","access":"rwm"}]}]`},
		{"device node", "devices: [{path: /dev/tty0, type: c, major: 4, minor: 0, mode: '0620'}]",
			func(s *specs.Spec) any { return []any{s.Linux.Devices, s.Linux.Resources} },
			`[[{"path":"/dev/tty0","type":"c","major":4,"minor":0,"fileMode":400}],{"devices":[{"allow":true,"type":"c","major":4,"minor":0,"access":"rwm"}]}]`},
		{"device rules after those of resources", "resources: {devices: [{allow: false, access: rwm}]}, devices: [{path: all, type: c}]",
			func(s *specs.Spec) any { return s.Linux.Resources },
			`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","access":"rwm"}]}`},
		{"hostname", "hostname: h", func(s *specs.Spec) any { return s.Hostname }, `"h"`},
		{"annotations", "annotations: {a: b}", func(s *specs.Spec) any { return s.Annotations }, `{"a":"b"}`},
		{"sysctl", "sysctl: {a: b}", func(s *specs.Spec) any { return s.Linux.Sysctl }, `{"a":"b"}`},
		{"resources", "resources: {pids: {limit: 5}, memory: {limit: 7}}", func(s *specs.Spec) any { return s.Linux.Resources }, `{"memory":{"limit":7},"pids":{"limit":5}}`},
		{"pids without limit", "resources: {pids: {}}", func(s *specs.Spec) any { return s.Linux.Resources }, `{"pids":{"limit":0}}`},
		{"cgroupsPath", "cgroupsPath: /c", func(s *specs.Spec) any { return s.Linux.CgroupsPath }, `"/c"`},
		{"rootfsPropagation", "rootfsPropagation: shared", func(s *specs.Spec) any { return s.Linux.RootfsPropagation }, `"shared"`},
		{"paths", "maskedPaths: [/m], readonlyPaths: [/r]", func(s *specs.Spec) any { return []any{s.Linux.MaskedPaths, s.Linux.ReadonlyPaths} }, `[["/m"],["/r"]]`},
		{"noNewPrivileges", "noNewPrivileges: true", func(s *specs.Spec) any { return s.Process.NoNewPrivileges }, `true`},
		{"oomScoreAdj", "oomScoreAdj: -800", func(s *specs.Spec) any { return s.Process.OOMScoreAdj }, `-800`},
		{"oomScoreAdj unset", "", func(s *specs.Spec) any { return s.Process.OOMScoreAdj }, `null`},
		{"no seccomp, apparmor, hooks, terminal", "", func(s *specs.Spec) any {
			return []any{s.Linux.Seccomp, s.Process.ApparmorProfile, s.Hooks, s.Process.Terminal}
		}, `[null,"",null,false]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rc := one(t, "onboot: [{name: one, image: x, "+test.yaml+"}]", "", Options{})
			equalJSON(t, toJSON(t, test.get(rc.Spec)), test.want)
		})
	}
}

// Section 9.10: what LinuxKit drops reaches config.json.
func TestSection9_10NothingIsDropped(t *testing.T) {
	rc := one(t, everyKey[:strings.Index(everyKey, "onshutdown:")], "", Options{})
	got := toJSON(t, rc.Spec)
	for _, want := range []string{
		"kernelTCP", "disableOOMKiller", "realtimeRuntime", "realtimePeriod", "leafWeight", "weightDevice", "throttleReadBpsDevice",
		"throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice", "hugepageLimits", "classID",
		`"hostID": 100000`, `"size": 65536`, `"hostID": 2`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestSection1_5Runtime(t *testing.T) {
	full := `{"cgroups": ["/c"], "mounts": [{"type": "tmpfs", "destination": "/x"}], "mkdir": ["/m"], "interfaces": [{"name": "a"}],
		"bindNS": {"net": "/n"}, "namespace": "ns"}`
	tests := []struct{ name, yaml, label, root, want string }{
		{"nothing", "", "", "containers/onboot/000-one/lower", `{
			"cgroups": [], "mkdir": [], "interfaces": [], "namespace": "",
			"bindNS": {"cgroup":"","ipc":"","mnt":"","net":"","pid":"","user":"","uts":""},
			"mounts": [
				{"destination":"/containers/onboot/000-one/tmp","type":"tmpfs","source":"tmpfs"},
				{"destination":"/containers/onboot/000-one/tmp","options":["remount","private"]},
				{"destination":"/containers/onboot/000-one/rootfs","type":"overlay","source":"overlay","options":[
					"lowerdir=/containers/onboot/000-one/lower","upperdir=/containers/onboot/000-one/tmp/upper","workdir=/containers/onboot/000-one/tmp/work"]}]}`},
		{"label, read-only, another's tree", "readonly: true", `{"runtime": ` + full + `}`, "containers/services/two/lower", `{
			"cgroups": ["/c"], "mkdir": ["/m"], "interfaces": [{"name":"a","createInRoot":false}], "namespace": "ns",
			"bindNS": {"cgroup":"","ipc":"","mnt":"","net":"/n","pid":"","user":"","uts":""},
			"mounts": [
				{"destination":"/containers/onboot/000-one/rootfs","source":"/containers/services/two/lower","options":["bind"]},
				{"destination":"/x","type":"tmpfs"}]}`},
		{"file over label, field by field", "readonly: true, runtime: {cgroups: [], mounts: [], mkdir: [/f]}", `{"runtime": ` + full + `}`, "r", `{
			"cgroups": [], "mkdir": ["/f"], "interfaces": [{"name":"a","createInRoot":false}], "namespace": "ns",
			"bindNS": {"cgroup":"","ipc":"","mnt":"","net":"/n","pid":"","user":"","uts":""},
			"mounts": [{"destination":"/containers/onboot/000-one/rootfs","source":"/r","options":["bind"]}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			yaml := "onboot: [{name: one, image: x, env: []}]"
			if test.yaml != "" {
				yaml = "onboot: [{name: one, image: x, " + test.yaml + "}]"
			}
			rc := one(t, yaml, test.label, Options{})
			equalJSON(t, toJSON(t, buildRuntime(&rc.Merged.Runtime, rc.Dir(), test.root, rc.Merged.Readonly.Value)), test.want)
		})
	}
}

func TestSection1_4NoNewlineAtTheEnd(t *testing.T) {
	got := toJSON(t, one(t, "onboot: [{name: one, image: x}]", "", Options{}).Spec)
	if !strings.HasPrefix(got, "{\n    \"ociVersion\": \"1.2.1\",\n    \"process\": {\n        \"user\"") || strings.HasSuffix(got, "\n") {
		t.Error(got)
	}
}

func TestUnusedImageConfig(t *testing.T) {
	img := image(t, v1.Config{User: "5", Cmd: []string{"c"}})
	r, err := Resolve(t.Context(), parse(t, "onboot: [{name: one, image: x}]"), images{"docker.io/library/x:latest": img}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, toJSON(t, r.Containers[0].Spec.Process), `{"user":{"uid":0,"gid":0},"args":["c"],"cwd":"/","capabilities":{}}`)
}
