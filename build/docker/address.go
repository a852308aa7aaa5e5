package docker

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// usualSocket is where a daemon listens that was told nothing else.
const usualSocket = "/var/run/docker.sock"

// parseAddress reads an address with the defaults of the docker command
// (opts.ParseHost of github.com/docker/cli): unix:// is the usual socket, no
// scheme is tcp, no host is this one, no port is 2375.
func parseAddress(text string) (string, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "tcp", text
	}
	switch {
	case strings.Contains(rest, "://"):
	case scheme == "unix":
		return "unix://" + cmp.Or(rest, usualSocket), nil
	case scheme == "ssh":
		return text, nil
	case scheme == "tcp":
		u, err := url.Parse("tcp://" + rest)
		if err != nil {
			return "", err
		}
		return "tcp://" + net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "2375")) + u.Path, nil
	}
	return "", fmt.Errorf("%q is no address of a Docker daemon: want unix:///SOCKET, tcp://HOST:PORT or ssh://USER@HOST", text)
}
