package docker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/build/docker/dockertest"
)

// configWith is a configuration folder of docker with contexts of all sorts, one of which is the current one.
func configWith(t *testing.T, current string) string {
	t.Helper()
	meta := func(host string) string {
		return fmt.Sprintf(`{"Name":"x","Metadata":{},"Endpoints":{"docker":{"Host":%q,"SkipTLSVerify":false}}}`, host)
	}
	d := t.TempDir()
	dockertest.WriteContext(t, d, "lab", meta("ssh://me@lab"))
	dockertest.WriteContext(t, d, "socket", meta("unix:///lab.sock"))
	dockertest.WriteContext(t, d, "empty", `{}`)
	dockertest.WriteContext(t, d, "broken", `{`)
	if current == "large" {
		dockertest.WriteContext(t, d, current, meta("tcp://lab:2376")+strings.Repeat(" ", maxContext))
	}
	tls := dockertest.WriteContext(t, d, "tls", meta("tcp://lab:2376"))
	if err := os.MkdirAll(tls, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tls, "ca.pem"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dockertest.WriteContext(t, d, "skip", strings.Replace(meta("tcp://lab:2376"), "false", "true", 1))
	if err := os.WriteFile(filepath.Join(d, "config.json"), fmt.Appendf(nil, `{"currentContext":%q,"HttpHeaders":{"X":"1"}}`, current), 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	socketIn := func(name string) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path
	}
	config := func(current string) string { return configWith(t, current) }
	rootless := filepath.Dir(socketIn("docker.sock"))
	for _, tt := range []struct {
		name    string
		docker  Config
		env     map[string]string
		want    string // address, from
		tls     bool
		wantErr string
	}{
		{name: "host option", docker: Config{Host: "tcp://a:1"}, env: map[string]string{"DOCKER_HOST": "tcp://b:1"}, want: "tcp://a:1"},
		{name: "context option", docker: Config{Context: "lab"}, env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_CONFIG": config("socket")}, want: "ssh://me@lab (context lab)"},
		{name: "DOCKER_HOST", env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": config("socket")}, want: "tcp://b:1 (DOCKER_HOST)"},
		{name: "DOCKER_CONTEXT", env: map[string]string{"DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": config("socket")}, want: "ssh://me@lab (context lab of DOCKER_CONTEXT)"},
		{name: "current context", env: map[string]string{"DOCKER_CONFIG": config("socket")}, want: "unix:///lab.sock (context socket, the current one)"},
		{name: "context with TLS", env: map[string]string{"DOCKER_CONFIG": config("tls")}, want: "tcp://lab:2376 (context tls, the current one)", tls: true},
		{name: "context that does not verify", env: map[string]string{"DOCKER_CONFIG": config("skip")}, want: "tcp://lab:2376 (context skip, the current one)", tls: true},
		{name: "TLS by environment", env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": config("")}, want: "tcp://b:1 (DOCKER_HOST)", tls: true},
		{name: "no such context", env: map[string]string{"DOCKER_CONTEXT": "none", "DOCKER_CONFIG": config("")}, wantErr: "docker context ls"},
		{name: "context without host", env: map[string]string{"DOCKER_CONTEXT": "empty", "DOCKER_CONFIG": config("")}, wantErr: "names no Docker host"},
		{name: "large context", env: map[string]string{"DOCKER_CONFIG": config("large")}, wantErr: "is larger than"},
		{name: "broken context", env: map[string]string{"DOCKER_CONTEXT": "broken", "DOCKER_CONFIG": config("")}, wantErr: "meta.json"},
		{name: "context with a path", env: map[string]string{"DOCKER_CONTEXT": "../x", "DOCKER_CONFIG": config("")}, wantErr: "no name of a context"},
		{name: "rootless", env: map[string]string{"XDG_RUNTIME_DIR": rootless, "DOCKER_CONFIG": config("default")}, want: "unix://" + filepath.Join(rootless, "docker.sock")},
		{name: "context option default", docker: Config{Context: "default"}, env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_CONFIG": config("socket")}, want: "tcp://b:1 (DOCKER_HOST)"},
		{name: "context option default with TLS", docker: Config{Context: "default"}, env: map[string]string{"DOCKER_HOST": "b", "DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": config("")}, want: "tcp://b:2375 (DOCKER_HOST)", tls: true},
		{name: "context option default, nothing else", docker: Config{Context: "default"}, env: map[string]string{"DOCKER_CONFIG": config("socket")}, want: "unix:///var/run/docker.sock"},
		{name: "host option without port", docker: Config{Host: " a "}, want: "tcp://a:2375"},
		{name: "blank DOCKER_HOST", env: map[string]string{"DOCKER_HOST": " ", "DOCKER_CONFIG": config("socket")}, want: "unix:///var/run/docker.sock"},
		{name: "TLS without a host", env: map[string]string{"DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": config("")}, want: "tcp://localhost:2376 (DOCKER_TLS_VERIFY)", tls: true},
		{name: "no address", env: map[string]string{"DOCKER_HOST": "ftp://b"}, wantErr: `DOCKER_HOST: "ftp://b" is no address`},
		{name: "nothing set", want: "unix:///var/run/docker.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "rootless" && isSocket("/var/run/docker.sock") {
				t.Skip("this machine has the usual socket")
			}
			tt.docker.Getenv = func(name string) string { return tt.env[name] }
			h, err := tt.docker.Find()
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.String() != tt.want || (h.tls != nil) != tt.tls {
				t.Errorf("found %s, TLS %v; want %s", h, h.tls, tt.want)
			}
		})
	}
}

func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}

// TestParseAddress: what `DOCKER_HOST=... docker version` of Docker 28.2 makes
// of an address.
func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:2375":          "tcp://127.0.0.1:2375",
		"unix://":                 "unix:///var/run/docker.sock",
		"unix:///x.sock":          "unix:///x.sock",
		"tcp://":                  "tcp://localhost:2375",
		"tcp://127.0.0.1":         "tcp://127.0.0.1:2375",
		"tcp://[::1]:1":           "tcp://[::1]:1",
		"tcp://[::1]:":            "tcp://[::1]:2375",
		"tcp://lab:1/below":       "tcp://lab:1/below",
		":2376":                   "tcp://localhost:2376",
		"lab":                     "tcp://lab:2375",
		"ssh://me@lab:2222":       "ssh://me@lab:2222",
		"tcp://127.0.0.1:abc":     "",
		"http://127.0.0.1:1":      "",
		"https://127.0.0.1:1":     "",
		"tcp://tcp://127.0.0.1:1": "",
		"unix://tcp://x":          "",
	} {
		got, err := parseAddress(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestSSHCommand: the command that the hint names reaches the same daemon.
func TestSSHCommand(t *testing.T) {
	for address, want := range map[string]string{
		"ssh://lab.test":                   "ssh lab.test docker version",
		"ssh://user@lab.test:2222":         "ssh -p 2222 user@lab.test docker version",
		"ssh://user@[::1]:22":              "ssh -p 22 user@::1 docker version",
		"ssh://lab.test/run/user/1/x.sock": "ssh lab.test docker -H unix:///run/user/1/x.sock version",
		"ssh://me@lab.test:2222/":          "ssh -p 2222 me@lab.test docker version",
	} {
		err := (&Host{address: address}).explain(errors.New("x"))
		if !strings.Contains(err.Error(), "`"+want+"`") {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}

func TestLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"unix:///var/run/docker.sock": true, "tcp://127.0.0.1:2375": true, "tcp://[::1]:2375": true, "tcp://localhost:1": true,
		"ssh://lab": false, "tcp://lab:2376": false, "::": false,
	} {
		if h := (&Host{address: address}); h.Local() != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
}

func FuzzContext(f *testing.F) {
	f.Add([]byte(`{"Endpoints":{"docker":{"Host":"unix:///x","SkipTLSVerify":true}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := parseContext(raw); err == nil && h.address == "" {
			t.Error("a context without a host")
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("tcp://[::1]:1/x")
	f.Add("unix://")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseAddress(text)
		if err == nil && !strings.Contains(got, "://") {
			t.Errorf("%q: %q", text, got)
		}
	})
}
