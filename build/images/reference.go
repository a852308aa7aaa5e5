package images

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// dockerHub is how go-containerregistry spells docker.io.
const dockerHub = name.DefaultRegistry

// reference is an image name taken apart.
type reference struct {
	text   string // completed, as users write it: docker.io/library/alpine:3.20
	repo   name.Repository
	tag    string  // "" in name@digest
	digest v1.Hash // asked for by the reference, or by a pin; zero: whatever the tag says
	pinned bool    // digest comes from a pin
}

// parseReference completes ref as docker and LinuxKit do: alpine becomes
// docker.io/library/alpine:latest.
func parseReference(ref string) (reference, error) {
	if strings.Contains(ref, "://") {
		return reference{}, fmt.Errorf("%.200q is a URL, want an image reference such as ghcr.io/owner/name:tag", ref)
	}
	base, digest, hasDigest := strings.Cut(ref, "@")
	tag, err := name.NewTag(completeName(base), name.WeakValidation)
	if err != nil {
		return reference{}, fmt.Errorf("%.200q is no image reference: %w", ref, err)
	}
	r := reference{repo: tag.Repository, tag: tag.TagStr()}
	if hasDigest {
		if r.digest, err = v1.NewHash(digest); err != nil {
			return reference{}, fmt.Errorf("%.200q is no image reference: %w", ref, err)
		}
		if !strings.Contains(base[strings.LastIndexByte(base, '/')+1:], ":") {
			r.tag = ""
		}
	}
	r.text = r.String()
	return r, nil
}

// completeName adds docker.io and library to short names.
func completeName(ref string) string {
	first, _, found := strings.Cut(ref, "/")
	switch {
	case ref == "":
	case !found:
		return "docker.io/library/" + ref
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + ref
	}
	return ref
}

// String is the complete reference, with docker.io rather than index.docker.io.
func (r reference) String() string {
	s := r.name()
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != (v1.Hash{}) && !r.pinned {
		s += "@" + r.digest.String()
	}
	return s
}

// name is the reference without tag and digest.
func (r reference) name() string {
	return displayHost(r.repo.RegistryStr()) + "/" + r.repo.RepositoryStr()
}

func (r reference) hasDigest() bool { return r.digest != (v1.Hash{}) }

func displayHost(host string) string {
	if host == dockerHub {
		return "docker.io"
	}
	return host
}

// canonicalHost is the inverse of displayHost, for all names of Docker Hub.
func canonicalHost(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return dockerHub
	}
	return host
}

// sameName reports whether text, as layouts and archives name their images, is
// r's name and tag.
func (r reference) sameName(text string) bool {
	other, err := parseReference(text)
	return err == nil && other.repo.Name() == r.repo.Name() && other.tag == r.tag && r.tag != ""
}

// short is for progress: the last part of the name.
func (r reference) short() string {
	repo := r.repo.RepositoryStr()
	return repo[strings.LastIndexByte(repo, '/')+1:]
}

func shortDigest(h v1.Hash) string {
	if len(h.Hex) < 12 {
		return h.Hex
	}
	return h.Hex[:12]
}
