package dockerd

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"hooksmith/guest/cmdline"
)

// settings is what the kernel arguments ask of docker.
type settings struct {
	syslog   string   // syslog_host=, with its port; empty for none
	insecure []string // insecure_registries=
	mirrors  []string // registry_mirrors=, as URLs
	caURLs   []string // registry_ca=
	hosts    []string // registries that the arguments name
	proxies  []string // HTTP_PROXY= and its like, in the form of an environment
}

// newSettings reads the kernel arguments. What makes no sense is left out and told among the problems: dockerd refuses
// to start over a bad registry name, and a machine without docker cannot be helped from afar.
func newSettings(params cmdline.Params) (settings, []error) {
	var s settings
	var problems []error
	each := func(key string, use func(item string) error) {
		value, _ := params.Get(key)
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			if err := use(item); err != nil {
				problems = append(problems, fmt.Errorf("kernel argument %s=: %q is left out: %w", key, item, err))
			}
		}
	}
	each("syslog_host", func(item string) (err error) { s.syslog, err = syslogAddress(item); return err })
	each("insecure_registries", func(item string) error { return appendChecked(&s.insecure, item, insecureRegistry) })
	each("registry_mirrors", func(item string) error { return appendChecked(&s.mirrors, item, mirrorURL) })
	each("registry_ca", func(item string) error { return appendChecked(&s.caURLs, item, caURL) })
	for _, key := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if value, _ := params.Get(key); value != "" {
			s.proxies = append(s.proxies, key+"="+value)
		}
	}
	s.hosts = knownHosts(params, s.mirrors)
	return s, problems
}

func appendChecked(to *[]string, item string, check func(string) (string, error)) error {
	checked, err := check(item)
	if err == nil {
		*to = append(*to, checked)
	}
	return err
}

// syslogAddress is the address of a syslog server, port 514 unless it has its own.
func syslogAddress(item string) (string, error) {
	host, port := item, "514"
	if h, p, err := net.SplitHostPort(item); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err != nil && !isHost(host) {
		return "", fmt.Errorf("it is neither an IP address nor a host name")
	}
	if !isPort(port) {
		return "", fmt.Errorf("the port is not a number from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// insecureRegistry is a registry's host, with or without a port, or a network of them.
func insecureRegistry(item string) (string, error) {
	item = strings.TrimPrefix(strings.TrimPrefix(item, "https://"), "http://")
	item = strings.TrimSuffix(item, "/")
	if _, err := netip.ParsePrefix(item); err == nil {
		return item, nil
	}
	if !isRegistry(item) {
		return "", fmt.Errorf("it is neither HOST, HOST:PORT nor a network like 10.0.0.0/8")
	}
	return item, nil
}

// mirrorURL is the URL of a mirror of Docker Hub, https unless it says so. dockerd wants no path, query or user in it.
func mirrorURL(item string) (string, error) {
	if !strings.Contains(item, "://") {
		item = "https://" + item
	}
	u, err := url.Parse(item)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !isRegistry(u.Host) {
		return "", fmt.Errorf("it is not like https://HOST:PORT")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("docker takes a mirror only without a path, a query or a user: %s://%s", u.Scheme, u.Host)
	}
	return u.Scheme + "://" + u.Host, nil
}

// caURL is where a CA certificate is to be had.
func caURL(item string) (string, error) {
	u, err := url.Parse(item)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", fmt.Errorf("it is not like http://HOST/ca.crt")
	}
	return u.String(), nil
}

// knownHosts are the registries that will be asked: those of docker_registry=, of the worker's image and the mirrors.
func knownHosts(params cmdline.Params, mirrors []string) []string {
	var hosts []string
	add := func(host string) {
		if isRegistry(host) && strings.ContainsAny(host, ".:") {
			hosts = append(hosts, host)
		}
	}
	for _, key := range []string{"docker_registry", "tink_worker_image"} {
		value, _ := params.Get(key)
		if _, after, ok := strings.Cut(value, "://"); ok { // as in docker_registry=https://HOST/
			value = after
		}
		host, _, _ := strings.Cut(value, "/")
		if key == "docker_registry" || strings.Contains(value, "/") {
			add(host)
		}
	}
	for _, mirror := range mirrors {
		_, host, _ := strings.Cut(mirror, "://")
		add(host)
	}
	return hosts
}

// isRegistry reports whether text is HOST or HOST:PORT. Such a text is also a safe name for a folder.
func isRegistry(text string) bool {
	host, port, ok := strings.Cut(text, ":")
	if strings.HasPrefix(text, "[") {
		if h, p, err := net.SplitHostPort(text); err == nil {
			host, port, ok = h, p, true
		} else {
			host, port, ok = strings.Trim(text, "[]"), "", false
		}
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Zone() == "" && (!ok || isPort(port))
	}
	return isHost(host) && (!ok || isPort(port))
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// isHost reports whether text can be the name of a host.
func isHost(text string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return text != "" && len(text) <= 253 && strings.Trim(text, allowed) == "" &&
		!strings.Contains(text, "..") && text[0] != '.' && text[0] != '-'
}
