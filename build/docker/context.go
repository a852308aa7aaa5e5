package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/docker/go-connections/tlsconfig"
)

var contextName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.+-]*$`)

// readContext reads one of docker's contexts: a folder for each, named by the
// hash of its name.
func readContext(configDir, name string) (*Host, error) {
	if !contextName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of a context", name)
	}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	raw, err := ReadLimited(filepath.Join(configDir, "contexts", "meta", id, "meta.json"), maxContext)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no such context in %s: see docker context ls", filepath.Join(configDir, "contexts"))
	}
	if err != nil {
		return nil, err
	}
	h, err := parseContext(raw)
	if err != nil {
		return nil, err
	}
	files := tlsFiles(filepath.Join(configDir, "contexts", "tls", id, "docker"))
	if h.tls != nil || files.CAFile != "" || files.CertFile != "" {
		files.InsecureSkipVerify = h.tls != nil
		h.tls = files
	}
	return h, nil
}

// parseContext reads a context's meta.json. Its tls is set if certificates
// must not be verified.
func parseContext(raw []byte) (*Host, error) {
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("reading meta.json: %w", err)
	}
	e, ok := meta.Endpoints["docker"]
	if !ok || e.Host == "" {
		return nil, errors.New("its meta.json names no Docker host")
	}
	h := &Host{address: e.Host}
	if e.SkipTLSVerify {
		h.tls = &tlsconfig.Options{InsecureSkipVerify: true}
	}
	return h, nil
}

// ReadLimited reads a file of at most so many bytes.
func ReadLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}
