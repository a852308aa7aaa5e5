package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
)

// TestSession speaks to the session as BuildKit does: gRPC over HTTP/2 on a
// connection that the other side opened.
func TestSession(t *testing.T) {
	cfg := configfile.New("")
	cfg.AuthConfigs = map[string]types.AuthConfig{
		"ghcr.io":                     {Username: "ann", Password: "secret"},
		"https://index.docker.io/v1/": {Username: "hub", Password: "hubsecret"},
		"token.test":                  {Username: "x", IdentityToken: "identity"},
	}
	here, there := net.Pipe()
	srv := &http.Server{Handler: sessionHandler{cfg}, Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	l := &oneConn{conn: there, closed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return here, nil }}
	tr.Protocols.SetUnencryptedHTTP2(true)
	call := func(method string, frame []byte) (status string, answer []byte) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://session"+method, bytes.NewReader(frame))
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err = io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp.Status, err)
		}
		return resp.Trailer.Get("Grpc-Status"), answer
	}
	framed := func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	for _, tt := range []struct {
		name, method string
		request      []byte
		status       string
		answer       []byte
	}{
		{"health", methodHealth, framed(nil), "0", framed([]byte{8, 1})},
		{"credentials", methodCredentials, framed(field(1, []byte("ghcr.io"))), "0", framed(append(field(1, []byte("ann")), field(2, []byte("secret"))...))},
		{"Docker Hub", methodCredentials, framed(field(1, []byte("registry-1.docker.io"))), "0", framed(append(field(1, []byte("hub")), field(2, []byte("hubsecret"))...))},
		{"identity token", methodCredentials, framed(field(1, []byte("token.test"))), "0", framed(field(2, []byte("identity")))},
		{"nobody", methodCredentials, framed(field(1, []byte("quay.io"))), "0", framed(nil)},
		{"what we lack", "/moby.filesync.v1.Auth/GetTokenAuthority", framed(nil), "12", nil},
		{"no message", methodCredentials, nil, "3", nil},
		{"huge message", methodCredentials, []byte{0, 0xff, 0xff, 0xff, 0xff}, "3", nil},
		{"compressed message", methodCredentials, []byte{1, 0, 0, 0, 0}, "3", nil},
	} {
		status, answer := call(tt.method, tt.request)
		if status != tt.status || !bytes.Equal(answer, tt.answer) {
			t.Errorf("%s: status %q, answer %q; want %q, %q", tt.name, status, answer, tt.status, tt.answer)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
