package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
	"golang.org/x/sys/unix"
)

// Config says where the Docker daemon is. With only Getenv set it is found as
// the docker command finds it: DOCKER_HOST, DOCKER_CONTEXT, the current
// context of docker's configuration, and the usual sockets, those of rootless
// Docker and Docker Desktop included.
type Config struct {
	Host    string                   // as DOCKER_HOST; "": by context
	Context string                   // as docker --context; "": see above
	Getenv  func(name string) string // nil: nothing is set
}

// connectTime is how long a daemon may take to answer; ssh may ask for more
// than one key.
const connectTime = 45 * time.Second

// maxContext bounds the file that describes a context.
const maxContext = 8 << 20

// Daemon is a Docker daemon that answers.
type Daemon struct {
	*client.Client
	config Config
	host   *Host
	file   *configfile.ConfigFile
}

// Connect returns the Docker daemon, after it answered. The caller closes
// it. An error says where the daemon was looked for and what to do.
func (d Config) Connect(ctx context.Context) (*Daemon, error) {
	h, err := d.Find()
	if err != nil {
		return nil, err
	}
	file, err := d.configFile()
	if err != nil {
		return nil, fmt.Errorf("reading docker's configuration: %w", err)
	}
	c, err := h.client(d.getenv("DOCKER_API_VERSION"))
	if err != nil {
		return nil, fmt.Errorf("the daemon at %s: %w", h, err)
	}
	patience, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if _, err := c.Ping(patience); err != nil {
		c.Close()
		return nil, errors.Join(h.explain(err), ctx.Err())
	}
	c.NegotiateAPIVersion(ctx)
	return &Daemon{c, d, h, file}, nil
}

// Host is where the daemon is.
func (d *Daemon) Host() *Host { return d.host }

// Explain says why the daemon does not answer, and what to do. Errors of
// other kinds stay as they are.
func (d *Daemon) Explain(err error) error {
	if !client.IsErrConnectionFailed(err) {
		return err
	}
	return d.host.explain(err)
}

func (d Config) getenv(name string) string {
	if d.Getenv == nil {
		return ""
	}
	return d.Getenv(name)
}

// configDir is where docker keeps config.json and contexts; "" if nothing says so.
func (d Config) configDir() string {
	if dir := d.getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	if home := d.getenv("HOME"); home != "" {
		return filepath.Join(home, ".docker")
	}
	return ""
}

// configFile is docker's config.json, empty if there is none.
func (d Config) configFile() (*configfile.ConfigFile, error) {
	dir := d.configDir()
	if dir == "" {
		return configfile.New(""), nil
	}
	return config.Load(dir)
}

// Find decides which daemon it is, in the order of the docker command. Nobody
// is asked.
func (d Config) Find() (*Host, error) {
	cfg, err := d.configFile()
	if err != nil {
		return nil, fmt.Errorf("reading docker's configuration: %w", err)
	}
	name, from := d.context(cfg.CurrentContext)
	if name == "" || name == "default" {
		return d.defaultHost(cfg.HTTPHeaders)
	}
	h, err := readContext(d.configDir(), name)
	if err != nil {
		return nil, fmt.Errorf("docker's %s: %w", from, err)
	}
	h.from, h.headers = from, cfg.HTTPHeaders
	return h, nil
}

// context is the context to use, and who says so; "" if a host was named.
func (d Config) context(current string) (name, from string) {
	switch {
	case d.Host != "":
		return "", ""
	case d.Context != "":
		return d.Context, "context " + d.Context
	case d.getenv("DOCKER_HOST") != "":
		return "", ""
	case d.getenv("DOCKER_CONTEXT") != "":
		name = d.getenv("DOCKER_CONTEXT")
		return name, "context " + name + " of DOCKER_CONTEXT"
	}
	return current, "context " + current + ", the current one"
}

// defaultHost is the host of the context named default: the one that was named,
// or the usual sockets.
func (d Config) defaultHost(headers map[string]string) (*Host, error) {
	h := &Host{headers: headers}
	address := strings.TrimSpace(d.Host)
	if address == "" {
		if address = strings.TrimSpace(d.getenv("DOCKER_HOST")); address != "" {
			h.from = "DOCKER_HOST"
		}
	}
	switch {
	case address != "":
		var err error
		if h.address, err = parseAddress(address); err != nil {
			return nil, fmt.Errorf("%s: %w", cmp.Or(h.from, "the Docker host"), err)
		}
	case d.getenv("DOCKER_TLS_VERIFY") != "":
		h.address, h.from = "tcp://localhost:2376", "DOCKER_TLS_VERIFY"
	default:
		h.address = d.socket()
	}
	d.addTLS(h)
	return h, nil
}

// addTLS adds what DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say.
func (d Config) addTLS(h *Host) {
	verify, dir := d.getenv("DOCKER_TLS_VERIFY") != "", d.getenv("DOCKER_CERT_PATH")
	if !verify && dir == "" || !strings.HasPrefix(h.address, "tcp:") {
		return
	}
	if dir == "" {
		dir = d.configDir()
	}
	h.tls = tlsFiles(dir)
	h.tls.InsecureSkipVerify = !verify
}

// tlsFiles names those of docker's three files that a folder has.
func tlsFiles(dir string) *tlsconfig.Options {
	o := &tlsconfig.Options{ExclusiveRootPools: true}
	for name, field := range map[string]*string{"ca.pem": &o.CAFile, "cert.pem": &o.CertFile, "key.pem": &o.KeyFile} {
		if path := filepath.Join(dir, name); isFile(path) {
			*field = path
		}
	}
	return o
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// socket is the first of the usual sockets that this user may use.
func (d Config) socket() string {
	paths := []string{usualSocket}
	if dir := d.getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "docker.sock")) // rootless
	}
	if home := d.getenv("HOME"); home != "" {
		paths = append(paths, filepath.Join(home, ".docker/run/docker.sock"), filepath.Join(home, ".docker/desktop/docker.sock"))
	}
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode()&fs.ModeSocket != 0 && unix.Access(p, unix.W_OK) == nil {
			return "unix://" + p
		}
	}
	return "unix://" + paths[0]
}
