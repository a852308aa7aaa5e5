package qemu

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// DefaultTinkPort is where tink-server listens for gRPC.
const DefaultTinkPort = 42113

// Worker is what HookOS has to know to start Tinkerbell's worker. Zero fields
// add no kernel argument.
type Worker struct {
	TinkServer         string // HOST or HOST:PORT
	TinkTLS            bool   // only meaningful with TinkServer
	Image              string
	ID                 string
	DockerRegistry     string
	InsecureRegistries []string
}

// KernelArgs are the arguments that Tinkerbell's boot server would give.
func (w Worker) KernelArgs() ([]string, error) {
	var args []string
	add := func(key, value string) {
		if value != "" {
			args = append(args, key+"="+value)
		}
	}
	if w.TinkServer != "" {
		authority, err := withPort(w.TinkServer, DefaultTinkPort)
		if err != nil {
			return nil, fmt.Errorf("tink server %q: %w", w.TinkServer, err)
		}
		add("grpc_authority", authority)
		add("tinkerbell_tls", strconv.FormatBool(w.TinkTLS))
	}
	add("tink_worker_image", w.Image)
	add("worker_id", w.ID)
	add("docker_registry", w.DockerRegistry)
	add("insecure_registries", strings.Join(w.InsecureRegistries, ","))
	for _, a := range args {
		if strings.ContainsAny(a, " \t\n\"") {
			return nil, fmt.Errorf("kernel argument %q: no blanks or quotes are possible", a)
		}
	}
	return args, nil
}

// withPort completes HOST, [IPV6] or HOST:PORT. A bare IPv6 address is one too.
func withPort(s string, port int) (string, error) {
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		return net.JoinHostPort(ip.String(), strconv.Itoa(port)), nil
	}
	if !strings.Contains(s, ":") {
		return net.JoinHostPort(s, strconv.Itoa(port)), nil
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", err
	}
	if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", p)
	}
	if host == "" {
		return "", fmt.Errorf("the host is missing")
	}
	return s, nil
}
