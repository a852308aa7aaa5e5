package doctor

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"time"
)

// trust is whom to believe; nil means this host's own authorities.
type trust = *x509.CertPool

// soon is when a certificate's end is worth a warning.
const soon = 14 * 24 * time.Hour

// certificate judges the server's: time, name and chain, each by itself.
func (s *session) certificate(u *url.URL, resp *http.Response) {
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		return
	}
	leaf, now := resp.TLS.PeerCertificates[0], s.now()
	host, day := u.Hostname(), time.DateOnly
	switch {
	case now.After(leaf.NotAfter):
		s.got.bad(CertificateTime, "renew it", "the certificate of %s has expired on %s", host, leaf.NotAfter.Format(day))
	case now.Before(leaf.NotBefore):
		s.got.bad(CertificateTime, "wait, or set the clocks", "the certificate of %s is valid from %s on", host, leaf.NotBefore.Format(day))
	case now.Add(soon).After(leaf.NotAfter):
		s.got.doubt(CertificateTime, "renew it", "the certificate of %s expires on %s", host, leaf.NotAfter.Format(day))
	}
	if err := leaf.VerifyHostname(host); err != nil {
		s.got.bad(CertificateName, "use a name of the certificate in the URL, or have one made for this one (an address needs an IP entry)",
			"the certificate of %s is for another name: %s", host, clean(err.Error(), 300))
	}
	between := x509.NewCertPool()
	for _, c := range resp.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	at := now // of a chain that is right but for the time
	if at.After(leaf.NotAfter) || at.Before(leaf.NotBefore) {
		at = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.trust, Intermediates: between, CurrentTime: at}); err != nil {
		s.got.bad(CertificateChain, "send the whole chain; iPXE and firmware believe only the authorities that they were made or enrolled with (here: --cacert FILE)",
			"the certificate of %s is signed by nobody that is believed here: %s", host, clean(err.Error(), 300))
	}
}
