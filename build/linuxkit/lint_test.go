package linuxkit

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestLint has a row for every rule: what is found, and where.
func TestLint(t *testing.T) {
	const svc = "services:\n  - name: s\n    image: x:1\n    "
	in := func(line, column int, message string) string {
		return fmt.Sprintf("hook.yaml:%d:%d: %s", line, column, message)
	}
	tests := []struct{ name, yaml, label, want string }{
		{"binds-hide-add", svc + "binds: ['/a:/a']\n    binds.add: ['/b:/b']", "", in(5, 5, `services[0] "s": LinuxKit ignores binds.add beside binds; here it is appended`)},
		{"binds-hide-add", svc + "capabilities: [CAP_KILL]\n    capabilities.add: [CAP_CHOWN]", "", in(5, 5, `services[0] "s": LinuxKit ignores capabilities.add beside capabilities`)},
		{"all-with-add", svc + "capabilities.add: [CAP_KILL]", `{"capabilities": ["all"]}`, `label org.mobyproject.config of docker.io/library/x:1:1:2: services[0] "s": capability all beside others is an error in LinuxKit`},
		{"all-with-add", svc + "capabilities: [CAP_KILL, all]", "", in(4, 5, `services[0] "s": capability all beside others`)},
		{"mount-volume", "volumes: [{name: v}]\n" + svc + "mounts:\n      - {type: bind, source: v, destination: /v}", "", in(6, 10, `services[0] "s": LinuxKit does not resolve the volume "v" in mounts; here it is`)},
		{"readonly-volume", "volumes:\n  - name: v\n    readonly: true", "", in(3, 5, `volumes[0] "v": LinuxKit mounts a writable overlay`)},
		{"dropped-resource", svc + "resources:\n      memory: {limit: 1, kernelTCP: 2}", "", in(5, 26, `services[0] "s": LinuxKit drops resources.memory.kernelTCP`)},
		{"dropped-resource", svc + "resources: {hugepageLimits: []}", "", `LinuxKit drops hugepageLimits`},
		{"dropped-resource", svc + "uidMappings: []", "", in(4, 5, `services[0] "s": LinuxKit drops the ids of uidMappings`)},
		{"dropped-resource", svc + "mounts: [{type: tmpfs, destination: /a, uidMappings: []}]", "", `LinuxKit drops uidMappings of mounts`},
		{"trust", "trust: {org: [a]}", "", in(1, 1, "trust is accepted and has no effect")},
		{"duplicate-bind", svc + "binds: ['/a:/x', '/b:/x/']", "", in(4, 22, `services[0] "s": bind "/x/" replaces the mount at hook.yaml:4:13`)},
		{"duplicate-bind", svc + "binds.add: ['/a:/x']", `{"binds": ["/b:/x"]}`, in(4, 17, `services[0] "s": bind "/x" replaces the mount at label org.mobyproject.config of docker.io/library/x:1:1:12`)},
		{"duplicate-bind", svc + "binds: ['/a:/x']\n    mounts: [{type: tmpfs, destination: /x}]", "", `services[0] "s": mount "/x" replaces the mount at`},
		{"duplicate-name", "onboot:\n  - {name: a, image: x:1}\n  - {name: a, image: x:1}", "", in(3, 6, `onboot[1] "a": the name is also at hook.yaml:2:6`)},
		{"duplicate-file", "files:\n  - {path: a, contents: b}\n  - {path: a/b/c, contents: c}", "", in(3, 6, `files[1] "a/b/c": needs a folder in the place of files[0] "a" at hook.yaml:2:6, which is lost`)},
		{"duplicate-file", "files:\n  - {path: a/b, contents: b}\n  - {path: a, symlink: c}", "", in(3, 6, `files[1] "a": takes the place of a folder, and with it files[0] "a/b" at hook.yaml:2:6 is lost`)},
		{"duplicate-file", "files:\n  - {path: /a, contents: b}\n  - {path: a/, contents: c}", "", in(3, 6, `files[1] "a/": replaces the file of the same path at hook.yaml:2:6`)},
		{"privilege", svc + "capabilities: [all]", "", in(4, 20, `services[0] "s": has all capabilities`)},
		{"privilege", svc + "pid: host", "", in(4, 5, `services[0] "s": shares the host's PID namespace`)},
		{"privilege", svc + "net: root", "", in(4, 5, `services[0] "s": shares the host's network namespace`)},
		{"privilege", svc + "devices: [{path: all, type: b}]", "", `services[0] "s": may use all devices of type b`},
		{"privilege", svc + "binds: ['/:/host']", "", in(4, 13, `services[0] "s": can write the host's /`)},
		{"privilege", svc + "env: []", `{"pid": "host"}`, `label org.mobyproject.config of docker.io/library/x:1:1:2: services[0] "s": shares the host's PID namespace`},
		{"image-unknown", "init: ['${HOOK_INIT_IMAGE}']", "", in(1, 8, `image docker.io/library/${HOOK_INIT_IMAGE}:latest: the variable ${HOOK_INIT_IMAGE} has no value (image-unknown); set ${HOOK_INIT_IMAGE} with --set`)},
		{"image-unpinned", "init: [alpine]", "", in(1, 8, `image docker.io/library/alpine:latest: the tag "latest" moves`)},
		{"image-unpinned", "init: ['docker:dind']", "", `the tag "dind" moves`},
		{"hostname-uts", svc + "hostname: h", "", in(4, 5, `services[0] "s": hostname "h" needs a UTS namespace of its own`)},
		{"no-command", svc + "command: []", "", `hook.yaml:2:5: services[0] "s": neither the file nor image docker.io/library/x:1 has a command`},
		{"no-kernel-image", "kernel: {cmdline: a}", "", in(1, 10, "kernel settings without kernel.image")},
		{"cmdline-long", "kernel: {image: 'k:1', cmdline: " + strings.Repeat("a", 2048) + "}", "", "the kernel command line has 2048 bytes; kernels keep 2047"},
		{"namespace-path", svc + "net: hots", "", in(4, 5, `services[0] "s": namespace "hots" is taken for a path`)},
	}
	covered := map[string]bool{"file-parent": true, "volume-files": true} // tests of their own
	for _, test := range tests {
		covered[test.name] = true
		t.Run(test.name, func(t *testing.T) {
			cfg := parse(t, test.yaml)
			img := labelled(t, test.label)
			info := Info{}
			if !strings.Contains(test.yaml, "${") {
				resolved, err := Resolve(t.Context(), cfg, ResolverFunc(func(context.Context, string) (v1.Image, error) { return img, nil }), Options{})
				if err != nil {
					t.Fatal(err)
				}
				info.Resolved = resolved
			}
			if got := say(Lint(cfg, info), test.name); len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), test.want)
			}
		})
	}
	for rule := range Rules {
		if !covered[rule] {
			t.Errorf("rule %s has no test", rule)
		}
	}
}

func say(findings []Finding, rule string) []string {
	var all []string
	for _, f := range findings {
		if _, ok := Rules[f.Rule]; !ok || f.Fix == "" || f.Message == "" {
			panic(fmt.Sprintf("%+v", f))
		}
		if f.Rule == rule {
			all = append(all, f.String())
		}
	}
	return all
}

func TestLintIsSilent(t *testing.T) {
	cfg := parse(t, `
init: ["a:1", "b@sha256:`+strings.Repeat("a", 64)+`"]
volumes: [{name: v}]
services:
  - {name: s, image: "x:v1", binds.add: ["/dev/null:/dev/null", "/dev:/dev:ro", "v:/v"], hostname: h, uts: new, pid: new, net: none, command: [a]}
files: [{path: etc/a, contents: "$HOME ${x}"}, {path: l, symlink: etc}, {path: l/b, contents: ""}, {path: d/e, contents: ""}, {path: d, directory: true}]
`)
	if got := Lint(cfg, Info{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestLintVolumeFiles(t *testing.T) {
	cfg, err := Parse(Source{"a.yaml", []byte("volumes: [{name: v}]")},
		Source{"b.yaml", []byte("services: [{name: s, image: 'x:1', binds: ['v:/v', 'w:/w']}]\nvolumes: [{name: w}]")})
	if err != nil {
		t.Fatal(err)
	}
	got := say(Lint(cfg, Info{}), "volume-files")
	if len(got) != 1 || !strings.HasPrefix(got[0], `b.yaml:1:44: services[0] "s": volume "v" is defined in a.yaml; LinuxKit knows those of the last file only`) {
		t.Errorf("%v", got)
	}
}

func TestLintFileParents(t *testing.T) {
	cfg := parse(t, `files:
  - {path: etc/foo/bar, contents: a}
  - {path: root/.profile, contents: a, mode: "0644"}
  - {path: srv/x, contents: a}
  - {path: lib/x, contents: a}
  - {path: tmp/x, contents: a, uid: 5}
  - {path: opt, directory: true}
  - {path: opt/x, contents: a}`)
	folders := map[string]Stat{
		"etc": {Mode: fs.ModeDir | 0o755}, "root": {Mode: fs.ModeDir | 0o700}, "srv": {Mode: fs.ModeDir | 0o700},
		"lib": {Mode: fs.ModeSymlink | 0o777}, "tmp": {Mode: fs.ModeDir | 0o700}, "opt": {Mode: fs.ModeDir | 0o755},
	}
	got := say(Lint(cfg, Info{Stat: func(path string) (Stat, bool) { s, ok := folders[path]; return s, ok }}), "file-parent")
	want := []string{
		`hook.yaml:2:6: files[0] "etc/foo/bar": LinuxKit would change /etc from 0755 0:0 to 0700 0:0; here it stays`,
		`hook.yaml:3:6: files[1] "root/.profile": LinuxKit would change /root from 0700 0:0 to 0755 0:0; here it stays`,
		`hook.yaml:5:6: files[3] "lib/x": /lib is no folder in the images but Lrwxrwxrwx`,
		`hook.yaml:6:6: files[4] "tmp/x": LinuxKit would change /tmp from 0700 0:0 to 0700 5:0; here it stays`,
	}
	if len(got) != len(want) || !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
