package linuxkit

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// settings parses the keys of one container and a label and merges them.
func settings(t *testing.T, yaml, label string, image v1.Config, opts Options) Settings {
	t.Helper()
	cfg := parse(t, "volumes: [{name: vol}]\nonboot: [{name: one, image: x, "+yaml+"}]")
	l, err := ParseLabel("x", label)
	if err != nil {
		t.Fatal(err)
	}
	return merge(&cfg.Onboot[0].Settings, &l, image, opts)
}

func TestSection1_3Precedence(t *testing.T) {
	config := v1.Config{
		Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}, Env: []string{"I=1"}, WorkingDir: "/image",
		User: "nobody", Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	label := `{"command": ["/label"], "env": ["L=1"], "cwd": "/label", "net": "new", "readonly": true, "uid": 7, "sysctl": {"a": "1"}}`
	tests := []struct {
		name, yaml, label string
		image             v1.Config
		get               func(s Settings) any
		want              any
	}{
		{"file over label", "net: host", label, config, func(s Settings) any { return s.Net.Value }, "host"},
		{"label", "", label, config, func(s Settings) any { return s.Net.Value }, "new"},
		{"zero", "", "", config, func(s Settings) any { return s.Net.Value }, ""},
		{"empty list in file over label", "env: []", label, config, func(s Settings) any { return len(s.Env.Value) }, 0},
		{"empty string in file over label", "net: ''", label, config, func(s Settings) any { return s.Net.Value }, ""},
		{"false in file over label", "readonly: false", label, config, func(s Settings) any { return s.Readonly.Value }, false},
		{"zero in file over label", "uid: 0", label, config, func(s Settings) any { return s.UID.Value.Num }, uint32(0)},
		{"empty map in file over label", "sysctl: {}", label, config, func(s Settings) any { return len(s.Sysctl.Value) }, 0},
		{"command of file replaces all", "command: [/file]", "", config, func(s Settings) any { return s.Command.Value }, []string{"/file"}},
		{"command of label over image", "", label, config, func(s Settings) any { return s.Command.Value }, []string{"/label"}},
		{"entrypoint and cmd", "", "", config, func(s Settings) any { return s.Command.Value }, []string{"/entry", "cmd"}},
		{"empty command of file", "command: []", "", config, func(s Settings) any { return len(s.Command.Value) }, 0},
		{"env of label over image", "", label, config, func(s Settings) any { return s.Env.Value }, []string{"L=1"}},
		{"env of image", "", "", config, func(s Settings) any { return s.Env.Value }, []string{"I=1"}},
		{"cwd of file", "cwd: /file", label, config, func(s Settings) any { return s.Cwd.Value }, "/file"},
		{"cwd of image", "", "", config, func(s Settings) any { return s.Cwd.Value }, "/image"},
		{"cwd default", "", "", v1.Config{}, func(s Settings) any { return s.Cwd.Value }, "/"},
		{"cwd empty in file", "cwd: ''", "", config, func(s Settings) any { return s.Cwd.Value }, "/"},
		{"User is ignored", "", "", config, func(s Settings) any { return s.UID }, Setting[ID]{}},
		{"Volumes are ignored", "", "", config, func(s Settings) any { return len(s.Mounts.Value) + len(s.Binds.Value) }, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.get(settings(t, test.yaml, test.label, test.image, Options{}))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// Every key of the schema comes out of a label, and the file's wins.
func TestSection1_3EveryKeyIsMerged(t *testing.T) {
	full := parse(t, everyKey).Onboot[0].Settings
	empty := Settings{}
	for _, merged := range []Settings{mergeKeys(&full, &empty), mergeKeys(&empty, &full)} {
		// The lists with .add are merged elsewhere.
		want := full
		want.Binds, want.BindsAdd = Setting[[]string]{}, Setting[[]string]{}
		want.Capabilities, want.CapabilitiesAdd = Setting[[]string]{}, Setting[[]string]{}
		if !reflect.DeepEqual(merged, want) {
			t.Errorf("got\n%+v\nwant\n%+v", merged, want)
		}
	}
}

func TestSection1_3Lists(t *testing.T) {
	compat := Options{Compat: true}
	label := `{"binds": ["/l:/l"], "capabilities": ["CAP_SYS_ADMIN"]}`
	binds := func(s Settings) []string { return s.Binds.Value }
	caps := func(s Settings) []string { return must(capabilitiesOf(s.Capabilities, Options{})) }
	tests := []struct {
		name, yaml, label string
		opts              Options
		get               func(Settings) []string
		want              []string
	}{
		{"binds of label", "", label, Options{}, binds, []string{"/l:/l"}},
		{"label and add", "binds.add: ['/a:/a']", label, Options{}, binds, []string{"/l:/l", "/a:/a"}},
		{"file over label", "binds: ['/f:/f']", label, Options{}, binds, []string{"/f:/f"}},
		{"empty file over label", "binds: []", label, Options{}, binds, nil},
		{"file and add: both", "binds: ['/f:/f'], binds.add: ['/a:/a']", label, Options{}, binds, []string{"/f:/f", "/a:/a"}},
		{"file and add: LinuxKit", "binds: ['/f:/f'], binds.add: ['/a:/a']", label, compat, binds, []string{"/f:/f"}},
		{"label and add: LinuxKit", "binds.add: ['/a:/a']", label, compat, binds, []string{"/l:/l", "/a:/a"}},
		{"add alone", "binds.add: ['/a:/a']", "", Options{}, binds, []string{"/a:/a"}},
		{"add in the label", "", `{"binds.add": ["/x:/x"]}`, Options{}, binds, []string{"/x:/x"}},
		{"capabilities and add, without duplicates", "capabilities.add: [CAP_SYS_ADMIN, CAP_NET_ADMIN]", label, Options{}, caps, []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}},
		{"capabilities of the file and add", "capabilities: [CAP_CHOWN], capabilities.add: [CAP_KILL]", label, Options{}, caps, []string{"CAP_CHOWN", "CAP_KILL"}},
		{"capabilities of the file and add: LinuxKit", "capabilities: [CAP_CHOWN], capabilities.add: [CAP_KILL]", label, compat, caps, []string{"CAP_CHOWN"}},
		{"none", "capabilities: [none]", label, Options{}, caps, nil},
		{"none and add", "capabilities: [none], capabilities.add: [CAP_KILL]", "", Options{}, caps, []string{"CAP_KILL"}},
		{"all", "capabilities: [ALL]", "", Options{}, caps, capabilities},
		{"all takes in what is added", "capabilities.add: [CAP_KILL]", `{"capabilities": ["all"]}`, Options{}, caps, capabilities},
		{"all and others in one list", "capabilities: [CAP_KILL, all]", "", Options{}, caps, capabilities},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.get(settings(t, test.yaml, test.label, v1.Config{}, test.opts)); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	s := settings(t, "capabilities.add: [CAP_KILL]", `{"capabilities": ["all"]}`, v1.Config{}, compat)
	if _, err := capabilitiesOf(s.Capabilities, compat); err == nil || !strings.Contains(err.Error(), "unknown capability: all") {
		t.Errorf("LinuxKit refuses all with others: %v", err)
	}
}

func TestSection1_3RuntimeByField(t *testing.T) {
	s := settings(t, "runtime: {mkdir: [/f], bindNS: {net: /f}, cgroups: []}",
		`{"runtime": {"mkdir": ["/l"], "cgroups": ["/l"], "bindNS": {"net": "/l", "pid": "/l"}, "namespace": "l"}}`, v1.Config{}, Options{})
	r := s.Runtime
	if r.Mkdir.Value[0] != "/f" || len(r.Cgroups.Value) != 0 || r.BindNS.Net.Value != "/f" || r.BindNS.Pid.Value != "/l" || r.Namespace.Value != "l" {
		t.Errorf("%+v", r)
	}
}

func TestSection1_3Label(t *testing.T) {
	const in = "label org.mobyproject.config of x"
	tests := []struct{ name, label, want string }{
		{"JSON", `{"net": "new"}`, ""},
		{"JSON with tabs and escapes", "{\t\"net\":\t\"\\/run\\/x\"}", ""},
		{"YAML", "net: new\nbinds:\n- /a:/a\n", ""},
		{"YAML flow", "{net: new}", ""},
		{"empty", "", ""},
		{"blank", " \n", ""},
		{"name", `{"name": "a"}`, in + `:1:2: name: a label cannot set this`},
		{"image", `{"image": "a"}`, in + `:1:2: image: a label cannot set this`},
		{"unknown", `{"net": "new", "bind": []}`, in + `:1:16: unknown key "bind"; did you mean "binds"?`},
		{"unknown, second line", "{\n  \"net\": \"new\",\n  \"runtime\": {\"x\": 1}}", in + `:3:15: runtime: unknown key "x"`},
		{"type", `{"binds": "/a:/a"}`, in + `:1:11: binds: want a list, got a string`},
		{"list", `["a"]`, in + `:1:1: want an object, got a list`},
		{"broken", `{"net": `, in + `:1:8: JSON: unexpected EOF`},
		{"text after", `{"net": "new"} x`, in + `:1:16: text after the JSON document`},
		{"number", `{"oomScoreAdj": 1.5}`, `oomScoreAdj: want a whole number, got a number`},
		{"null", `{"binds": null}`, `binds: has no value`},
		{"large", `{"cwd": "` + strings.Repeat("x", maxDocument) + `"}`, `a label has at most 1048576`},
		{"deep", `{"a": ` + strings.Repeat("[", 5000), `nested too deeply`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseLabel("x", test.label)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T", err)
			}
		})
	}
}

func TestSection1_3Volumes(t *testing.T) {
	const volumes = "volumes: [{name: rw}, {name: ro, readonly: true}]\n"
	tests := []struct {
		name, yaml, label string
		opts              Options
		source            string // of the mount at /d
	}{
		{"bind", "binds: ['rw:/d']", "", Options{}, "/containers/volumes/rw/merged"},
		{"bind of label", "pid: new", `{"binds": ["rw:/d"]}`, Options{}, "/containers/volumes/rw/merged"},
		{"binds.add", "binds.add: ['ro:/d:ro']", "", Options{}, "/containers/volumes/ro/merged"},
		{"ro among options", "binds: ['ro:/d:nosuid,ro']", "", Options{}, "/containers/volumes/ro/merged"},
		{"path", "binds: ['/rw:/d']", "", Options{}, "/rw"},
		{"mounts", "mounts: [{type: bind, source: rw, destination: /d}]", "", Options{}, "/containers/volumes/rw/merged"},
		{"mounts, read-only", "mounts: [{type: bind, source: ro, destination: /d, options: [ro]}]", "", Options{}, "/containers/volumes/ro/merged"},
		{"mounts: LinuxKit", "mounts: [{type: bind, source: rw, destination: /d}]", "", Options{Compat: true}, "rw"},
		{"mounts, other type", "mounts: [{type: tmpfs, source: rw, destination: /d}]", "", Options{}, "rw"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rc := one(t, volumes+"onboot: [{name: a, image: x, "+test.yaml+"}]", test.label, test.opts)
			for _, m := range rc.Spec.Mounts {
				if m.Destination == "/d" && m.Source == test.source {
					return
				}
			}
			t.Errorf("no mount of %s in %+v", test.source, rc.Spec.Mounts)
		})
	}
}

func TestResolveErrors(t *testing.T) {
	cfg := parse(t, `
init: [gone, "${HOOK_INIT}"]
volumes: [{name: v, image: gone}]
services:
  - {name: a, image: gone}
  - {name: b, image: bad}
  - {name: c, image: names}
  - {name: d, image: caps, capabilities.add: [CAP_KILL]}
`)
	source := images{
		"docker.io/library/bad:latest":   labelled(t, `{"bind": []}`),
		"docker.io/library/names:latest": labelled(t, `{"uid": "nobody", "binds": ["data:/d"]}`),
		"docker.io/library/caps:latest":  labelled(t, `{"capabilities": ["all"]}`),
	}
	_, err := Resolve(t.Context(), cfg, source, Options{Compat: true})
	want := []string{
		`hook.yaml:2:8: init[0]: image docker.io/library/gone:latest: MANIFEST_UNKNOWN`,
		`hook.yaml:2:14: init[1]: image docker.io/library/${HOOK_INIT}:latest: ${HOOK_INIT} is not set; give it a value with --set`,
		`services[1] "b": label org.mobyproject.config of docker.io/library/bad:latest:1:2: unknown key "bind"; did you mean "binds"?`,
		`label org.mobyproject.config of docker.io/library/names:latest:1:2: services[2] "c": uid: no container "nobody"`,
		`label org.mobyproject.config of docker.io/library/names:latest:1:29: services[2] "c": binds[0]: no volume "data"`,
		`hook.yaml:8:6: services[3] "d": unknown capability: all`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("an image that is missing is said once:\n%v", err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("got  %s\nwant %s", lines[i], want[i])
		}
	}
}
