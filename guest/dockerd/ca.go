package dockerd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/atomicfile"
)

// maxCA bounds a file of CA certificates; the whole list of Mozilla has 230 kB.
const maxCA = 1 << 20

// parseCA reads CA certificates, PEM with as many as there are or DER with one, and returns them as clean PEM with a
// line of words about them. Anything else in the text, a private key for example, does not go further.
func parseCA(text []byte) (clean []byte, about string, err error) {
	if len(text) > maxCA {
		return nil, "", fmt.Errorf("more than %d bytes", maxCA)
	}
	var ders [][]byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		ders = [][]byte{text}
	}
	var out bytes.Buffer
	var names []string
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, "", errors.New("no certificate in PEM or DER form is in it")
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, "", err
		}
		names = append(names, fmt.Sprintf("%q until %s", cert.Subject.String(), cert.NotAfter.UTC().Format(time.DateOnly)))
	}
	about = names[0]
	if len(names) > 1 {
		about = fmt.Sprintf("%s and %d more", names[0], len(names)-1)
	}
	return out.Bytes(), about, nil
}

// authorities collects the CA certificates that dockerd is to trust beside the system's.
type authorities struct {
	paths paths
	hosts []string // registries that get them in certs.d, which dockerd reads at every pull
	added [][]byte
}

// add trusts one more file of certificates: for the registries that are known by name at once, for all others when
// dockerd next reads the bundle, which it does at its first TLS connection.
func (a *authorities) add(clean []byte) error {
	a.added = append(a.added, clean)
	var errs []error
	for _, host := range a.hosts {
		name := fmt.Sprintf("hooksmith-%d.crt", len(a.added))
		errs = append(errs, atomicfile.Write(filepath.Join(a.paths.etc, "certs.d", host, name), clean))
	}
	errs = append(errs, a.writeBundle())
	return errors.Join(errs...)
}

// writeBundle writes the system's certificates with the added ones after them.
func (a *authorities) writeBundle() error {
	system, err := os.ReadFile(a.paths.bundle)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the system's CA certificates: %w", err)
	}
	parts := append([][]byte{bytes.TrimSpace(system)}, a.added...)
	return atomicfile.Write(a.paths.ours("ca-certificates.crt"), bytes.Join(parts, []byte("\n")))
}

// addBaked adds the certificates that are part of this HookOS.
func (a *authorities) addBaked(log logger) {
	files, err := filepath.Glob(filepath.Join(a.paths.baked, "*.crt"))
	if err != nil {
		log.boot.Print(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			var about string
			if text, about, err = parseCA(text); err == nil {
				log.log.Printf("CA certificate %s: %s", file, about)
				err = a.add(text)
			}
		}
		if err != nil {
			log.boot.Printf("CA certificate %s is left out: %v", file, err)
		}
	}
}

// fetch gets the certificates of registry_ca= and adds them, for as long as it takes. Until all are there the file
// ca-pending is: dockerd reads the bundle only once, at its first TLS connection, so who pulls the first image (bootkit)
// had better wait a little for it.
func (a *authorities) fetch(ctx context.Context, urls, proxies []string, log logger) {
	begun, roots := time.Now(), a.pool()
	wait, silent := time.Second, time.Time{}
	for try := 0; len(urls) > 0 && ctx.Err() == nil; try++ {
		var missing []string
		complain := time.Now().After(silent)
		for _, address := range urls {
			about, err := a.fetchOne(ctx, address, roots, proxyFor(try, address, proxies))
			if err == nil {
				log.boot.Printf("CA certificate %s: %s", address, about)
				continue
			}
			missing = append(missing, address)
			if complain && ctx.Err() == nil && !(time.Since(begun) < networkPatience && noNetworkYet(err)) {
				silent = time.Now().Add(5 * time.Minute)
				log.boot.Printf("CA certificate %s: %v; trying on, registries that need it cannot be used yet", address, err)
			}
		}
		if urls = missing; len(urls) > 0 {
			pause(ctx, wait)
			wait = min(2*wait, 30*time.Second)
		}
	}
	if len(urls) > 0 {
		return
	}
	if err := os.Remove(a.pending()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.log.Print(err)
	}
	if time.Since(begun) > 20*time.Second {
		log.boot.Printf("the CA certificates came late: registries other than %q may need `service restart hook-docker`", a.hosts)
	}
}

// pending is the file that is there while certificates are still to come.
func (a *authorities) pending() string { return a.paths.ours("ca-pending") }

// pool is what the certificates' own server is checked against.
func (a *authorities) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	if system, err := os.ReadFile(a.paths.bundle); err == nil {
		pool.AppendCertsFromPEM(system)
	}
	for _, clean := range a.added {
		pool.AppendCertsFromPEM(clean)
	}
	return pool
}

// networkPatience is how long nobody is told that there is no network yet: docker is started before it, at every boot.
const networkPatience = 15 * time.Second

// noNetworkYet reports whether an error is what a machine without an address gets, or without a DNS server.
func noNetworkYet(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, unix.ENETUNREACH) || errors.As(err, &dns)
}

// proxyFor is nil for even tries and the proxy for odd ones: a CA certificate usually is next door, where the proxy does
// not reach. For https that is HTTPS_PROXY, else HTTP_PROXY; one without a scheme is of http, as for dockerd.
func proxyFor(try int, address string, proxies []string) *url.URL {
	if try%2 == 0 {
		return nil
	}
	names := []string{"HTTP_PROXY="}
	if strings.HasPrefix(address, "https:") {
		names = []string{"HTTPS_PROXY=", "HTTP_PROXY="}
	}
	for _, name := range names {
		for _, each := range proxies {
			value, ok := strings.CutPrefix(each, name)
			if !strings.Contains(value, "://") {
				value = "http://" + value
			}
			if proxy, err := url.Parse(value); ok && err == nil && proxy.Host != "" {
				return proxy
			}
		}
	}
	return nil
}

// fetchOne tries once to get and add the certificates at address.
func (a *authorities) fetchOne(ctx context.Context, address string, roots *x509.CertPool, proxy *url.URL) (about string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server says %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxCA+1))
	if err != nil {
		return "", err
	}
	clean, about, err := parseCA(text)
	if err != nil {
		return "", err
	}
	return about, a.add(clean)
}
