package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
	"golang.org/x/sys/unix"
)

// Docker says where the Docker daemon is. With only Getenv set it is found as
// the docker command finds it: DOCKER_HOST, DOCKER_CONTEXT, the current
// context of docker's configuration, and the usual sockets, those of rootless
// Docker and Docker Desktop included.
type Docker struct {
	Host    string                   // as DOCKER_HOST; "": by context
	Context string                   // as docker --context; "": see above
	Getenv  func(name string) string // nil: nothing is set
}

// connectTime is how long a daemon may take to answer; ssh may ask for more
// than one key.
const connectTime = 45 * time.Second

// Connect returns a client of the Docker daemon, after it answered. The caller closes
// it. An error says where the daemon was looked for and what to do.
func (d *Docker) Connect(ctx context.Context) (*client.Client, error) {
	c, _, err := d.connect(ctx)
	return c, err
}

func (d *Docker) connect(ctx context.Context) (*client.Client, *dockerHost, error) {
	h, err := d.find()
	if err != nil {
		return nil, nil, err
	}
	c, err := h.client(d.getenv("DOCKER_API_VERSION"))
	if err != nil {
		return nil, nil, fmt.Errorf("the daemon at %s: %w", h, err)
	}
	patience, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if _, err := c.Ping(patience); err != nil {
		c.Close()
		return nil, nil, errors.Join(h.explain(err), ctx.Err())
	}
	c.NegotiateAPIVersion(ctx)
	return c, h, nil
}

func (d *Docker) getenv(name string) string {
	if d.Getenv == nil {
		return ""
	}
	return d.Getenv(name)
}

// configDir is where docker keeps config.json and contexts; "" if nothing says so.
func (d *Docker) configDir() string {
	if dir := d.getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	if home := d.getenv("HOME"); home != "" {
		return filepath.Join(home, ".docker")
	}
	return ""
}

// configFile is docker's config.json, empty if there is none.
func (d *Docker) configFile() (*configfile.ConfigFile, error) {
	dir := d.configDir()
	if dir == "" {
		return configfile.New(""), nil
	}
	return config.Load(dir)
}

// dockerHost is where a daemon is.
type dockerHost struct {
	address string // unix:///..., tcp://..., ssh://...
	from    string // who says so
	tls     *tlsconfig.Options
	headers map[string]string
}

func (h *dockerHost) String() string {
	if h.from == "" {
		return h.address
	}
	return h.address + " (" + h.from + ")"
}

// local reports whether the daemon is on this machine.
func (h *dockerHost) local() bool {
	u, err := url.Parse(h.address)
	return err == nil && (u.Scheme == "unix" || u.Scheme == "npipe" || u.Scheme == "tcp" && isLoopback(u.Host))
}

// find decides which daemon it is, in the order of the docker command.
func (d *Docker) find() (*dockerHost, error) {
	cfg, err := d.configFile()
	if err != nil {
		return nil, fmt.Errorf("reading docker's configuration: %w", err)
	}
	name, from := d.Context, "context "+d.Context
	switch {
	case d.Host != "":
		return d.withTLS(&dockerHost{address: d.Host, headers: cfg.HTTPHeaders})
	case name != "":
	case d.getenv("DOCKER_HOST") != "":
		return d.withTLS(&dockerHost{address: d.getenv("DOCKER_HOST"), from: "DOCKER_HOST", headers: cfg.HTTPHeaders})
	case d.getenv("DOCKER_CONTEXT") != "":
		name = d.getenv("DOCKER_CONTEXT")
		from = "context " + name + " of DOCKER_CONTEXT"
	default:
		name = cfg.CurrentContext
		from = "context " + name + ", the current one"
	}
	if name == "" || name == "default" {
		return &dockerHost{address: d.socket(), headers: cfg.HTTPHeaders}, nil
	}
	h, err := readContext(d.configDir(), name)
	if err != nil {
		return nil, fmt.Errorf("docker's %s: %w", from, err)
	}
	h.from, h.headers = from, cfg.HTTPHeaders
	return h, nil
}

// withTLS adds what DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say.
func (d *Docker) withTLS(h *dockerHost) (*dockerHost, error) {
	verify, dir := d.getenv("DOCKER_TLS_VERIFY") != "", d.getenv("DOCKER_CERT_PATH")
	if !verify && dir == "" || !strings.HasPrefix(h.address, "tcp:") && !strings.HasPrefix(h.address, "https:") {
		return h, nil
	}
	if dir == "" {
		dir = d.configDir()
	}
	h.tls = tlsFiles(dir)
	h.tls.InsecureSkipVerify = !verify
	return h, nil
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
func (d *Docker) socket() string {
	paths := []string{"/var/run/docker.sock"}
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

var contextName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.+-]*$`)

// readContext reads one of docker's contexts: a folder for each, named by the
// hash of its name.
func readContext(configDir, name string) (*dockerHost, error) {
	if !contextName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of a context", name)
	}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	raw, err := readLimited(filepath.Join(configDir, "contexts", "meta", id, "meta.json"), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no such context in %s: see docker context ls", filepath.Join(configDir, "contexts"))
	}
	if err != nil {
		return nil, err
	}
	h, err := parseContext(raw)
	if err != nil {
		return nil, err
	}
	files := tlsFiles(filepath.Join(configDir, "contexts", "tls", id, "docker"))
	if h.tls != nil || files.CAFile != "" || files.CertFile != "" {
		files.InsecureSkipVerify = h.tls != nil
		h.tls = files
	}
	return h, nil
}

// parseContext reads a context's meta.json. Its tls is set if certificates
// must not be verified.
func parseContext(raw []byte) (*dockerHost, error) {
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("reading meta.json: %w", err)
	}
	e, ok := meta.Endpoints["docker"]
	if !ok || e.Host == "" {
		return nil, errors.New("its meta.json names no Docker host")
	}
	h := &dockerHost{address: e.Host}
	if e.SkipTLSVerify {
		h.tls = &tlsconfig.Options{InsecureSkipVerify: true}
	}
	return h, nil
}

// client makes a client; nothing is sent yet.
func (h *dockerHost) client(apiVersion string) (*client.Client, error) {
	opts := []client.Opt{client.WithAPIVersionNegotiation(), client.WithUserAgent("hooksmith"), client.WithHTTPHeaders(h.headers)}
	helper, err := connhelper.GetConnectionHelper(h.address)
	switch {
	case err != nil:
		return nil, err
	case helper != nil: // ssh://
		opts = append(opts,
			client.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: helper.Dialer}}),
			client.WithHost(helper.Host), client.WithDialContext(helper.Dialer))
	case h.tls != nil:
		c, err := tlsconfig.Client(*h.tls)
		if err != nil {
			return nil, err
		}
		opts = append(opts, client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{TLSClientConfig: c},
			CheckRedirect: client.CheckRedirect,
		}), client.WithHost(h.address))
	default:
		opts = append(opts, client.WithHost(h.address))
	}
	if apiVersion != "" {
		opts = append(opts, client.WithVersion(apiVersion))
	}
	return client.NewClientWithOpts(opts...)
}

// explain says why a daemon does not answer, and what to do.
func (h *dockerHost) explain(err error) error {
	u, _ := url.Parse(h.address)
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied"):
		return hinted(err, "permission denied at %s: become a member of its group (sudo usermod -aG docker $USER, then log in again), or set DOCKER_HOST", h)
	case u != nil && u.Scheme == "ssh":
		return hinted(err, "the daemon at %s does not answer (%s): does `ssh %s docker version` work?", h, brief(err), u.Host)
	case client.IsErrConnectionFailed(err), errors.As(err, &op), errors.Is(err, fs.ErrNotExist), errors.Is(err, context.DeadlineExceeded):
		return hinted(err, "no Docker daemon answers at %s (%s): start it (systemctl start docker), set DOCKER_HOST, or choose a context with docker context use", h, brief(err))
	}
	return fmt.Errorf("the daemon at %s: %w", h, err)
}
