package embed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of a bundle: that of a release with seven Kubernetes versions has
// 0.7 MB and 60 thousand tokens. The parser's work is quadratic in places.
const (
	maxBundle   = 4 << 20
	maxTokens   = 400_000
	maxVersions = 64
	maxActions  = 200
	maxDepth    = 32
)

// Bundle is the part of an EKS Anywhere bundle (kind Bundles) that is about
// Tinkerbell: for each Kubernetes version its actions and, up to 2025, the
// worker.
type Bundle struct {
	file     string
	Versions []BundleVersion // in the order of the file
}

// BundleVersion are the images for one Kubernetes version.
type BundleVersion struct {
	Kubernetes string // "1.30"; "" in bundles that do not say
	Images     []BundleImage
}

// BundleImage is an action, or the worker.
type BundleImage struct {
	Name   string // "image2disk", "tink-worker"
	URI    string // reference with a tag
	Digest string // "sha256:..."; "": the bundle has none
}

// bundleFile is what is read of a bundle. The fields of a version's tinkerbell
// have changed from release to release, so they are searched, not named.
type bundleFile struct {
	Kind string `yaml:"kind"`
	Spec struct {
		Versions []struct {
			Kubernetes versionText    `yaml:"kubeVersion"`
			Tinkerbell map[string]any `yaml:"tinkerbell"`
		} `yaml:"versionsBundles"`
		Releases []any `yaml:"releases"`
	} `yaml:"spec"`
}

// versionText is a version as it is written: without quotes 1.30 is a number
// to YAML, and that number is 1.3.
type versionText string

func (v *versionText) UnmarshalYAML(node ast.Node) error {
	switch node.(type) {
	case *ast.StringNode, *ast.FloatNode, *ast.IntegerNode, *ast.NullNode:
	default:
		return fmt.Errorf("kubeVersion is a %s: want a version such as \"1.30\"", node.Type())
	}
	if t := node.GetToken(); t != nil && node.Type() != ast.NullType {
		*v = versionText(t.Value)
	}
	return nil
}

// ParseBundle reads a bundle. File names it in errors.
func ParseBundle(file string, data []byte) (*Bundle, error) {
	raw, err := decodeBundle(data)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", file, err)
	}
	b := &Bundle{file: file}
	for i, v := range raw.Spec.Versions {
		found := map[string]BundleImage{}
		kubernetes := string(v.Kubernetes)
		if err := findImages(v.Tinkerbell, found, 0); err != nil {
			return nil, fmt.Errorf("bundle %s: Kubernetes %s: %w", file, cmp.Or(kubernetes, strconv.Itoa(i+1)), err)
		}
		images := slices.SortedFunc(maps.Values(found), func(x, y BundleImage) int { return strings.Compare(x.Name, y.Name) })
		b.Versions = append(b.Versions, BundleVersion{Kubernetes: kubernetes, Images: images})
	}
	if !slices.ContainsFunc(b.Versions, BundleVersion.hasImages) {
		return nil, fmt.Errorf("bundle %s: it lists no actions of Tinkerbell (%s): is it for another provider?", file, strings.Join(actionPaths, ", "))
	}
	return b, nil
}

func decodeBundle(data []byte) (*bundleFile, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	switch {
	case len(data) > maxBundle:
		return nil, fmt.Errorf("%d bytes; a bundle has at most %d", len(data), maxBundle)
	case len(text) == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(text, []byte("\x1f\x8b")):
		return nil, errors.New("it is compressed with gzip: unpack it first, with gunzip")
	case bytes.IndexByte(text, 0) >= 0:
		return nil, errors.New("it is no text: a bundle is YAML, and if it came compressed it has to be unpacked first")
	case text[0] == '<':
		return nil, errors.New("this is a HTML page, not YAML: a proxy's login or an error page? A bundle's URL ends in bundle-release.yaml")
	}
	var raw bundleFile
	if err := unmarshal(text, &raw); err != nil {
		return nil, err
	}
	switch {
	case len(raw.Spec.Releases) > 0:
		return nil, errors.New("this is the list of releases (kind Release), not a bundle: give the URL that it has as bundleManifestUrl")
	case raw.Kind != "Bundles":
		return nil, fmt.Errorf("its kind is %q; an EKS Anywhere bundle has kind Bundles", raw.Kind)
	case len(raw.Spec.Versions) > maxVersions:
		return nil, fmt.Errorf("%d Kubernetes versions, more than %d", len(raw.Spec.Versions), maxVersions)
	}
	return &raw, nil
}

// unmarshal decodes YAML that is not to be trusted.
func unmarshal(text []byte, into any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the library indexes without checks in places
			err = fmt.Errorf("malformed YAML (%v)", r)
		}
	}()
	if err := checkTokens(string(text)); err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	return nil
}

// checkTokens refuses what a bundle never has and what makes a parser slow:
// aliases, which multiply, and deep nesting.
func checkTokens(text string) error {
	if strings.Count(text, "[")+strings.Count(text, "{") > maxTokens/10 {
		return errors.New("too many lists in brackets for a bundle")
	}
	tokens := lexer.Tokenize(text)
	if len(tokens) > maxTokens {
		return fmt.Errorf("%d tokens; a bundle has at most %d", len(tokens), maxTokens)
	}
	open := 0
	for _, t := range tokens {
		switch t.Value {
		case "[", "{":
			open++
		case "]", "}":
			open--
		case "*", "&":
			return fmt.Errorf("line %d: a bundle has no aliases", t.Position.Line)
		}
		if open > maxDepth || t.Position != nil && t.Position.Column > 4*maxDepth && t.Position.IndentNum > 4*maxDepth {
			return fmt.Errorf("line %d: nested too deep", t.Position.Line)
		}
	}
	return nil
}

// actionPaths are parts of the repositories that hold actions: the present
// one, and that of bundles before 2024.
var actionPaths = []string{"/tinkerbell/actions/", "/tinkerbell/hub/"}

// workerPath is how the worker's repository ends.
const workerPath = "/tinkerbell/tink/tink-worker"

// findImages collects actions and workers by name: every object with a uri
// whose repository says what it is, wherever it stands.
func findImages(in any, found map[string]BundleImage, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	switch v := in.(type) {
	case []any:
		for _, item := range v {
			if err := findImages(item, found, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		if uri, ok := v["uri"].(string); ok {
			return addImage(v, uri, found)
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := findImages(v[key], found, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func addImage(object map[string]any, uri string, found map[string]BundleImage) error {
	isAction := slices.ContainsFunc(actionPaths, func(p string) bool { return strings.Contains(uri, p) })
	if !isAction && !strings.Contains(uri, workerPath) {
		return nil
	}
	w, err := newWant(uri, "")
	if err != nil {
		return err
	}
	name, err := baseName(uri)
	if err != nil {
		return err
	}
	image := BundleImage{Name: name, URI: uri, Digest: w.Digest}
	switch d := object["imageDigest"].(type) {
	case nil:
	case string:
		if _, err := v1.NewHash(d); err != nil && d != "" {
			return fmt.Errorf("image %s: imageDigest %q: %w", uri, d, err)
		}
		image.Digest = cmp.Or(d, image.Digest)
	default:
		return fmt.Errorf("image %s: imageDigest is %v, want text: sha256: and 64 digits", uri, d)
	}
	if len(found) == maxActions {
		return fmt.Errorf("more than %d images", maxActions)
	}
	if was, ok := found[name]; ok && (was.URI != image.URI || was.Digest != image.Digest) {
		return fmt.Errorf("two images named %s: %s and %s", name, was.URI, image.URI)
	}
	found[name] = image
	return nil
}

// Wants returns the images of one Kubernetes version, such as "1.30", or with
// "" those of all: each is 127.0.0.1/embedded/NAME. Where versions have
// different images of one name, the newest version's is that, and the others
// have their own tags: 127.0.0.1/embedded/NAME:TAG.
func (b *Bundle) Wants(kubernetes string) ([]Want, error) {
	versions := slices.Clone(b.Versions)
	slices.SortStableFunc(versions, func(x, y BundleVersion) int { return compareVersions(y.Kubernetes, x.Kubernetes) })
	if kubernetes != "" {
		wanted := minor(kubernetes)
		versions = slices.DeleteFunc(versions, func(v BundleVersion) bool { return minor(v.Kubernetes) != wanted })
		if len(versions) == 0 {
			return nil, fmt.Errorf("bundle %s is for Kubernetes %s, not %s", b.file, b.kubernetes(func(BundleVersion) bool { return true }), kubernetes)
		}
		if !slices.ContainsFunc(versions, BundleVersion.hasImages) {
			return nil, fmt.Errorf("bundle %s has no actions of Tinkerbell for Kubernetes %s, only for %s", b.file, kubernetes, b.kubernetes(BundleVersion.hasImages))
		}
	}
	var list []Want
	first := map[string]string{} // name -> reference
	for _, v := range versions {
		for _, image := range v.Images {
			w := Want{
				Source: image.URI, Digest: image.Digest, FromList: true,
				Origin: strings.TrimSpace(b.file + ": Kubernetes " + v.Kubernetes),
			}
			name := Prefix + image.Name + ":latest"
			switch ref := first[name]; {
			case ref == w.Ref():
				continue
			case ref == "":
				first[name] = w.Ref()
			default:
				own, err := ownName(image.URI)
				if err != nil {
					return nil, err
				}
				_, tag, _ := strings.Cut(strings.Join(own, ""), image.Name+":")
				name = Prefix + image.Name + ":" + cmp.Or(tag, "k8s-"+minor(v.Kubernetes))
			}
			w.Names = []string{name}
			list = append(list, w)
		}
	}
	return list, nil
}

func (v BundleVersion) hasImages() bool { return len(v.Images) > 0 }

// kubernetes lists those versions of the bundle that match, for errors.
func (b *Bundle) kubernetes(match func(BundleVersion) bool) string {
	var out []string
	for _, v := range b.Versions {
		if match(v) {
			out = append(out, cmp.Or(v.Kubernetes, "(unnamed)"))
		}
	}
	return strings.Join(out, ", ")
}

// minor is a Kubernetes version without v, patch and build.
func minor(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// compareVersions compares 1.9 and 1.30 by number.
func compareVersions(x, y string) int {
	a, b := strings.Split(minor(x), "."), strings.Split(minor(y), ".")
	for i := range min(len(a), len(b)) {
		n, _ := strconv.Atoi(a[i])
		m, _ := strconv.Atoi(b[i])
		if n != m {
			return cmp.Compare(n, m)
		}
	}
	return cmp.Compare(len(a), len(b))
}
