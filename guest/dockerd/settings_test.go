package dockerd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hooksmith/guest/cmdline"
)

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		arguments string
		want      settings
		problems  []string
	}{
		{arguments: "console=ttyS0"},
		{arguments: "syslog_host insecure_registries registry_ca HTTP_PROXY"},
		{arguments: "syslog_host=10.0.0.1", want: settings{syslog: "10.0.0.1:514"}},
		{arguments: "syslog_host=logs.example.org:5514", want: settings{syslog: "logs.example.org:5514"}},
		{arguments: "syslog_host=fd00::1", want: settings{syslog: "[fd00::1]:514"}},
		{arguments: "syslog_host=[fd00::1]:99", want: settings{syslog: "[fd00::1]:99"}},
		{arguments: "syslog_host=a/b", problems: []string{`syslog_host=: "a/b" is left out: it is neither an IP address nor a host name`}},
		{arguments: "syslog_host=a:0", problems: []string{"the port is not a number"}},
		{
			arguments: "insecure_registries=10.0.0.1:5000,reg.local,,10.0.0.0/8,http://old.local/,x/y",
			want:      settings{insecure: []string{"10.0.0.1:5000", "reg.local", "10.0.0.0/8", "old.local"}},
			problems:  []string{`insecure_registries=: "x/y" is left out: it is neither HOST, HOST:PORT nor a network`},
		},
		{
			arguments: "registry_mirrors=mirror.local:5000,http://m2.local/,https://m3.local/path,https://u:p@m4.local,ftp://x",
			want:      settings{mirrors: []string{"https://mirror.local:5000", "http://m2.local"}, hosts: []string{"mirror.local:5000", "m2.local"}},
			problems:  []string{"only without a path", "only without a path", "not like https://HOST:PORT"},
		},
		{
			arguments: "registry_ca=http://10.0.0.1/ca.crt,file:///etc/passwd,https://ca.local/x?y=z",
			want:      settings{caURLs: []string{"http://10.0.0.1/ca.crt", "https://ca.local/x?y=z"}},
			problems:  []string{"it is not like http://HOST/ca.crt"},
		},
		{
			arguments: "HTTP_PROXY=http://p:3128 HTTPS_PROXY=http://p:3129 NO_PROXY=10.0.0.0/8,.local",
			want:      settings{proxies: []string{"HTTP_PROXY=http://p:3128", "HTTPS_PROXY=http://p:3129", "NO_PROXY=10.0.0.0/8,.local"}},
		},
		{
			arguments: "docker_registry=reg.local:5000 tink_worker_image=other.local/a/tink-worker:1",
			want:      settings{hosts: []string{"reg.local:5000", "other.local"}},
		},
		{arguments: "docker_registry=../../etc tink_worker_image=tink-worker:1"},
		{arguments: "docker_registry=reg.local/prefix", want: settings{hosts: []string{"reg.local"}}},
		{arguments: "docker_registry=https://reg.local:5000/ tink_worker_image=https://", want: settings{hosts: []string{"reg.local:5000"}}},
	} {
		got, problems := newSettings(cmdline.Parse(test.arguments))
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %+v, want %+v", test.arguments, got, test.want)
		}
		if len(problems) != len(test.problems) {
			t.Errorf("%q: problems %v, want %q", test.arguments, problems, test.problems)
			continue
		}
		for i, problem := range problems {
			if !strings.Contains(problem.Error(), test.problems[i]) {
				t.Errorf("%q: problem %q, want %q", test.arguments, problem, test.problems[i])
			}
		}
	}
}

func TestIsRegistry(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a.b:5000": true, "10.0.0.1:1": true, "[::1]:5000": true, "[::1]": true,
		"": false, "a:": false, "a:b": false, "a:70000": false, "..": false, ".": false, "a..b": false, "a/b": false,
		"-a": false, "[::1%eth0]:1": false, "[a/b]:1": false, "a b": false, "[": false, "a\x00": false,
	} {
		if got := isRegistry(text); got != want {
			t.Errorf("isRegistry(%q) = %v", text, got)
		}
	}
}

// FuzzSettings makes sure that nothing from the command line becomes a path outside certs.d.
func FuzzSettings(f *testing.F) {
	f.Add("docker_registry=a.b:1 registry_mirrors=http://x/ syslog_host=[::1]:5 registry_ca=http://a/b,c insecure_registries=1.2.3.4/5")
	f.Fuzz(func(t *testing.T, arguments string) {
		s, _ := newSettings(cmdline.Parse(arguments))
		for _, host := range s.hosts {
			if filepath.Base(host) != host || host == "." || host == ".." {
				t.Errorf("%q makes a folder %q", arguments, host)
			}
		}
		if _, problems := daemonJSON(nil, s); len(problems) != 0 {
			t.Errorf("%q: %v", arguments, problems)
		}
	})
}

func TestDaemonJSON(t *testing.T) {
	for _, test := range []struct {
		name, base string
		settings   settings
		want       map[string]string // of the printed value; "" for one that must not be there
		problems   int
	}{
		{
			name: "defaults",
			want: map[string]string{
				"storage-driver": "overlay2", "ip6tables": "false", "userland-proxy": "false", "live-restore": "true",
				"log-driver": "json-file", "log-opts": "map[max-file:2 max-size:10m]", "insecure-registries": "", "registry-mirrors": "",
				"hosts": "", "features": "map[containerd-snapshotter:false]",
			},
		},
		{
			name: "arguments", settings: settings{syslog: "10.0.0.1:514", insecure: []string{"a", "b"}, mirrors: []string{"https://m"}},
			want: map[string]string{
				"log-driver":          "syslog",
				"log-opts":            "map[cache-max-file:2 cache-max-size:10m syslog-address:udp://10.0.0.1:514 syslog-format:rfc5424 tag:{{.Name}}/{{.ID}}]",
				"insecure-registries": "[a b]", "registry-mirrors": "[https://m]",
			},
		},
		{
			name: "a file of this HookOS", base: `{"storage-driver":"vfs","debug":true,"insecure-registries":["x"]}`, settings: settings{insecure: []string{"y"}},
			want: map[string]string{"storage-driver": "vfs", "debug": "true", "insecure-registries": "[y]", "live-restore": "true"},
		},
		{
			name: "a file that would open a port", base: `{"hosts":["tcp://0.0.0.0:2375"],"data-root":"/x","bridge":"none"}`, problems: 2,
			want: map[string]string{"hosts": "", "data-root": "", "bridge": "none"},
		},
		{name: "half a file", base: `{"bridge":"none"`, problems: 1, want: map[string]string{"bridge": "", "storage-driver": "overlay2"}},
		{name: "no object", base: `null`, want: map[string]string{"storage-driver": "overlay2"}},
	} {
		text, problems := daemonJSON([]byte(test.base), test.settings)
		if len(problems) != test.problems {
			t.Errorf("%s: problems %v", test.name, problems)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for key, want := range test.want {
			if value, ok := got[key]; ok != (want != "") || ok && fmt.Sprint(value) != want {
				t.Errorf("%s: %s is %v, want %q", test.name, key, value, want)
			}
		}
	}
}

// TestWriteConfig has a daemon.json that cannot be read: it is a problem, and docker starts without it.
func TestWriteConfig(t *testing.T) {
	dir := t.TempDir()
	p := paths{run: filepath.Join(dir, "run"), data: "/var/lib/docker", etc: dir}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("no JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	problems, err := writeConfig(p, settings{})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "daemon.json is left out") {
		t.Errorf("problems %v, error %v", problems, err)
	}
	text, err := os.ReadFile(p.ours("containerd.toml"))
	if err != nil || !strings.Contains(string(text), `address = "`+dir+`/run/docker/containerd/containerd.sock"`) {
		t.Errorf("containerd.toml: %v\n%s", err, text)
	}
	if _, err := writeConfig(paths{run: "/dev/null"}, settings{}); err == nil {
		t.Error("no error where nothing can be written")
	}
}

// FuzzDaemonJSON takes any daemon.json of a HookOS: what comes out is JSON that opens no port.
func FuzzDaemonJSON(f *testing.F) {
	f.Add([]byte(`{"hosts":["tcp://0.0.0.0:2375"],"log-opts":{"a":"b"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, base []byte) {
		text, _ := daemonJSON(base, settings{})
		var config map[string]any
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatalf("%q becomes %q: %v", base, text, err)
		}
		if _, ok := config["hosts"]; ok {
			t.Errorf("%q opens a port", base)
		}
	})
}
