package images

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"hooksmith/build/docker"
)

// ErrOffline is wrapped by the errors of offline Sources that lack something.
var ErrOffline = errors.New("not in the image cache, and --offline forbids downloads")

// placeError is what happened at one of the places that were asked.
type placeError struct {
	place string
	err   error
}

func (e *placeError) Error() string { return e.place + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// NotFoundError lists all places that were asked for an image, in order, and
// what each said. It does not repeat the reference.
type NotFoundError struct {
	Places []error
}

func (e *NotFoundError) Error() string {
	var lines []string
	for _, err := range e.Places {
		lines = append(lines, strings.Split(err.Error(), "\n")...)
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return "not found; the places asked:\n  " + strings.Join(lines, "\n  ")
}

// Unwrap gives errors.Is and errors.As all of them.
func (e *NotFoundError) Unwrap() []error { return e.Places }

// joinPlaces is one error for several places, one line each.
func joinPlaces(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// missError says that a place has no such image, so that the next one is asked.
type missError struct {
	reason string
	err    error // nil, or what made us say so
}

func (e *missError) Error() string { return e.reason }
func (e *missError) Unwrap() error { return e.err }

func miss(format string, args ...any) error { return &missError{reason: fmt.Sprintf(format, args...)} }

// isMiss reports whether the next place may still have the image.
func isMiss(err error) bool {
	var m *missError
	var p *platformError
	return errors.As(err, &m) || errors.As(err, &p)
}

// IsMiss reports whether all places that were asked for an image answered, and
// none has it. What failed, or was not asked because of --offline, may have it.
func IsMiss(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok { // NotFoundError, joinPlaces
		errs := several.Unwrap()
		return len(errs) > 0 && !slices.ContainsFunc(errs, func(err error) bool { return !IsMiss(err) })
	}
	switch err.(type) {
	case *missError, *platformError:
		return true
	}
	inner := errors.Unwrap(err)
	return inner != nil && IsMiss(inner)
}

// IsPlatform reports whether an image is there, but for other platforms only.
func IsPlatform(err error) bool {
	var p *platformError
	return errors.As(err, &p) && len(p.have) > 0
}

// explain turns what an endpoint answered into words and the next step.
func (e *endpoint) explain(err error) error {
	host := displayHost(e.repo.RegistryStr())
	var status *transport.Error
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain plainHTTPError
	var dns *net.DNSError
	switch {
	case errors.As(err, &authority):
		return docker.Hinted(err, "the certificate of %s is signed by an authority that is not trusted here (%s): give its certificate with --ca FILE, or, without any protection, use --insecure-registry %s", host, docker.Brief(authority), host)
	case errors.As(err, &hostname):
		return docker.Hinted(err, "the certificate of %s is for other names (%s): use the name that it is for, or, without any protection, --insecure-registry %s", host, docker.Brief(hostname), host)
	case errors.As(err, &invalid):
		return docker.Hinted(err, "the certificate of %s is not valid (%s): is this machine's clock right?", host, docker.Brief(invalid))
	case errors.As(err, &status): // where HTTPS failed and HTTP was tried, the certificate is the reason
		return e.explainStatus(host, status)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &plain):
		return docker.Hinted(err, "%s speaks plain HTTP or its HTTPS does not answer: if that is meant so, use --insecure-registry %s", host, host)
	case errors.As(err, &dns) && dns.IsNotFound:
		return docker.Hinted(err, "there is no host %s: check the reference, the name server and, behind a proxy, HTTPS_PROXY", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return docker.Hinted(err, "nothing answers at %s (%s): is it running, and is HTTPS_PROXY right?", host, docker.Brief(err))
	}
	return err
}

func (e *endpoint) explainStatus(host string, err *transport.Error) error {
	repo := e.repo.RepositoryStr()
	switch err.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if e.asUser {
			return docker.Hinted(err, "%s does not let the user that docker is logged in as read %s, or has no such repository (%s): check the name, or run docker login %s again", host, repo, docker.Brief(err), host)
		}
		return docker.Hinted(err, "%s wants credentials for %s, or has no such repository (%s): check the name, or run docker login %s", host, repo, docker.Brief(err), host)
	case http.StatusNotFound:
		return &missError{fmt.Sprintf("it has no such image in %s (%s)", repo, docker.Brief(err)), err}
	case http.StatusTooManyRequests:
		return docker.Hinted(err, "%s limits how much may be pulled (%s): try again later, run docker login %s for a higher limit, or name a --mirror", host, docker.Brief(err), host)
	case http.StatusBadRequest:
		if strings.Contains(err.Error(), "HTTP request to an HTTPS server") {
			return docker.Hinted(err, "%s speaks HTTPS, not HTTP: write https:// in the URL of the mirror", host)
		}
	}
	return errors.New(docker.Brief(err))
}
