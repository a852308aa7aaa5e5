package bootkit

import (
	"bytes"
	"errors"
	"log"
	"reflect"
	"strings"
	"testing"

	"hooksmith/guest/cmdline"
	"hooksmith/guest/dockerd/engine"
)

func TestNewConfig(t *testing.T) {
	const agent = "grpc_authority=10.0.0.1:42113 worker_id=52:54:00:12:34:56 "
	agentEnv := []string{"TINKERBELL_GRPC_AUTHORITY=10.0.0.1:42113", "WORKER_ID=52:54:00:12:34:56", "ID=52:54:00:12:34:56"}
	for _, test := range []struct {
		name, arguments string
		image           string
		env             []string
		auth            engine.Auth
		problems        []string
		err             string
	}{
		{name: "an image", arguments: agent + "tink_worker_image=reg.local/a/agent:v1", image: "reg.local/a/agent:v1", env: agentEnv},
		{
			name: "a registry", arguments: agent + "docker_registry=reg.local:5000", image: "reg.local:5000/tink-worker:latest",
			env: append([]string{"DOCKER_REGISTRY=reg.local:5000"}, agentEnv...),
		},
		{
			name: "a registry with a scheme", arguments: agent + "docker_registry=https://reg.local/", image: "reg.local/tink-worker:latest",
			env: append([]string{"DOCKER_REGISTRY=https://reg.local/"}, agentEnv...),
		},
		{
			name: "everything", arguments: agent + `tink_worker_image=a/b docker_registry=r registry_username=u registry_password="p w" ` +
				"tinkerbell_tls=false tinkerbell_insecure_tls=true HTTP_PROXY=http://p:1 HTTPS_PROXY=http://p:2 NO_PROXY=.local",
			image: "a/b", auth: engine.Auth{Username: "u", Password: "p w"},
			env: []string{
				"DOCKER_REGISTRY=r", "REGISTRY_USERNAME=u", "REGISTRY_PASSWORD=p w", "TINKERBELL_GRPC_AUTHORITY=10.0.0.1:42113",
				"TINKERBELL_TLS=false", "TINKERBELL_INSECURE_TLS=true", "WORKER_ID=52:54:00:12:34:56", "ID=52:54:00:12:34:56",
				"HTTP_PROXY=http://p:1", "HTTPS_PROXY=http://p:2", "NO_PROXY=.local",
			},
		},
		{
			name: "nothing", arguments: "console=ttyS0", err: errNoImage.Error(),
			problems: []string{"grpc_authority= is missing", "worker_id= is missing"},
		},
		{
			name: "without =", arguments: "tink_worker_image docker_registry registry_username registry_password grpc_authority worker_id tinkerbell_tls HTTP_PROXY",
			err: "name no image",
			problems: []string{
				"tink_worker_image has no value: write tink_worker_image=HOST/REPOSITORY:TAG", "docker_registry has no value: write docker_registry=HOST",
				"registry_username has no value", "registry_password has no value", "grpc_authority has no value: write grpc_authority=HOST:PORT",
				"tinkerbell_tls has no value", "worker_id has no value", "HTTP_PROXY has no value",
			},
		},
		{name: "no image's name", arguments: agent + "tink_worker_image=../../containers/x", env: agentEnv, image: "../../containers/x", err: "is not the name of an image"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, problems, err := newConfig(cmdline.Parse(test.arguments))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if c.image != test.image || !reflect.DeepEqual(c.env, test.env) || c.auth != test.auth {
				t.Errorf("image %q, env %q, auth %v", c.image, c.env, c.auth)
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems %q", problems)
			}
			for i, problem := range problems {
				if !strings.Contains(problem, test.problems[i]) {
					t.Errorf("problem %q, want %q", problem, test.problems[i])
				}
			}
		})
	}
}

// FuzzConfig makes sure that no argument makes bootkit panic, or an image's name another path of docker's API.
func FuzzConfig(f *testing.F) {
	f.Add("tink_worker_image=a/b:c docker_registry=r:5 registry_password HTTP_PROXY=http://u:p@h")
	f.Fuzz(func(t *testing.T, arguments string) {
		c, _, err := newConfig(cmdline.Parse(arguments))
		if err == nil && (c.image == "" || strings.ContainsAny(c.image, "?#% ") || strings.Contains(c.image, "..")) {
			t.Errorf("%q: the image is %q", arguments, c.image)
		}
		c.advice(errors.New(arguments))
		c.spec()
	})
}

func TestCredentials(t *testing.T) {
	sent := engine.Auth{Username: "u", Password: "p"}
	for _, test := range []struct {
		registry, image string
		want            bool
	}{
		{"reg.local", "reg.local/tink-worker:latest", true},
		{"reg.local:5000", "reg.local:5000/a/b/c:1", true},
		{"reg.local:5000/prefix", "reg.local:5000/prefix/a", true},
		{"reg.local", "reg.local:5000/a", false},
		{"reg.local:5000", "reg.local/a", false},
		{"reg.local", "evil-reg.local/a", false},
		{"reg.local", "reg.local.evil/a", false},
		{"reg.local", "evil.com/reg.local/a", false},
		{"reg.local", "tink-worker", false},
		{"reg.lоcal", "reg.local/a", false}, // with a Cyrillic o
		{"docker.io", "tinkerbell/tink-worker", true},
		{"docker.io", "busybox", true},
		{"index.docker.io", "docker.io/library/busybox", true},
		{"localhost", "localhost/a", true},
		{"reg", "reg/a", false}, // a user of Docker Hub
		{"", "reg.local/a", false},
	} {
		c := config{registry: test.registry, image: test.image, auth: sent}
		if got := c.credentials() == sent; got != test.want {
			t.Errorf("docker_registry=%s, image %s: credentials sent: %v", test.registry, test.image, got)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, test := range []struct{ err, want string }{
		{"x509: certificate signed by unknown authority", "registry_ca=URL"},
		{`Get "https://reg.local/v2/": Proxy Authentication Required`, "NAME:PASSWORD@HOST:PORT"},
		{"received unexpected HTTP status: 407 Proxy Authentication Required", "the proxy wants a name"},
		{`Get "https://reg.local/v2/": proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused`, "the proxy of HTTPS_PROXY= or HTTP_PROXY= cannot be reached"},
		{`Get "https://reg.local/v2/": proxyconnect tcp: dial tcp: lookup proxy.local: no such host`, "the proxy of HTTPS_PROXY= or HTTP_PROXY= cannot be reached"},
		{`Get "https://reg.local/v2/": Forbidden`, "this may be the proxy"},
		{"received unexpected HTTP status: 502 Bad Gateway", "this may be the proxy"},
		{"denied: requested access to the resource is denied", "only sent to docker_registry=other.local"},
		{"x509: certificate has expired or is not yet valid: current time 1970-01-01", "ntp_servers="},
		{"http: server gave HTTP response to HTTPS client", "insecure_registries=reg.local"},
		{"unauthorized: authentication required", "only sent to docker_registry=other.local, and the image is on reg.local"},
		{"manifest unknown: manifest unknown", "under this name and tag"},
		{"no matching manifest for linux/arm64/v8 in the manifest list entries", "architecture"},
		{"dial tcp: lookup reg.local on 10.0.2.3:53: no such host", "cannot be resolved"},
		{"dial tcp 10.0.0.1:443: connect: connection refused", "cannot be reached"},
		{"net/http: request canceled while waiting for connection (Client.Timeout exceeded)", "cannot be reached"},
		{"something else", ""},
	} {
		c := config{image: "reg.local/a", registry: "other.local", auth: engine.Auth{Username: "u", Password: "p"}, proxied: true}
		got := c.advice(errors.New(test.err))
		if !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("%q: %q, want %q", test.err, got, test.want)
		}
	}
	direct := config{image: "reg.local/a"}
	if got := direct.advice(errors.New("received unexpected HTTP status: 502 Bad Gateway")); got != "" {
		t.Errorf("a registry that fails, without a proxy: %q", got)
	}
	embedded := config{image: "127.0.0.1/embedded/tink-worker"}
	if got := embedded.advice(errors.New(`Get "http://127.0.0.1/v2/embedded/": dial tcp 127.0.0.1:80: connection refused`)); !strings.Contains(got, "not embedded in this HookOS") {
		t.Errorf("an image that is not embedded: %q", got)
	}
}

// A proxy without a scheme has a password as well.
func TestProxyPassword(t *testing.T) {
	for text, want := range map[string]string{
		"http://u:p%40ss@h:1": "p@ss p%40ss", "u:secret@10.0.0.1:3128": "secret secret", "10.0.0.1:3128": "", "http://h": "", "u@h:1": "", "://": "", "%zz:1@": "",
	} {
		if got := strings.Join(proxyPassword(text), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestRedactor(t *testing.T) {
	c, _, _ := newConfig(cmdline.Parse("tink_worker_image=a registry_password=hunter2 HTTP_PROXY=http://u:p%40ss@h:1 HTTPS_PROXY=http://h:2"))
	var out bytes.Buffer
	log.New(redactor{&out, c.secrets}, "", 0).Print("hunter2 and http://u:p%40ss@h:1 and p@ss and u")
	if got, want := out.String(), "*** and http://u:***@h:1 and *** and u\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}
