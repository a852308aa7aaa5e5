package web

import (
	"context"
	"net"
	"net/http"
)

type state struct{}

// Handler returns the handler for the boot network. It never redirects.
func (s *Server) Handler() http.Handler { return http.NotFoundHandler() }

// Serve answers on ln until ctx ends, then lets running downloads end for
// Limits.Grace, closes everything and returns nil. An error is ln's. Serve closes
// ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return nil }

// ServeTLS is Serve with HTTPS (HTTP/1.1 and 2). The certificate's files, PEM,
// are read again when they change; a pair that cannot be used is logged and the
// one before stays. Files that are unusable at first are an error.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener, certFile, keyFile string) error {
	return nil
}

// Stats returns the counters.
func (s *Server) Stats() Stats { return Stats{} }

// ArtifactStatus looks at the artifacts' folder as it is now.
func (s *Server) ArtifactStatus() ArtifactStatus { return ArtifactStatus{} }
