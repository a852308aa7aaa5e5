package bootkit

import (
	"io"
	"os"
	"strings"
	"time"
)

// advice is what to do about an error of a pull, for the operator at the console; empty if nothing is known.
func (c config) advice(err error) string {
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	host := hostOf(c.image)
	switch {
	case strings.HasPrefix(c.image, embeddedPrefix):
		return "the image is not embedded in this HookOS; build one that has it, or name another with tink_worker_image="
	case has("proxy authentication required"):
		return "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT; a registry that needs no proxy: NO_PROXY=" + host
	case has("proxyconnect"):
		return "the proxy of HTTPS_PROXY= or HTTP_PROXY= cannot be reached; a registry that needs no proxy: NO_PROXY=" + host
	case c.proxied && (strings.HasSuffix(text, `": forbidden`) || has("bad gateway", "gateway timeout", "gateway time-out", "service unavailable")):
		return "this may be the proxy of HTTPS_PROXY= or HTTP_PROXY= that does not let through to the registry; if it needs no proxy: NO_PROXY=" + host
	case has("not yet valid", "has expired"):
		return "this machine's clock says " + time.Now().UTC().Format(time.RFC3339) + "; if that is wrong, name a time server with ntp_servers="
	case has("x509", "certificate"):
		return "if the registry has a CA of its own, name its certificate with registry_ca=URL, or trust the registry without one with insecure_registries=" + host
	case has("http response to https client"):
		return "the registry speaks plain HTTP: insecure_registries=" + host
	case has("unauthorized", "authentication required", "denied", "no basic auth", "forbidden") && c.credentials().Username == "" && c.auth.Username != "":
		return "registry_username= and registry_password= are only sent to docker_registry=" + c.registry + ", and the image is on " + host
	case has("unauthorized", "authentication required", "denied", "no basic auth", "forbidden"):
		return "are registry_username= and registry_password= right, and the image's name?"
	case has("no matching manifest"):
		return "the image is not there for this machine's architecture"
	case has("manifest unknown", "not found", "does not exist"):
		return "is the image in the registry, under this name and tag?"
	case has("no such host", "lookup", "server misbehaving"):
		return "the name " + host + " cannot be resolved; do the DNS servers know it?"
	case has("refused", "timeout", "unreachable", "no route", "deadline exceeded"):
		return "the registry cannot be reached from here; is the network up, or HTTPS_PROXY= missing?"
	}
	return ""
}

// redactor keeps secrets out of what is written through it. Every Write must be a whole line, as log.Logger's are.
type redactor struct {
	to      io.Writer
	secrets []string
}

func (r redactor) Write(line []byte) (int, error) {
	text := string(line)
	for _, secret := range r.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	if _, err := io.WriteString(r.to, text); err != nil {
		return 0, err
	}
	return len(line), nil
}

// networkUp reports whether the network service says in its status.json that an interface is up. Where that file's
// folder is not to be seen nothing is known, and the network is taken to be up.
func networkUp(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		_, err = os.Stat(path[:strings.LastIndexByte(path, '/')+1])
		return err != nil
	}
	return strings.Contains(string(text), `"state": "up"`)
}

// shortID is the part of a container's id that people use.
func shortID(id string) string { return id[:min(len(id), 12)] }
