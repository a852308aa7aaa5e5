package serve

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// AdminOpenError says that anyone could read the page.
type AdminOpenError struct{ Address string }

func (e *AdminOpenError) Error() string {
	return fmt.Sprintf("admin-address: %s can be reached from the network and asks for no token", e.Address)
}

// Hint is the next step.
func (e *AdminOpenError) Hint() string {
	return "add --token-file FILE (it is made if it is not there), or use an address of this host only, such as " + defaultAdmin
}

// shortestToken keeps a token from being guessed.
const shortestToken = 16

// openToken gets the token of the configuration.
func (s *Server) openToken(context.Context) (err error) {
	s.token, err = tokenOf(s.plan.Config.TokenFile, s.plan.Config.AdminAddress)
	return err
}

// tokenOf reads the token, or makes one. Without a file the address must be
// this host's own.
func tokenOf(path, address string) (string, error) {
	if path == "" {
		if !isLoopback(address) {
			return "", &AdminOpenError{address}
		}
		return "", nil
	}
	token, err := ReadToken(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = rand.Text()
		if err = os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("token-file: making it, as it is not there: %w; name one in the state folder, or make it for this user: openssl rand -hex 16", err)
		}
	}
	if err != nil {
		return "", fmt.Errorf("token-file: %w", err)
	}
	if len(token) < shortestToken {
		return "", fmt.Errorf("token-file: %s: the token has %d characters; want at least %d, as `openssl rand -hex 16` makes them", path, len(token), shortestToken)
	}
	return token, nil
}

// ReadToken reads the token of an admin address from its file.
func ReadToken(path string) (string, error) {
	text, err := readFile(path, 4096)
	return strings.TrimSpace(text), err
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Mark is what a running server leaves in its state folder, for the commands
// that ask it.
type Mark struct {
	Admin     string `json:"admin"` // URL
	TokenFile string `json:"token_file,omitempty"`
}

const markName = "serve.json"

// ReadMark reads where the server of a state folder can be asked.
func ReadMark(state string) (m Mark, err error) {
	text, err := readFile(filepath.Join(state, markName), 4096)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal([]byte(text), &m)
}

// mark writes the Mark and returns what removes it.
func (s *Server) mark() (unmark func(), err error) {
	c := &s.plan.Config
	host, port, err := net.SplitHostPort(c.AdminAddress)
	if err != nil {
		return nil, fmt.Errorf("admin-address: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	m := Mark{Admin: "http://" + net.JoinHostPort(host, port)}
	if c.TokenFile != "" {
		if m.TokenFile, err = filepath.Abs(c.TokenFile); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.State, markName)
	if err := renameio.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		s.log.Warn("the state folder cannot be written; serve status needs --server", "error", err)
		return func() {}, nil
	}
	return func() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("removing the mark of a running server", "error", err)
		}
	}, nil
}
