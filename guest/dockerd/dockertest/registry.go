package dockertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is a registry with TLS in the namespace of the test.
type Registry struct {
	Host   string // HOST:PORT
	CA     []byte // PEM
	Server *http.Server

	handler http.Handler
}

// StartRegistry runs a registry until the test ends. With a password it lets only user "worker" in.
func StartRegistry(t *testing.T, password string) *Registry {
	t.Helper()
	ca, key, text := CA(t, "Test CA")
	listener, err := tls.Listen("tcp", IP+":0", &tls.Config{Certificates: []tls.Certificate{serverCert(t, ca, key)}})
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	r := &Registry{Host: listener.Addr().String(), CA: text, handler: registry.New(registry.Logger(quiet))}
	r.Server = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user, got, _ := request.BasicAuth()
		if password != "" && (user != "worker" || got != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		r.handler.ServeHTTP(w, request)
	})}
	go r.Server.Serve(listener)
	t.Cleanup(func() { r.Server.Close() })
	return r
}

// Push puts an image into the registry under Host/path.
func (r *Registry) Push(t *testing.T, path string, image v1.Image) (ref string) {
	t.Helper()
	tag, err := name.ParseReference(r.Host + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithTransport(inProcess{r.handler})); err != nil {
		t.Fatal(err)
	}
	return tag.String()
}

// inProcess is a transport to a handler, for a client whose threads are in another network namespace than the server.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(answer, r)
	response := answer.Result()
	response.Request = r
	return response, nil
}

// CA makes a CA certificate with its key, also as PEM.
func CA(t testing.TB, name string) (cert *x509.Certificate, key *ecdsa.PrivateKey, text []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serverCert makes a certificate for IP, signed by the CA.
func serverCert(t testing.TB, ca *x509.Certificate, caKey *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: IP}, IPAddresses: []net.IP{net.ParseIP(IP)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
