package web

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a pair of files that is read again when it changes.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]identity // of the files that were last tried
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.seen = c.look()
	pair, err := c.load()
	if err != nil {
		return nil, err
	}
	c.current = pair
	return c, nil
}

// look returns the files' identities; a missing file has none.
func (c *certificate) look() (ids [2]identity) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			ids[i] = identityOf(info)
		}
	}
	return ids
}

func (c *certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left < 7*24*time.Hour {
		c.log.Warn("the HTTPS certificate expires soon, or has", "file", c.certFile, "expires", pair.Leaf.NotAfter)
	}
	return &pair, nil
}

// get looks at the files, which costs microseconds, and reads them if they are
// others. While they do not fit together, what was before stays.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.look()
	if ids == c.seen {
		return c.current
	}
	c.seen = ids
	pair, err := c.load()
	if err != nil {
		c.log.Error("the new HTTPS certificate cannot be used, the one before stays", "error", err)
		return c.current
	}
	c.log.Info("HTTPS certificate read again", "file", c.certFile, "expires", pair.Leaf.NotAfter)
	c.current = pair
	return pair
}

// config is for firmware and iPXE as well: older iPXE knows no other key
// exchange than RSA. Go prefers better ones if the client has them.
func (c *certificate) config() *tls.Config {
	suites := []uint16{
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
	for _, s := range tls.CipherSuites() {
		suites = append(suites, s.ID)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
}
