package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Socket is where init listens.
const Socket = "/run/hooksmith/service.sock"

const (
	maxRequest = 4 << 10
	maxReply   = 1 << 20
	// requestPatience is how long a client may take to say what it wants.
	requestPatience = 5 * time.Second
)

// request is what the applet asks: one JSON object. The verb "list" needs no name.
type request struct {
	Verb Verb   `json:"verb"`
	Name string `json:"name,omitempty"`
}

// reply is the answer: one JSON object, with the list after the request was carried out.
type reply struct {
	Error    string `json:"error,omitempty"`
	Services []Info `json:"services"`
}

const list Verb = "list"

// Listen makes the socket, for root only. One left by an init that crashed goes.
func Listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Serve answers requests until the listener is closed.
func (s *Supervisor) Serve(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("serving %s: %w", l.Addr(), err)
		}
		go s.answer(ctx, conn)
	}
}

func (s *Supervisor) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(requestPatience))
	var r request
	err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&r)
	if err == nil {
		err = s.carryOut(ctx, r)
	}
	answer := reply{Services: s.List()}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = conn.SetWriteDeadline(time.Now().Add(requestPatience))
	_ = json.NewEncoder(conn).Encode(answer)
}

func (s *Supervisor) carryOut(ctx context.Context, r request) error {
	switch r.Verb {
	case list:
		return nil
	case Start, Stop, Restart:
		return s.Do(ctx, r.Verb, r.Name)
	}
	return fmt.Errorf("unknown request %q", r.Verb)
}

// ask sends a request and returns the list. The service may take its time to stop.
func ask(ctx context.Context, socket string, r request) ([]Info, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("init does not answer (service works on the host, not inside a container): %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return nil, fmt.Errorf("asking init: %w", err)
	}
	var answer reply
	if err := json.NewDecoder(io.LimitReader(conn, maxReply)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("reading init's answer: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Services, nil
}
