package doctor

import (
	"crypto/x509"
	"errors"
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
	s.chain(leaf, resp.TLS.PeerCertificates[1:], host)
}

// chain judges who signed it, whatever the time of the certificate itself.
func (s *session) chain(leaf *x509.Certificate, sent []*x509.Certificate, host string) {
	between := x509.NewCertPool()
	for _, c := range sent {
		between.AddCert(c)
	}
	verify := func(at time.Time) (*x509.Certificate, error) {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: s.trust, Intermediates: between, CurrentTime: at})
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return invalid.Cert, err
		}
		return nil, err
	}
	expired, err := verify(s.now())
	if expired != nil && expired.Equal(leaf) { // said already
		if expired, err = verify(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)); expired != nil {
			return
		}
	}
	switch {
	case err == nil:
	case expired != nil:
		s.got.bad(CertificateTime, "renew it", "a certificate that the one of %s depends on (%s) is valid from %s to %s only", host,
			clean(expired.Subject.String(), 100), expired.NotBefore.Format(time.DateOnly), expired.NotAfter.Format(time.DateOnly))
	default:
		s.got.bad(CertificateChain, "send the whole chain; iPXE and firmware believe only the authorities that they were made or enrolled with (here: --cacert FILE)",
			"the certificate of %s is signed by nobody that is believed here: %s", host, clean(err.Error(), 300))
	}
}
