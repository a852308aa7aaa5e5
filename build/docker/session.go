package docker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/client"
)

// session is the connection on which BuildKit asks its client for credentials:
// the client serves gRPC on a connection that it opened. Two unary methods are
// all that is needed, so that this is done with HTTP/2 alone; the packages
// made for it weigh seven megabytes.
type session struct {
	id   string
	srv  *http.Server
	done chan struct{}
}

// Methods of moby.filesync.v1.Auth and of gRPC's health check, without which
// the daemon ends the session after a few seconds.
const (
	methodCredentials = "/moby.filesync.v1.Auth/Credentials"
	methodHealth      = "/grpc.health.v1.Health/Check"
)

// openSession offers the daemon the credentials of docker's configuration. The
// caller closes the session after the build.
func openSession(ctx context.Context, api *client.Client, cfg *configfile.ConfigFile) (*session, error) {
	s := &session{id: strings.ToLower(rand.Text()), done: make(chan struct{})}
	conn, err := api.DialHijack(ctx, "/session", "h2c", map[string][]string{
		"X-Docker-Expose-Session-Uuid":        {s.id},
		"X-Docker-Expose-Session-Name":        {"hooksmith"},
		"X-Docker-Expose-Session-Sharedkey":   {""},
		"X-Docker-Expose-Session-Grpc-Method": {methodCredentials, methodHealth},
	})
	if err != nil {
		return nil, err
	}
	s.srv = &http.Server{Handler: sessionHandler{cfg}, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)} //nolint:gosec // the other side is the daemon
	s.srv.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(&oneConn{conn: conn, closed: make(chan struct{})})
	}()
	return s, nil
}

func (s *session) close() {
	_ = s.srv.Close()
	<-s.done
}

// oneConn is a listener on a connection that is already there.
type oneConn struct {
	mu     sync.Mutex
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close ends Accept, and the connection if nobody took it.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// sessionHandler answers gRPC calls: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
type sessionHandler struct{ cfg *configfile.ConfigFile }

const (
	grpcOK              = "0"
	grpcInvalidArgument = "3"
	grpcUnimplemented   = "12" // BuildKit goes on without what it asked for
)

func (h sessionHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	status := grpcUnimplemented
	var answer []byte
	switch r.URL.Path {
	case methodHealth:
		answer, status = []byte{1<<3 | varintType, 1}, grpcOK // SERVING
	case methodCredentials:
		status = grpcInvalidArgument
		if request, err := readMessage(r.Body); err == nil {
			answer, status = h.credentials(request), grpcOK
		}
	}
	if status == grpcOK {
		frame := make([]byte, 5, 5+len(answer))
		binary.BigEndian.PutUint32(frame[1:], uint32(len(answer)))
		_, _ = w.Write(append(frame, answer...))
	}
	w.Header().Set("Grpc-Status", status)
}

// readMessage reads one uncompressed gRPC message.
func readMessage(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || size > 64<<10 {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}

// credentials answers CredentialsRequest{Host = 1} with
// CredentialsResponse{Username = 1, Secret = 2}; both empty is anonymous.
func (h sessionHandler) credentials(request []byte) []byte {
	var host string
	eachField(request, func(f uint64, v []byte) {
		if f == 1 {
			host = string(v)
		}
	})
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		host = "https://index.docker.io/v1/" // its name in config.json, for historical reasons
	}
	auth, err := h.cfg.GetAuthConfig(host)
	if err != nil {
		return nil
	}
	user, secret := auth.Username, auth.Password
	if auth.IdentityToken != "" {
		user, secret = "", auth.IdentityToken
	}
	var b []byte
	for field, v := range []string{user, secret} {
		if v != "" {
			b = binary.AppendUvarint(b, uint64(field+1)<<3|bytesType)
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		}
	}
	return b
}
