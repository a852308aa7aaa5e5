package linuxkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Every key of the schema once: nothing is unknown, nothing is lost.
const everyKey = `
kernel: {image: k:1, cmdline: console=ttyS0, binary: bzImage, tar: modules.tar, ucode: intel.cpio}
init: [init:1, runc:1]
onboot:
  - name: one
    image: one:1
    capabilities: [CAP_SYS_ADMIN]
    capabilities.add: [CAP_NET_ADMIN]
    ambient: [CAP_NET_RAW]
    mounts:
      - {type: tmpfs, destination: /t, source: tmpfs, options: [ro], uidMappings: [{containerID: 1, hostID: 2, size: 3}], gidmappings: []}
    binds: ["/a:/a"]
    binds.add: ["/b:/b"]
    devices:
      - {path: all, type: a}
      - {path: /dev/x, type: c, major: 1, minor: 2, mode: "0600"}
    tmpfs: ["/run:size=1m"]
    command: [/bin/x, "1"]
    env: [A=b]
    cwd: /w
    net: new
    pid: host
    ipc: /run/ipc
    uts: new
    userns: host
    hostname: h
    readonly: true
    maskedPaths: [/proc/kcore]
    readonlyPaths: [/proc/sys]
    uid: 7
    gid: one
    additionalGids: [1, root, one]
    noNewPrivileges: true
    oomScoreAdj: -800
    rootfsPropagation: shared
    cgroupsPath: /systemd
    resources:
      devices: [{allow: false, type: c, major: 1, minor: 2, access: rw}]
      memory: {limit: 1, reservation: 2, swap: 3, kernel: 4, kernelTCP: 5, swappiness: 6, disableOOMKiller: true, useHierarchy: true, checkBeforeUpdate: true}
      cpu: {shares: 1, quota: -1, burst: 2, period: 3, realtimeRuntime: 4, realtimePeriod: 5, cpus: "0-1", mems: "0", idle: 1}
      pids: {limit: 100}
      blockio:
        weight: 10
        leafWeight: 11
        weightDevice: [{major: 8, minor: 0, weight: 12, leafWeight: 13}]
        throttleReadBpsDevice: [{major: 8, minor: 0, rate: 1}]
        throttleWriteBpsDevice: [{major: 8, minor: 0, rate: 2}]
        throttleReadIOPSDevice: [{major: 8, minor: 0, rate: 3}]
        throttleWriteIOPSDevice: [{major: 8, minor: 0, rate: 4}]
      hugepageLimits: [{pageSize: 2MB, limit: 9}]
      network: {classID: 1, priorities: [{name: eth0, priority: 2}]}
    sysctl: {net.ipv4.ip_forward: "1"}
    rlimits: ["nofile,1024,unlimited"]
    uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
    gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
    annotations: {a.b/c: d}
    runtime:
      cgroups: [/c]
      mounts: [{type: bind, source: /s, destination: /d, options: [bind]}]
      mkdir: [/m]
      interfaces: [{name: wg0, add: wireguard, peer: p, createInRoot: true}]
      bindNS: {cgroup: /1, ipc: /2, mnt: /3, net: /4, pid: /5, user: /6, uts: /7}
      namespace: ns
onshutdown: [{name: two, image: two:1}]
services: [{name: three, image: three:1}]
files:
  - {path: etc/a, contents: "", mode: "0644", uid: 1, gid: three, optional: false}
  - {path: etc/b, source: b.txt, optional: true}
  - {path: etc/c, metadata: yaml}
  - {path: etc/d, symlink: c}
  - {path: etc/e, directory: true}
volumes: [{name: v_1-x, image: v:1, readonly: true, format: oci, platforms: [linux/amd64]}]
trust: {image: [a], org: [b]}
`

func TestSection1_2EveryKeyIsAccepted(t *testing.T) {
	cfg := parse(t, everyKey)
	c := cfg.Onboot[0]
	settings := []bool{
		c.Capabilities.Set, c.CapabilitiesAdd.Set, c.Ambient.Set, c.Mounts.Set, c.Binds.Set, c.BindsAdd.Set, c.Devices.Set,
		c.Tmpfs.Set, c.Command.Set, c.Env.Set, c.Cwd.Set, c.Net.Set, c.Pid.Set, c.Ipc.Set, c.Uts.Set, c.Userns.Set, c.Hostname.Set,
		c.Readonly.Set, c.MaskedPaths.Set, c.ReadonlyPaths.Set, c.UID.Set, c.GID.Set, c.AdditionalGids.Set, c.NoNewPrivileges.Set,
		c.OOMScoreAdj.Set, c.RootfsPropagation.Set, c.CgroupsPath.Set, c.Resources.Set, c.Sysctl.Set, c.Rlimits.Set,
		c.UIDMappings.Set, c.GIDMappings.Set, c.Annotations.Set, c.Runtime.Cgroups.Set, c.Runtime.Mounts.Set, c.Runtime.Mkdir.Set,
		c.Runtime.Interfaces.Set, c.Runtime.BindNS.Uts.Set, c.Runtime.Namespace.Set,
	}
	if slices.Contains(settings, false) {
		t.Errorf("a key is lost: %v", settings)
	}
	if len(cfg.Init) != 2 || len(cfg.Files) != 5 || len(cfg.Volumes) != 1 || cfg.Kernel.UCode.Value != "intel.cpio" {
		t.Errorf("%+v", cfg)
	}
	if got := c.Binds.at(0); got.Line != 12 {
		t.Errorf("place of a bind: %v", got)
	}
}

// TestSection1_2Errors has a row for every rule of the schema, with the whole
// message: place, item, key, reason.
func TestSection1_2Errors(t *testing.T) {
	const service = "services:\n  - name: docker\n    image: a:1\n    "
	in := `hook.yaml:4:5: services[0] "docker": `
	tests := []struct{ name, yaml, want string }{
		// Unknown keys at every level.
		{"top", "servces: []", `hook.yaml:1:1: unknown key "servces"; did you mean "services"?`},
		{"kernel", "kernel:\n  imgae: a", `hook.yaml:2:3: kernel: unknown key "imgae"; did you mean "image"?`},
		{"image", service + "bind: []", in + `unknown key "bind"; did you mean "binds"?`},
		{"image, nothing near", service + "zzzzzz: []", in + `unknown key "zzzzzz"`},
		{"runtime", service + "runtime: {mkdirs: []}", `hook.yaml:4:15: services[0] "docker": runtime: unknown key "mkdirs"; did you mean "mkdir"?`},
		{"bindNS", service + "runtime: {bindNS: {network: x}}", `hook.yaml:4:24: services[0] "docker": runtime.bindNS: unknown key "network"`},
		{"interface", service + "runtime: {interfaces: [{nam: x}]}", `services[0] "docker": runtime.interfaces[0]: unknown key "nam"; did you mean "name"?`},
		{"mount", service + "mounts: [{dest: /x, type: proc}]", `hook.yaml:4:15: services[0] "docker": mounts[0]: unknown key "dest"`},
		{"device", service + "devices: [{path: all, type: a, x: 1}]", `services[0] "docker": devices[0]: unknown key "x"`},
		{"resources", service + "resources: {blockIO: {}}", `services[0] "docker": resources: unknown key "blockIO"; did you mean "blockio"?`},
		{"memory", service + "resources: {memory: {limits: 1}}", `resources.memory: unknown key "limits"; did you mean "limit"?`},
		{"file", "files:\n  - path: a\n    content: b", `hook.yaml:3:5: files[0] "a": unknown key "content"; did you mean "contents"?`},
		{"volume", "volumes:\n  - name: a\n    ro: true", `hook.yaml:3:5: volumes[0] "a": unknown key "ro"`},
		{"trust", "trust:\n  images: []", `hook.yaml:2:3: trust: unknown key "images"; did you mean "image"?`},
		// Missing keys.
		{"image without name", "onboot:\n  - image: a", `hook.yaml:2:5: onboot[0]: missing key "name"`},
		{"image without image", "onboot:\n  - name: a", `hook.yaml:2:5: onboot[0] "a": missing key "image"`},
		{"file without path", "files:\n  - contents: a", `hook.yaml:2:5: files[0]: missing key "path"`},
		{"volume without name", "volumes:\n  - image: a", `hook.yaml:2:5: volumes[0]: missing key "name"`},
		{"device without type", service + "devices: [{path: /dev/a, mode: '0600'}]", `devices[0]: missing key "type"`},
		{"device without path", service + "devices: [{type: c}]", `devices[0]: missing key "path"`},
		{"device without mode", service + "devices: [{path: /dev/a, type: c}]", `devices[0]: missing key "mode": the device node "/dev/a" needs one, such as "0600"`},
		// Types.
		{"object", "kernel: []", `hook.yaml:1:9: kernel: want an object, got a list`},
		{"list", "services: {}", `services: want a list, got an object`},
		{"files list", "files: a", `files: want a list, got a string`},
		{"volumes list", "volumes: 1", `volumes: want a list, got a whole number`},
		{"element", "services: [a]", `hook.yaml:1:12: services[0]: want an object, got a string`},
		{"string", service + "cwd: []", `services[0] "docker": cwd: want a string, got a list`},
		{"string, number", service + "command: [sleep, 10]", `hook.yaml:4:22: services[0] "docker": command[1]: want a string, got a whole number; write "10" in quotes`},
		{"string, boolean", service + "env: [true]", `env[0]: want a string, got a boolean; write "true" in quotes`},
		{"octal as number", "files:\n  - path: a\n    contents: b\n    mode: 0644", `hook.yaml:4:11: files[0] "a": mode: want a string, got a whole number; write "0644" in quotes`},
		{"boolean", service + "readonly: maybe", `readonly: want a boolean, got a string`},
		{"boolean, quoted", service + `readonly: "yes"`, `readonly: want a boolean, got a string`},
		{"number", service + `oomScoreAdj: "1"`, `oomScoreAdj: want a whole number, got a string; write 1 without quotes`},
		{"number, fraction", service + "oomScoreAdj: 1.5", `oomScoreAdj: want a whole number, got a number`},
		{"number, range", service + "oomScoreAdj: 1001", `oomScoreAdj: 1001 is not between -1000 and 1000`},
		{"number, negative", service + "uid: -1", `uid: -1 is not between 0 and 4294967295`},
		{"number, 64 bits", service + "resources: {memory: {limit: 9223372036854775808}}", `resources.memory.limit: 9223372036854775808 is not between`},
		{"map of strings", service + "sysctl: {a: 1}", `sysctl.a: want a string, got a whole number; write "1" in quotes`},
		{"map", service + "annotations: []", `annotations: want an object, got a list`},
		{"id", service + "uid: [1]", `uid: want a number or the name of a container, got a list`},
		{"null list", service + "binds:", `binds: has no value, want a list; remove the key or write []`},
		{"null section", "services:\n", `services: has no value, want a list; remove the key or write []`},
		// Forms.
		{"octal", "files: [{path: a, contents: b, mode: '0888'}]", `files[0] "a": mode: "0888" is not an octal mode such as "0644"`},
		{"octal, large", "files: [{path: a, contents: b, mode: '17777'}]", `"17777" is not an octal mode`},
		{"device mode", service + "devices: [{path: /dev/a, type: c, mode: rw}]", `devices[0].mode: "rw" is not an octal mode`},
		{"device type", service + "devices: [{path: all, type: x}]", `devices[0].type: "x" is none of a, b, c, u, p`},
		{"device type a", service + "devices: [{path: /dev/a, type: a, mode: '0600'}]", `devices[0]: type "a" is for path "all" only`},
		{"volume name", "volumes: [{name: Data}]", `volumes[0] "Data": name: "Data": a volume's name has lower-case letters, digits, - and _ only`},
		{"volume name, empty", "volumes: [{name: ''}]", `a volume's name has`},
		{"volume format", "volumes: [{name: a, format: ocy}]", `format: "ocy" is none of filesystem, oci; did you mean "oci"?`},
		{"volume platform", "volumes: [{name: a, platforms: [amd64]}]", `platforms[0]: "amd64" is not a platform such as linux/amd64`},
		{"container name", "onboot: [{name: ../x, image: a}]", `onboot[0] "../x": name: "../x" cannot be the name of a folder`},
		{"package path", "init: ['@pkg:./a']", `init[0]: "@pkg:./a": package paths are a LinuxKit template`},
		{"image with space", "init: ['a b']", `init[0]: "a b": an image reference has no spaces`},
		{"bind, one part", service + "binds: [/a]", `hook.yaml:4:13: services[0] "docker": binds[0]: "/a": a bind is source:destination[:options], this has 1 part`},
		{"bind, four parts", service + "binds.add: ['/a:/b:ro:x']", `binds.add[0]: "/a:/b:ro:x": a bind is source:destination[:options], this has 4 parts`},
		{"bind, empty part", service + "binds: [':/b']", `a bind needs a source and a destination`},
		{"tmpfs", service + "tmpfs: ['/a:b:c']", `tmpfs[0]: "/a:b:c": a tmpfs is destination[:options], this has 3 parts`},
		{"capability", service + "capabilities: [CAP_SYS_ADMN]", `capabilities[0]: unknown capability: "CAP_SYS_ADMN"; did you mean "CAP_SYS_ADMIN"?`},
		{"capability without CAP_", service + "capabilities.add: [sys_admin]", `capabilities.add[0]: unknown capability: "sys_admin"; did you mean "CAP_SYS_ADMIN"?`},
		{"capability none among others", service + "ambient: [none, CAP_CHOWN]", `ambient[0]: capability "none" among others`},
		{"rlimit parts", service + "rlimits: ['nofile,1']", `rlimits[0]: "nofile,1": a limit is name,soft,hard, this has 2 parts`},
		{"rlimit name", service + "rlimits: ['files,1,1']", `rlimits[0]: "files,1,1": no limit "RLIMIT_FILES"`},
		{"rlimit number", service + "rlimits: ['nofile,1,x']", `rlimits[0]: "nofile,1,x": "x" is neither a number nor unlimited`},
		{"mount without type", service + "mounts: [{destination: /x, source: /y}]", `mounts[0]: the mount at "/x" has no type`},
		{"mount without destination", service + "mounts: [{type: tmpfs}]", `mounts[0]: the tmpfs mount of "tmpfs" has no destination`},
		// References inside the file.
		{"uid name", service + "uid: dockr", `hook.yaml:4:5: services[0] "docker": uid: no container "dockr" to take the id of; did you mean "docker"?`},
		{"uid quoted", service + "uid: '12'", `uid: no container "12" to take the id of; write the number without quotes`},
		{"gid list", service + "additionalGids: [1, x]", `hook.yaml:4:25: services[0] "docker": additionalGids[1]: no container "x" to take the id of`},
		{"file owner", "files: [{path: a, contents: b, gid: nobody}]", `files[0] "a": gid: no container "nobody" to take the id of`},
		{"volume", service + "binds: ['data:/d']", `hook.yaml:4:13: services[0] "docker": binds[0]: no volume "data" (a source that is no volume must begin with /)`},
		{"volume, near", "volumes: [{name: data}]\n" + service + "binds: ['dat:/d']", `binds[0]: no volume "dat"; did you mean "data"?`},
		{"volume, read-only", "volumes: [{name: v, readonly: true}]\n" + service + "binds.add: ['v:/d']", `binds.add[0]: volume "v" is read-only: add the option ro`},
		{"volume, mounts", service + "mounts: [{type: bind, source: data, destination: /d}]", `mounts[0]: no volume "data"`},
		{"volume, mounts, read-only", "volumes: [{name: v, readonly: true}]\n" + service + "mounts: [{type: bind, source: v, destination: /d}]", `mounts[0]: volume "v" is read-only`},
		// Duplicates.
		{"service", "services: [{name: a, image: x}, {name: a, image: y}]", `hook.yaml:1:34: services[1] "a": a service of this name is already at hook.yaml:1:13`},
		{"volume twice", "volumes: [{name: a}, {name: a}]", `volumes[1] "a": a volume of this name is already at hook.yaml:1:12`},
		{"key", "init: []\ninit: []", `hook.yaml:2:1: key "init" is here twice, first in line 1`},
		{"map key", service + "sysctl: {a: '1', a: '2'}", `sysctl: key "a" is here twice`},
		// Syntax.
		{"empty", "", `hook.yaml:1:1: the file is empty`},
		{"comments only", "# nothing\n", `the file is empty`},
		{"scalar", "hello", `hook.yaml:1:1: want an object, got a string`},
		{"indentation", "services:\n  - name: a\n   image: b", `hook.yaml:3:4: YAML:`},
		{"unclosed", "init: [a", `hook.yaml:1:7: YAML:`},
		{"second document", "init: []\n---\ninit: []", `hook.yaml:2:1: a second YAML document`},
		{"binary", "init: [\"\x01\"]", `hook.yaml:1:9: not text`},
		{"UTF-8", "init: []\n# \xff", `hook.yaml:2:3: not text`},
		{"alias", "init: *x", `hook.yaml:1:7: alias *x has no anchor before it`},
		{"alias in itself", "init: &x [*x]", `alias *x has no anchor before it`},
		{"tag", "init: !!binary YQ==", `YAML tag !!binary is not supported here`},
		{"merge key", "kernel:\n  <<: a", `<< wants an object or a list of objects, got a string`},
		{"depth", "init: " + strings.Repeat("[", 1000), `YAML nested too deeply`},
		{"depth by indentation", func() string {
			var b strings.Builder
			for i := range 1400 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(), `too large or nested too deeply`},
		{"depth on a line", strings.Repeat("- ", 10000) + "a", `nested too deeply`},
		{"billion laughs", "init: &a [" + strings.Repeat("x,", 5000) + "]\nonboot:\n" + strings.Repeat("  - {name: a, image: x, command: *a}\n", 400), `the document is too large once its aliases are resolved`},
		{"size", strings.Repeat("#", maxDocument+1), `hook.yaml: 1048577 bytes: a LinuxKit file has at most 1048576`},
		{"tokens", "init:\n" + strings.Repeat("- a\n", maxTokens), `too many YAML tokens`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := Parse(Source{"hook.yaml", []byte(test.yaml)})
			if err == nil || cfg != nil {
				t.Fatalf("no error, want %s", test.want)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.Pos.File != "hook.yaml" {
				t.Errorf("%#v has no place", err)
			}
		})
	}
}

func TestAllErrorsAreReported(t *testing.T) {
	_, err := Parse(
		Source{"a.yaml", []byte("kernel: {imag: x}\nservices: [{name: s, image: a, bind: [], uid: -1}]")},
		Source{"b.yaml", []byte("fils: []\n")},
		Source{"c.yaml", []byte("init: [")},
	)
	want := []string{"a.yaml:1:10", "a.yaml:2:32", "a.yaml:2:47", "b.yaml:1:1", "c.yaml:1:7"}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d errors:\n%v", len(lines), err)
	}
	for i, prefix := range want {
		if !strings.HasPrefix(lines[i], prefix+":") {
			t.Errorf("got %s, want it at %s", lines[i], prefix)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := Parse(Source{"a.yaml", []byte("init:\n" + strings.Repeat("  - 1\n", 5000))})
	if n := strings.Count(err.Error(), "\n"); n != maxErrors {
		t.Errorf("%d lines", n)
	}
}

func TestSection1_2YAML(t *testing.T) {
	tests := []struct {
		name, yaml string
		ok         func(c *Config) bool
	}{
		{"anchors and merge keys", `
onboot:
  - &base
    name: a
    image: x:1
    binds: &binds [/a:/a]
  - <<: *base
    name: b
services:
  - {name: c, image: y:1, binds: *binds}
  - {<<: [*base], name: d}`, func(c *Config) bool {
			return c.Onboot[1].Name.Value == "b" && c.Onboot[1].Image.Value == "x:1" &&
				c.Services[0].Binds.Value[0] == "/a:/a" && c.Services[1].Binds.Value[0] == "/a:/a"
		}},
		{"booleans of YAML 1.1", "onboot: [{name: a, image: x, readonly: yes, noNewPrivileges: off}]", func(c *Config) bool {
			return c.Onboot[0].Readonly.Value && !c.Onboot[0].NoNewPrivileges.Value && c.Onboot[0].NoNewPrivileges.Set
		}},
		{"long folded scalar", "files:\n  - path: a\n    contents: >\n" + strings.Repeat("      x\n\n", 500), func(c *Config) bool {
			return len(c.Files[0].Contents.Value) == 1000
		}},
		{"block scalars", "files:\n  - path: a\n    contents: |\n      x\n\n      $y\n  - path: b\n    contents: >-\n      x\n      y\n", func(c *Config) bool {
			return c.Files[0].Contents.Value == "x\n\n$y\n" && c.Files[1].Contents.Value == "x y"
		}},
		{"CRLF", "init:\r\n  - a\r\n  - b\r\n", func(c *Config) bool { return len(c.Init) == 2 && c.Init[1].Ref == "b" }},
		{"BOM", "\xef\xbb\xbfinit: [a]", func(c *Config) bool { return c.Init[0].Ref == "a" }},
		{"trailing document marker", "---\ninit: [a]\n---\n", func(c *Config) bool { return c.Init[0].Ref == "a" }},
		{"string tag", "onboot: [{name: !!str 12, image: x}]", func(c *Config) bool { return c.Onboot[0].Name.Value == "12" }},
		{"empty object", "{}", func(c *Config) bool { return c.Containers() == nil || len(c.Containers()) == 0 }},
		{"hexadecimal", "onboot: [{name: a, image: x, uid: 0x10}]", func(c *Config) bool { return c.Onboot[0].UID.Value.Num == 16 }},
		{"variable in plain text", "init:\n  - ${HOOK_IMAGE}", func(c *Config) bool { return c.Init[0].Ref == "${HOOK_IMAGE}" }},
		{"JSON", `{"init": ["a"], "onboot": [{"name": "x", "image": "y", "uid": 5}]}`, func(c *Config) bool { return c.Onboot[0].UID.Value.Num == 5 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if cfg := parse(t, test.yaml); !test.ok(cfg) {
				t.Errorf("%+v", cfg)
			}
		})
	}
}

// "Set but empty" is not "unset".
func TestSection1_2Presence(t *testing.T) {
	c := parse(t, "onboot: [{name: a, image: x, binds: [], cwd: '', readonly: false, sysctl: {}}]").Onboot[0]
	if !c.Binds.Set || !c.Cwd.Set || !c.Readonly.Set || !c.Sysctl.Set || c.Env.Set || c.Hostname.Set {
		t.Errorf("%+v", c.Settings)
	}
}

func TestSection1_2KernelNames(t *testing.T) {
	tests := []struct{ yaml, binary, tar string }{
		{"{image: k}", "kernel", "kernel.tar"},
		{"{image: k, binary: bzImage, tar: m.tar}", "bzImage", "m.tar"},
		{"{image: k, tar: ''}", "kernel", ""},
		{"{image: k, tar: none}", "kernel", ""},
	}
	for _, test := range tests {
		k := parse(t, "kernel: "+test.yaml).Kernel
		if k.BinaryName() != test.binary || k.TarName() != test.tar {
			t.Errorf("%s: %q %q", test.yaml, k.BinaryName(), k.TarName())
		}
	}
}

func TestSection1_1SeveralFiles(t *testing.T) {
	cfg, err := Parse(
		Source{"a.yaml", []byte(`
kernel: {image: k1, cmdline: one, tar: none}
init: [i1]
onboot: [{name: x, image: a}]
services: [{name: s1, image: a}]
files: [{path: a, contents: a}]
volumes: [{name: v1}]
trust: {org: [a]}`)},
		Source{"b.yaml", []byte(`
kernel: {image: k2, cmdline: "", binary: bz}
init: [i2]
onboot: [{name: x, image: b}]
onshutdown: [{name: o, image: b}]
services: [{name: s2, image: b, binds: ["v1:/v"], uid: s1}]
files: [{path: b, contents: b}]
volumes: [{name: v2}]
trust: {org: [b]}`)})
	if err != nil {
		t.Fatal(err)
	}
	k := cfg.Kernel
	if k.Image.Value != "k2" || k.Cmdline.Value != "one" || k.Binary.Value != "bz" || k.TarName() != "" {
		t.Errorf("kernel %+v: later keys replace if they are not empty", k)
	}
	if len(cfg.Init) != 2 || cfg.Init[1].Ref != "i2" || len(cfg.Onboot) != 2 || cfg.Onboot[1].Dir() != "containers/onboot/001-x" {
		t.Errorf("lists are appended, names of onboot may repeat: %+v", cfg)
	}
	if cfg.Services[1].String() != `services[1] "s2"` || cfg.Files[1].Index != 1 || cfg.Volumes[1].Index != 1 {
		t.Errorf("indices run through")
	}
	if got := cfg.ids(); got["x"] != 101 || got["o"] != 102 || got["s1"] != 103 || got["s2"] != 104 {
		t.Errorf("ids %v: 100 up, over onboot, onshutdown, services", got)
	}
}

func TestSection1_1DuplicateServiceAcrossFiles(t *testing.T) {
	_, err := Parse(
		Source{"a.yaml", []byte("services: [{name: s, image: a}]\nvolumes: [{name: v}]")},
		Source{"b.yaml", []byte("services: [{name: s, image: b}]\nvolumes: [{name: v}]")})
	want := `b.yaml:1:13: services[1] "s": a service of this name is already at a.yaml:1:13` + "\n" +
		`b.yaml:2:12: volumes[1] "v": a volume of this name is already at a.yaml:2:12`
	if fmt.Sprint(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := Parse(); err == nil {
		t.Error("no file: no error")
	}
}

func TestSection1_1ReferenceExpand(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	tests := map[string]string{
		"":                         "",
		"alpine":                   "docker.io/library/alpine:latest",
		"alpine:3.20":              "docker.io/library/alpine:3.20",
		"alpine" + digest:          "docker.io/library/alpine" + digest,
		"linuxkit/init:b55":        "docker.io/linuxkit/init:b55",
		"ghcr.io/hook":             "ghcr.io/hook:latest",
		"ghcr.io/a/b:1":            "ghcr.io/a/b:1",
		"localhost/a":              "localhost/a:latest",
		"localhost:5000/a":         "localhost:5000/a:latest",
		"host:5000/a:1":            "host:5000/a:1",
		"a/b/c":                    "a/b/c:latest",
		"docker.io/library/alpine": "docker.io/library/alpine:latest",
	}
	for ref, want := range tests {
		if got := ReferenceExpand(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "LONG_NAME": "two", "EMPTY": "", "SELF": "$A", "LINES": "x\ny\nz"}
	tests := []struct{ in, want string }{
		{"${A} $A a$A.", "1 1 a1."},
		{"$AB ${AB} $LONG_NAME ${LONG_NAME}x", "$AB ${AB} two twox"},
		{"${EMPTY}|$EMPTY|", "||"},
		{"${UNKNOWN} $UNKNOWN $1 $$ ${ ${A", "${UNKNOWN} $UNKNOWN $1 $$ ${ ${A"},
		{"$SELF", "$A"},
		{"${A:-x} ${A#y}", "${A:-x} ${A#y}"},
		{"contents: |\n    ${LINES}\nb: 1", "contents: |\n    x\n    y\n    z\nb: 1"},
		{"", ""},
	}
	for _, test := range tests {
		if got := string(Expand([]byte(test.in), vars)); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestImages(t *testing.T) {
	cfg := parse(t, "kernel: {image: k}\ninit: [i, a]\nonboot: [{name: x, image: a}]\nvolumes: [{name: v, image: w}, {name: b}]")
	var got []string
	for _, image := range cfg.Images() {
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(image.Ref, "docker.io/library/"), ":latest"))
	}
	if want := []string{"k", "i", "a", "w"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
