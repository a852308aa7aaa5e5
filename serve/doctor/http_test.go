package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// program is what firmware would load.
var program = bytes.Repeat([]byte("a program "), 2000)

func newFetcher() *fetcher {
	return &fetcher{mtu: 1500, whole: true, now: time.Now, files: map[string]*file{}, silent: map[string]bool{}}
}

func codesOf(findings []Finding) (all []Code) {
	for _, f := range findings {
		all = append(all, f.Code)
	}
	return all
}

// serveFile serves as net/http does: HEAD, ranges, length.
func serveFile(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "boot.efi", time.Time{}, bytes.NewReader(program))
}

// Every fault of a web server has its code; a server without any is silent.
func TestHTTP(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		name    string
		path    string
		use     use
		handler http.HandlerFunc
		want    []Code
	}{
		{"firmware, fine", "/boot.efi", byFirmware, serveFile, nil},
		{"hook, fine", "/vmlinuz", asHook, serveFile, nil},
		{"script, fine", "/auto.ipxe", byIPXE, serveFile, nil},
		{"not there", "/boot.efi", byFirmware, http.NotFound, []Code{HTTPStatus}},
		{"redirect", "/boot.efi", byFirmware, redirect("/other.efi"), []Code{HTTPRedirect}},
		{"redirect that iPXE follows", "/a.ipxe", byIPXE, redirect("/other.efi"), nil},
		{"redirect to itself", "/a.ipxe", byIPXE, http.RedirectHandler("/a.ipxe", http.StatusFound).ServeHTTP, []Code{HTTPRedirect}},
		{"no length", "/boot.efi", byFirmware, chunked, []Code{HTTPLength}},
		{"no HEAD", "/boot.efi", byFirmware, noHead, []Code{HTTPHead}},
		{"no type, no extension", "/bootx64", byFirmware, typed("text/plain", serveFile), []Code{HTTPType}},
		{"a type, no extension", "/bootx64", byFirmware, typed("application/efi; v=1", serveFile), nil},
		{"no range", "/vmlinuz", asHook, noRange, []Code{NoRange}},
		{"wrong range", "/vmlinuz", asHook, wrongRange, []Code{NoRange}},
		{"clock", "/a.ipxe", byIPXE, dated(-72 * time.Hour), []Code{ClockSkew}},
		{"clock ahead", "/a.ipxe", byIPXE, dated(3 * time.Minute), []Code{ClockSkew}},
		{"clock, nearly", "/a.ipxe", byIPXE, dated(time.Minute), nil},
		{"cut off", "/boot.efi", byFirmware, cutOff, []Code{HTTPBroken}},
		{"endless", "/a.ipxe", byIPXE, endless, []Code{HTTPBroken}},
		{"stands still", "/a.ipxe", byIPXE, standsStill, []Code{HTTPBroken}},
		{"crawls", "/vmlinuz", asHook, crawls, []Code{HTTPBroken}},
	} {
		cases[tt.name] = func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			t.Cleanup(server.CloseClientConnections)
			got := newFetcher().get(t.Context(), server.URL+tt.path, tt.use)
			if !slices.Equal(codesOf(got.findings), tt.want) {
				t.Errorf("%+v, want %v", got.findings, tt.want)
			}
			if tt.want == nil && (!got.ok || got.size != int64(len(program)) || len(got.sha256) != 64) {
				t.Errorf("%+v", got)
			}
		}
	}
	together(t, cases)
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == to {
			serveFile(w, r)
			return
		}
		http.Redirect(w, r, to, http.StatusMovedPermanently)
	}
}

func chunked(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if r.Method == http.MethodGet {
		_, _ = w.Write(program)
	}
}

func noHead(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	serveFile(w, r)
}

func typed(kind string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		next(w, r)
	}
}

func noRange(w http.ResponseWriter, r *http.Request) {
	r.Header.Del("Range")
	serveFile(w, r)
}

func wrongRange(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" {
		r.Header.Set("Range", "bytes=7-100")
	}
	serveFile(w, r)
}

func dated(off time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		serveFile(w, r)
	}
}

func cutOff(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100000")
	if r.Method == http.MethodGet {
		_, _ = w.Write(program)
		panic(http.ErrAbortHandler)
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for block := bytes.Repeat([]byte("x"), 1<<20); r.Method == http.MethodGet; {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func standsStill(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100000")
	if r.Method == http.MethodGet {
		_, _ = w.Write(program)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func crawls(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead || r.Header.Get("Range") != "" {
		serveFile(w, r)
		return
	}
	w.Header().Set("Content-Length", "100000")
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(200 * time.Millisecond) // what a slow server does
	}
}

// Nobody there, no URL, a name that nobody knows.
func TestHTTPUnreachable(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, u := range []string{"http://" + closed.Addr().String() + "/x", "http:///x", "ftp://127.0.0.1/x", "http://nobody.invalid/x", "http://127.0.0.1/" + strings.Repeat("x", maxURL), "%%%"} {
		got := newFetcher().get(t.Context(), u, byIPXE)
		if !slices.Equal(codesOf(got.findings), []Code{HTTPUnreachable}) || got.ok {
			t.Errorf("%.60s: %+v", u, got.findings)
		}
	}
	many := newFetcher()
	for i := range maxFetches + 1 {
		many.files[fmt.Sprint(i)] = &file{}
	}
	if got := many.get(t.Context(), "http://127.0.0.1/x", byIPXE); !slices.Equal(codesOf(got.findings), []Code{NotWhole}) {
		t.Errorf("%+v", got.findings)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := newFetcher().get(ended, "http://127.0.0.1/x", byIPXE); !slices.Equal(codesOf(got.findings), []Code{NotWhole}) {
		t.Errorf("%+v", got.findings)
	}
}

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.key, a.cert = nil, nil
	pair := a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, time.Now().Add(-time.Hour), 1000*time.Hour)
	a.key = pair.PrivateKey.(*ecdsa.PrivateKey)
	var err error
	if a.cert, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) sign(template *x509.Certificate, from time.Time, valid time.Duration) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), from, from.Add(valid)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Time, name and chain of a certificate are told apart.
func TestCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, tt := range []struct {
		name  string
		by    *authority
		ips   []net.IP
		from  time.Duration
		valid time.Duration
		want  []Code
	}{
		{"fine", ca, here, -time.Hour, 1000 * time.Hour, nil},
		{"ends soon", ca, here, -time.Hour, 48 * time.Hour, []Code{CertificateTime}},
		{"expired", ca, here, -48 * time.Hour, time.Hour, []Code{CertificateTime}},
		{"not yet", ca, here, time.Hour, 1000 * time.Hour, []Code{CertificateTime}},
		{"name", ca, []net.IP{net.IPv4(10, 0, 0, 1)}, -time.Hour, 1000 * time.Hour, []Code{CertificateName}},
		{"chain", other, here, -time.Hour, 1000 * time.Hour, []Code{CertificateChain}},
		{"all of it", other, nil, -48 * time.Hour, time.Hour, []Code{CertificateTime, CertificateName, CertificateChain}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(serveFile))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{tt.by.sign(&x509.Certificate{IPAddresses: tt.ips, DNSNames: []string{"boot"}}, time.Now().Add(tt.from), tt.valid)}}
			server.StartTLS()
			defer server.Close()
			f := newFetcher()
			f.trust = x509.NewCertPool()
			f.trust.AddCert(ca.cert)
			got := f.get(t.Context(), server.URL+"/auto.ipxe", byIPXE)
			if !slices.Equal(codesOf(got.findings), tt.want) || !got.ok {
				t.Errorf("%+v, want %v", got.findings, tt.want)
			}
		})
	}
}
