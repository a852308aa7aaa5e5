package embed

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Prefix begins the names that EKS Anywhere and Tinkerbell give to images that
// are part of a HookOS. Nobody listens at that address, so that an image that
// is missing is never pulled from somewhere else.
const Prefix = "127.0.0.1/embedded/"

// WorkerName is the image that EKS Anywhere starts as the worker
// (tink_worker_image=127.0.0.1/embedded/tink-worker).
const WorkerName = Prefix + "tink-worker:latest"

// Want is an image that is to be embedded, before anybody has looked for it.
type Want struct {
	Source string   // reference to look for, as it was given
	Digest string   // "sha256:..." that Source must have; "": whatever it has now
	Known  []string // other digests of the same image: of the index that it was exported from
	Names  []string // in the store, with tags, as docker shows them: 127.0.0.1/embedded/cexec:latest
	Origin string   // who wants it, for messages: "bundle.yaml: Kubernetes 1.30", "images.txt:3", "--agent"

	// Export is the layout that alone has it (see ReadExport); "": look where
	// images come from.
	Export string

	// FromList is set for what a bundle or an export lists: a name that
	// somebody asks for expressly wins over it.
	FromList bool
}

// Ref is the reference to look for: by digest, if that is known.
func (w Want) Ref() string {
	named, err := reference.ParseNormalizedNamed(w.Source)
	if err != nil || w.Digest == "" {
		return w.Source
	}
	return reference.TrimNamed(named).String() + "@" + w.Digest
}

// Agent wants an image as the worker.
func Agent(source string) (Want, error) {
	w, err := newWant(source, "--agent "+source)
	w.Names = []string{WorkerName}
	return w, err
}

// Parse reads IMAGE or IMAGE=NAME[:TAG]. Without a name the image keeps its
// own, and gets no name at all if it is given by digest alone. A name without
// a slash is one below Prefix.
func Parse(text string) (Want, error) {
	source, name, renamed := strings.Cut(text, "=")
	switch {
	case text == "":
		return Want{}, errors.New("the value is empty: want IMAGE or IMAGE=NAME[:TAG] (is a shell variable unset?)")
	case source == "":
		return Want{}, fmt.Errorf("%s: there is no image before the =: want IMAGE=NAME[:TAG] (is a shell variable unset?)", text)
	case renamed && name == "":
		return Want{}, fmt.Errorf("%s: there is no name after the =: want IMAGE=NAME[:TAG], or IMAGE alone to keep its own", text)
	}
	w, err := newWant(source, "--embed "+text)
	if err != nil {
		return w, err
	}
	if !renamed {
		w.Names, err = ownName(source)
		return w, err
	}
	if !strings.Contains(name, "/") {
		name = Prefix + name
	}
	name, err = tagged(name)
	w.Names = []string{name}
	return w, err
}

// newWant checks the reference and takes its digest.
func newWant(source, origin string) (Want, error) {
	w := Want{Source: source, Origin: origin}
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return w, fmt.Errorf("image %q: %w", source, err)
	}
	if d, ok := named.(reference.Digested); ok {
		w.Digest = d.Digest().String()
	}
	return w, nil
}

// ownName is the name that docker would give to an image that it pulls.
func ownName(source string) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return nil, err
	}
	_, isTagged := named.(reference.Tagged)
	if _, byDigest := named.(reference.Digested); byDigest && !isTagged {
		return nil, nil
	}
	name, err := withTag(named)
	return []string{name}, err
}

// tagged is a name as docker keeps it: familiar, and with a tag. Like docker
// tag it takes no digest, which nobody can give to an image.
func tagged(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	if _, byDigest := named.(reference.Digested); byDigest {
		return "", fmt.Errorf("name %q: a name has no digest, want NAME[:TAG]; a digest after the image chooses what is embedded", name)
	}
	return withTag(named)
}

// withTag is the familiar form with a tag and without a digest.
func withTag(named reference.Named) (string, error) {
	tag := "latest"
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	full, err := reference.WithTag(reference.TrimNamed(named), tag)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", named, err)
	}
	return reference.FamiliarString(full), nil
}

// digestName is the reference by digest as docker keeps it in its store.
func digestName(source, digest string) (string, error) {
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", source, err)
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", source, err)
	}
	return reference.FamiliarString(reference.TrimNamed(named)) + "@" + h.String(), nil
}

// repositoryOf is the key of a name in repositories.json.
func repositoryOf(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	return reference.FamiliarName(named), nil
}

// baseName is the last element of a reference's path.
func baseName(source string) (string, error) {
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", source, err)
	}
	return path.Base(reference.Path(named)), nil
}

// HasWorker reports whether a set has the image that EKS Anywhere starts.
func HasWorker(set []Want) bool {
	return slices.ContainsFunc(set, func(w Want) bool { return slices.Contains(w.Names, WorkerName) })
}
