package bootkit

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"hooksmith/guest/cmdline"
	"hooksmith/guest/dockerd/engine"
)

// config is what the kernel arguments say of the worker.
type config struct {
	image    string // the worker's image
	registry string // docker_registry=, without a scheme
	auth     engine.Auth
	env      []string // of the worker
	secrets  []string // what must not be in any log
	proxied  bool     // a proxy is named
}

// errNoImage is the one thing that makes a worker impossible.
var errNoImage = errors.New("no worker can be started: the kernel arguments name no image; " +
	"set tink_worker_image=HOST/REPOSITORY:TAG, or docker_registry=HOST for HOST/tink-worker:latest")

// variables are the kernel arguments that the worker gets, and the names of its environment variables for them.
var variables = []struct {
	key   string
	names []string
	form  string // of the value, for the message that it is missing
}{
	{"docker_registry", []string{"DOCKER_REGISTRY"}, "HOST"},
	{"registry_username", []string{"REGISTRY_USERNAME"}, "NAME"},
	{"registry_password", []string{"REGISTRY_PASSWORD"}, "PASSWORD"},
	{"grpc_authority", []string{"TINKERBELL_GRPC_AUTHORITY"}, "HOST:PORT"},
	{"tinkerbell_tls", []string{"TINKERBELL_TLS"}, "true|false"},
	{"tinkerbell_insecure_tls", []string{"TINKERBELL_INSECURE_TLS"}, "true|false"},
	{"worker_id", []string{"WORKER_ID", "ID"}, "ID"},
	{"HTTP_PROXY", []string{"HTTP_PROXY"}, "URL"},
	{"HTTPS_PROXY", []string{"HTTPS_PROXY"}, "URL"},
	{"NO_PROXY", []string{"NO_PROXY"}, "HOST,.."},
}

// newConfig reads the kernel arguments. The problems are for the console; the error is errNoImage or says that the
// image's name is none. A variable without a value is left out of the environment: some agents take an empty one for
// a wrong one.
func newConfig(params cmdline.Params) (c config, problems []string, err error) {
	value := func(key, form string) string {
		v, ok := params.Get(key)
		if ok && v == "" {
			problems = append(problems, fmt.Sprintf("the kernel argument %s has no value: write %s=%s, or leave it out", key, key, form))
		}
		return v
	}
	c.image = value("tink_worker_image", "HOST/REPOSITORY:TAG")
	for _, v := range variables {
		text := value(v.key, v.form)
		if text == "" {
			continue
		}
		for _, name := range v.names {
			c.env = append(c.env, name+"="+text)
		}
		switch v.key {
		case "docker_registry":
			_, after, ok := strings.Cut(text, "://")
			if !ok {
				after = text
			}
			c.registry = strings.TrimRight(after, "/")
		case "registry_username":
			c.auth.Username = text
		case "registry_password":
			c.auth.Password = text
			c.secrets = append(c.secrets, text)
		case "HTTP_PROXY", "HTTPS_PROXY":
			c.proxied = true
			c.secrets = append(c.secrets, proxyPassword(text)...)
		}
	}
	for _, key := range []string{"grpc_authority", "worker_id"} {
		if !params.Has(key) {
			problems = append(problems, fmt.Sprintf("the kernel argument %s= is missing: a Tinkerbell worker needs it", key))
		}
	}
	if c.image == "" && c.registry != "" {
		c.image = c.registry + "/tink-worker:latest"
	}
	if c.image == "" {
		return c, problems, errNoImage
	}
	if !validRef(c.image) {
		return c, problems, fmt.Errorf("no worker can be started: %q is not the name of an image, which is like HOST/REPOSITORY:TAG", c.image)
	}
	return c, problems, nil
}

// proxyPassword returns the password in a proxy's URL, as it is written there and as it is meant. Without a scheme, as
// in NAME:PASSWORD@HOST:PORT, a proxy is one of http to dockerd, too.
func proxyPassword(text string) []string {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return nil
	}
	password, ok := u.User.Password()
	if !ok || password == "" {
		return nil
	}
	_, escaped, _ := strings.Cut(u.User.String(), ":")
	return []string{password, escaped}
}

// validRef reports whether ref has only the characters of an image reference; dockerd judges the rest. It keeps the
// reference from becoming another path of the API.
func validRef(ref string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/@[]"
	return ref != "" && len(ref) <= 512 && strings.Trim(ref, allowed) == "" && !strings.Contains(ref, "..") &&
		!strings.Contains(ref, "//") && ref[0] != '/' && ref[0] != '.'
}

// hostOf is the registry of an image reference, by docker's rule: the part before the first slash is a host if it has
// a dot, a colon or an upper-case letter, or is localhost; else the image is on Docker Hub.
func hostOf(ref string) string {
	first, _, ok := strings.Cut(ref, "/")
	if !ok || (!strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first) {
		return "docker.io"
	}
	if first == "index.docker.io" {
		return "docker.io"
	}
	return first
}

// credentials are those to send for the image: none but to the registry that docker_registry= names. The comparison is
// byte by byte, for a name that only looks like another is another one.
func (c config) credentials() engine.Auth {
	host, _, _ := strings.Cut(c.registry, "/")
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "" || host != hostOf(c.image) {
		return engine.Auth{}
	}
	return c.auth
}

// embeddedPrefix begins the names of images that are part of a HookOS. Nobody listens there.
const embeddedPrefix = "127.0.0.1/embedded/"

// isLocal reports whether the image cannot or need not be pulled when it is there: it is embedded, or named by a digest,
// whose contents do not change.
func isLocal(ref string) bool {
	return strings.HasPrefix(ref, embeddedPrefix) || strings.Contains(ref, "@sha256:")
}
