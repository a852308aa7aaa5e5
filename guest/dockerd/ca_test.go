package dockerd

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hooksmith/guest/dockerd/dockertest"
)

func TestParseCA(t *testing.T) {
	one, key, onePEM := dockertest.CA(t, "one")
	_, _, twoPEM := dockertest.CA(t, "two")
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for _, test := range []struct {
		name  string
		text  []byte
		clean []byte
		about string
		err   string
	}{
		{name: "PEM", text: onePEM, clean: onePEM, about: `"CN=one" until 20`},
		{name: "DER", text: one.Raw, clean: onePEM, about: `"CN=one" until 20`},
		{name: "two, with words and a key between", text: bytes.Join([][]byte{onePEM, []byte("words\n"), keyPEM, twoPEM}, nil), clean: append(bytes.Clone(onePEM), twoPEM...), about: "and 1 more"},
		{name: "a key", text: keyPEM, err: "no certificate"},
		{name: "a page", text: []byte("<html>404</html>"), err: "no certificate"},
		{name: "nothing", err: "no certificate"},
		{name: "a broken one after a good one", text: append(bytes.Clone(onePEM), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...), err: "no certificate"},
		{name: "too much", text: make([]byte, maxCA+1), err: "more than"},
	} {
		clean, about, err := parseCA(test.text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %q", test.name, err, test.err)
			}
			continue
		}
		if err != nil || !bytes.Equal(clean, test.clean) || !strings.Contains(about, test.about) {
			t.Errorf("%s: %q, %v\n%s", test.name, about, err, clean)
		}
	}
}

func TestProxyFor(t *testing.T) {
	both := []string{"HTTP_PROXY=http://h:1", "HTTPS_PROXY=http://s:2", "NO_PROXY=x"}
	for _, test := range []struct {
		try     int
		address string
		proxies []string
		want    string
	}{
		{0, "http://ca/x", both, ""},
		{1, "http://ca/x", both, "http://h:1"},
		{2, "https://ca/x", both, ""},
		{3, "https://ca/x", both, "http://s:2"},
		{1, "https://ca/x", []string{"HTTPS_PROXY=10.0.0.1:3128"}, "http://10.0.0.1:3128"},
		{1, "https://ca/x", []string{"HTTP_PROXY=u:p@10.0.0.1:3128"}, "http://u:p@10.0.0.1:3128"},
		{1, "http://ca/x", []string{"HTTPS_PROXY=http://s:2"}, ""},
		{1, "http://ca/x", []string{"HTTP_PROXY=%zz"}, ""},
		{1, "http://ca/x", nil, ""},
	} {
		got := ""
		if u := proxyFor(test.try, test.address, test.proxies); u != nil {
			got = u.String()
		}
		if got != test.want {
			t.Errorf("try %d of %s with %q: %q, want %q", test.try, test.address, test.proxies, got, test.want)
		}
	}
}

// What is so at every boot is not worth an error on the console.
func TestNoNetworkYet(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("asking: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)})
	}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{dial(unix.ENETUNREACH), true}, {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "ca"}}, true},
		{dial(unix.ECONNREFUSED), false}, {errors.New("the server says 404 Not Found"), false},
	} {
		if got := noNetworkYet(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func FuzzParseCA(f *testing.F) {
	_, _, text := dockertest.CA(f, "seed")
	f.Add(text)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		clean, _, err := parseCA(text)
		if err != nil {
			return
		}
		again, _, err := parseCA(clean)
		if err != nil || !bytes.Equal(again, clean) {
			t.Errorf("what parseCA wrote it does not read: %v", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(clean) {
			t.Error("crypto/x509 does not take it")
		}
	})
}
