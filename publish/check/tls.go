package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"
)

// certificate checks what the server shows, as a client that trusts opt.Roots.
func (c *checker) certificate(ctx context.Context, u *url.URL) {
	const id, title = "tls.certificate", "TLS certificate"
	state, err := c.handshake(ctx, u, 0)
	if err != nil {
		c.add(id, title, Fail, "look at the server's log; the port may speak plain http", "%v", err)
		return
	}
	leaf := state.PeerCertificates[0]
	pool := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		pool.AddCert(cert)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: u.Hostname(), Roots: c.opt.Roots, Intermediates: pool, CurrentTime: c.opt.Now})
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	left := leaf.NotAfter.Sub(c.opt.Now)
	switch {
	case errors.As(err, &name):
		c.add(id, title, Fail, "use a name from the certificate in the URL, or have one issued for "+u.Hostname(), "it is for %s, not for %s", strings.Join(certNames(leaf), ", "), u.Hostname())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		c.add(id, title, Fail, "renew it, or set the clock of the machine that checks", "it is valid from %s to %s", leaf.NotBefore.UTC().Format(time.DateOnly), leaf.NotAfter.UTC().Format(time.DateOnly))
	case errors.As(err, &unknown):
		c.add(id, title, Fail, "give its certificate authority with --cacert, and build it into iPXE and HookOS; or let the server send the intermediates", "it is signed by %s, which is not trusted", leaf.Issuer)
	case err != nil:
		c.add(id, title, Fail, "have it issued anew", "%v", err)
	case left < 30*24*time.Hour:
		c.add(id, title, Warn, "renew it now: machines that boot later will refuse it", "it ends on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	default:
		c.add(id, title, Pass, "", "for %s, until %s", strings.Join(certNames(leaf), ", "), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	c.oldTLS(ctx, u)
}

// oldTLS tries the newest version that iPXE speaks.
func (c *checker) oldTLS(ctx context.Context, u *url.URL) {
	const id, title = "tls.version", "TLS 1.2 for iPXE"
	if _, err := c.handshake(ctx, u, tls.VersionTLS12); err != nil {
		c.add(id, title, Fail, "allow TLS 1.2 beside 1.3", "the server refuses it: %v", err)
		return
	}
	c.add(id, title, Pass, "", "accepted")
}

func certNames(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"no name at all"}
	}
	return names
}

func (c *checker) handshake(ctx context.Context, u *url.URL, maxVersion uint16) (*tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.Stall)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: u.Hostname(), MaxVersion: maxVersion,
		InsecureSkipVerify: true, //nolint:gosec // certificate verifies, and says in words what is wrong
	}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	return &state, nil
}
