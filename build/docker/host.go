package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

// Host is where a daemon is, as Config.Find found it.
type Host struct {
	address string // unix:///..., tcp://..., ssh://...
	from    string // who says so
	tls     *tlsconfig.Options
	headers map[string]string
}

func (h *Host) String() string {
	if h.from == "" {
		return h.address
	}
	return h.address + " (" + h.from + ")"
}

// Local reports whether the daemon is on this machine.
func (h *Host) Local() bool {
	u, err := url.Parse(h.address)
	return err == nil && (u.Scheme == "unix" || u.Scheme == "npipe" || u.Scheme == "tcp" && isLoopback(u.Hostname()))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// client makes a client; nothing is sent yet.
func (h *Host) client(apiVersion string) (*client.Client, error) {
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
func (h *Host) explain(err error) error {
	u, _ := url.Parse(h.address)
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied"):
		return Hinted(err, "permission denied at %s: become a member of its group (sudo usermod -aG docker $USER, then log in again), or set DOCKER_HOST", h)
	case u != nil && u.Scheme == "ssh":
		return Hinted(err, "the daemon at %s does not answer (%s): does `%s` work?", h, Brief(err), sshCommand(u))
	case client.IsErrConnectionFailed(err), errors.As(err, &op), errors.Is(err, fs.ErrNotExist), errors.Is(err, context.DeadlineExceeded):
		return Hinted(err, "no Docker daemon answers at %s (%s): start it (systemctl start docker), set DOCKER_HOST, or choose a context with docker context use", h, Brief(err))
	}
	return fmt.Errorf("the daemon at %s: %w", h, err)
}

// sshCommand is what asks the daemon at ssh:// by hand.
func sshCommand(u *url.URL) string {
	words := []string{"ssh"}
	if u.Port() != "" {
		words = append(words, "-p", u.Port())
	}
	host := u.Hostname()
	if u.User.Username() != "" {
		host = u.User.Username() + "@" + host
	}
	words = append(words, host, "docker")
	if strings.Trim(u.Path, "/") != "" { // its socket
		words = append(words, "-H", "unix://"+u.Path)
	}
	return strings.Join(append(words, "version"), " ")
}
