package web

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	manifestName = "hook.json"
	checksumName = "checksum.txt"
	maxClaims    = 4 << 20 // bytes of either file
)

// claims is what hook.json, or else checksum.txt, says of the files beside it.
type claims struct {
	build string            // build_id
	sizes map[string]int64  // nil without hook.json
	sums  map[string]string // hex of SHA-256 or SHA-512
}

func (c claims) of(name string) string { return c.sums[name] }

// fit reports whether the files are those that hook.json tells of: of the
// right sizes, and none put in place after it.
func (c claims) fit(files map[string]identity) bool {
	for name, size := range c.sizes {
		if id, ok := files[name]; !ok || id.size != size || id.ctime > files[manifestName].ctime {
			return false
		}
	}
	return len(c.sizes) > 0
}

// readClaims reads what is there; what cannot be read claims nothing.
func readClaims(root *os.Root, dir string) claims {
	if data, err := readSmall(root, path.Join(dir, manifestName)); err == nil {
		if c, ok := parseManifest(data); ok {
			return c
		}
	}
	data, err := readSmall(root, path.Join(dir, checksumName))
	if err != nil {
		return claims{}
	}
	return parseChecksums(data)
}

func readSmall(root *os.Root, name string) ([]byte, error) {
	f, _, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxClaims+1))
	if err == nil && len(data) > maxClaims {
		err = fmt.Errorf("%s has more than %d bytes", name, maxClaims)
	}
	return data, err
}

// parseManifest reads hook.json.
func parseManifest(data []byte) (claims, bool) {
	var m struct {
		Builds []struct {
			ID        string `json:"build_id"`
			Artifacts []struct {
				Name    string   `json:"name"`
				Aliases []string `json:"aliases"`
				Size    int64    `json:"size"`
				SHA256  string   `json:"sha256"`
			} `json:"artifacts"`
		} `json:"builds"`
	}
	if err := json.Unmarshal(data, &m); err != nil || len(m.Builds) == 0 {
		return claims{}, false
	}
	c := claims{sizes: map[string]int64{}, sums: map[string]string{}}
	for _, b := range m.Builds {
		c.build = b.ID
		for _, artifact := range b.Artifacts {
			for _, name := range append(artifact.Aliases, artifact.Name) {
				c.sizes[name], c.sums[name] = artifact.Size, strings.ToLower(artifact.SHA256)
			}
		}
	}
	return c, true
}

// parseChecksums reads sha256sum's and sha512sum's format.
func parseChecksums(data []byte) claims {
	c := claims{sums: map[string]string{}}
	for line := range strings.Lines(string(data)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := hex.DecodeString(sum); !ok || err != nil {
			continue
		}
		c.sums[strings.TrimLeft(name, " *")] = strings.ToLower(sum)
	}
	return c
}

// problem is what is wrong with a file, "" if nothing is (known).
func problem(name, want string, d *digest) string {
	have := d.sha256
	if len(want) == 2*sha512.Size {
		have = d.sha512
	}
	if want == "" || have == "" || want == have {
		return ""
	}
	return fmt.Sprintf("%s does not have the content that %s or %s beside it says: a copy that broke off, or a file put in by hand",
		name, manifestName, checksumName)
}

// status is what stands in the folder, problems included.
func (a *artifacts) status() ArtifactStatus {
	st := ArtifactStatus{Folder: a.path}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := os.Stat(a.path); err != nil {
		st.Error = err.Error()
	}
	if err := a.lookup(); err != nil {
		return st
	}
	f, err := a.folder(".", "")
	if err != nil {
		st.Error = err.Error()
		return st
	}
	if f.refusal != nil {
		st.Refused = f.refusal.Error()
	}
	s := f.current
	if s == nil {
		st.Error = (&refusedError{a.path, f.refusal}).Error()
		return st
	}
	st.Build, st.Since = s.claims.build, s.since
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		h := s.files[name]
		file := FileStatus{Name: name, Size: h.id.size, Time: time.Unix(0, h.id.mtime)}
		if h.digest.tag() != "" {
			file.SHA256 = h.digest.sha256
			if p := problem(name, s.claims.of(name), h.digest); p != "" {
				st.Problems = append(st.Problems, p)
			}
		}
		st.Files = append(st.Files, file)
	}
	if a.check != nil {
		return st // all files were compared
	}
	for _, name := range slices.Sorted(maps.Keys(s.claims.sizes)) {
		size := s.claims.sizes[name]
		if h := s.files[name]; h == nil {
			st.Problems = append(st.Problems, fmt.Sprintf("%s is in %s but not in the folder", name, manifestName))
		} else if h.id.size != size {
			st.Problems = append(st.Problems, fmt.Sprintf("%s has %d bytes, %s says %d", name, h.id.size, manifestName, size))
		}
	}
	return st
}
