package images

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds on what an index may ask of us.
const (
	maxIndexDepth = 4
	maxManifests  = 2000
)

// ParsePlatform reads amd64, arm64, linux/arm64 or linux/arm64/v8. HookOS is
// Linux, so other systems are an error.
func ParsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(strings.TrimPrefix(s, "linux/"), "/")
	if len(parts) > 2 || parts[0] == "" || slices.Contains(parts, "") {
		return v1.Platform{}, fmt.Errorf("platform %q: write amd64, arm64, linux/amd64 or linux/arm64/v8", s)
	}
	p := v1.Platform{OS: "linux", Architecture: parts[0]}
	if len(parts) == 2 {
		p.Variant = parts[1]
	}
	switch p.Architecture {
	case "x86_64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "windows", "darwin", "freebsd":
		return v1.Platform{}, fmt.Errorf("platform %q: HookOS is Linux: write linux/amd64 or linux/arm64", s)
	}
	return p, nil
}

// hostPlatform is the platform of a zero Sources.
func hostPlatform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// rank says how well an image for have runs on want: 0 is not at all, larger
// is better.
func rank(want, have v1.Platform) int {
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return 0
	}
	w, okW := variantLevel(want)
	h, okH := variantLevel(have)
	switch {
	case !okW || !okH:
		if want.Variant == have.Variant {
			return 100
		}
		return 0
	case h > w:
		return 0
	}
	return 100 - (w - h) // the newest that still runs
}

// variantLevel turns v8, v9, v2 into a number that can be compared; no variant
// is the architecture's base: amd64/v1, arm64/v8, arm/v7.
func variantLevel(p v1.Platform) (int, bool) {
	if p.Variant == "" {
		switch p.Architecture {
		case "amd64":
			return 1, true
		case "arm64":
			return 8, true
		case "arm":
			return 7, true
		}
		return 0, true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
	return n, err == nil && n > 0 && n < 90
}

// platformError says that an image exists, but for other platforms.
type platformError struct {
	want v1.Platform
	have []string

	absent []v1.Descriptor // of that platform, which an index names, but which were not copied
}

func (e *platformError) Error() string {
	if len(e.have) == 0 {
		return fmt.Sprintf("it has no image for %s, nor for any other platform", e.want)
	}
	text := fmt.Sprintf("it has no image for %s, only for %s", e.want, strings.Join(e.have, ", "))
	if len(e.absent) > 0 {
		text += fmt.Sprintf(": its index names %s, but that was not copied (skopeo copy --all copies all platforms)", e.absent[0].Digest)
	}
	return text
}

// isAttestation reports whether a manifest of an index is BuildKit's record of
// how an image was made, and no image.
func isAttestation(d v1.Descriptor) bool {
	if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// choice looks for the best manifest for a platform.
type choice struct {
	content content
	want    v1.Platform
	best    v1.Descriptor
	rank    int
	have    []string
	seen    int
	// attested are the attestations of each image, of the index that it is in.
	attested map[string][]v1.Descriptor
	damage   error           // of candidates that cannot be read; told if nothing fits
	absent   []v1.Descriptor // candidates that were not copied
	others   []v1.Descriptor // those for other platforms
}

// choose returns the image manifest for want among ds, looking into indexes.
func choose(ctx context.Context, c content, ds []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	best, _, err := chooseAttested(ctx, c, ds, want)
	return best, err
}

// chooseAttested is choose, and returns the attestations of what it chose.
func chooseAttested(ctx context.Context, c content, ds []v1.Descriptor, want v1.Platform) (best v1.Descriptor, attested []v1.Descriptor, err error) {
	ch := &choice{content: c, want: want, attested: map[string][]v1.Descriptor{}}
	if err := ch.look(ctx, ds, 0); err != nil {
		return best, nil, err
	}
	if ch.rank == 0 {
		return best, nil, ch.nothing()
	}
	return ch.best, ch.attested[ch.best.Digest.String()], nil
}

// nothing is the error when no image fits.
func (ch *choice) nothing() error {
	incomplete := (*incompleteError)(nil)
	if ch.damage != nil && (len(ch.have) == 0 || errors.As(ch.damage, &incomplete)) {
		return ch.damage
	}
	if left := slices.Concat(ch.absent, ch.others); len(ch.have) == 0 && len(left) > 0 {
		return &incompleteError{fmt.Sprintf("it has an index, but none of its images, such as %s", left[0].Digest)}
	}
	slices.Sort(ch.have)
	return &platformError{ch.want, slices.Compact(ch.have), ch.absent}
}

func (ch *choice) look(ctx context.Context, ds []v1.Descriptor, depth int) error {
	if ch.seen += len(ds); depth > maxIndexDepth || ch.seen > maxManifests {
		return fmt.Errorf("the index is deeper than %d levels or has more than %d manifests", maxIndexDepth, maxManifests)
	}
	for _, d := range ds {
		if isAttestation(d) {
			if of := d.Annotations[attestationOf]; of != "" {
				ch.attested[of] = append(ch.attested[of], d)
			}
			continue
		}
		if err := ch.consider(ctx, d, depth); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if len(ds) == 1 {
				return err
			}
			ch.damage = errors.Join(ch.damage, err)
		}
	}
	return nil
}

// consider looks at one manifest, in its image's configuration where the index
// does not say what it is for.
func (ch *choice) consider(ctx context.Context, d v1.Descriptor, depth int) error {
	if s, ok := ch.content.(sparse); ok && !d.MediaType.IsIndex() {
		if l := lacks(ctx, s, d); l != nil {
			return ch.without(d, l, depth)
		}
	}
	if p := d.Platform; p != nil && p.Architecture != "" && !d.MediaType.IsIndex() {
		ch.offer(d, *p)
		return nil
	}
	m, err := readManifest(ctx, ch.content, d)
	if err != nil {
		return err
	}
	if m.index != nil {
		return ch.look(ctx, m.index.Manifests, depth+1)
	}
	config, _, err := readConfig(ctx, ch.content, m.image)
	if err != nil {
		return err
	}
	p := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant, OSVersion: config.OSVersion}
	if p.Architecture == "" { // some tools leave it out; nothing contradicts
		p = ch.want
	}
	if p.OS == "" {
		p.OS = "linux"
	}
	ch.offer(m.desc, p)
	return nil
}

// without judges a candidate that is not there whole. Of other platforms than
// the one that is asked for, all may be absent.
func (ch *choice) without(d v1.Descriptor, l *lack, depth int) error {
	if p := d.Platform; p != nil && p.Architecture != "" && rank(ch.want, *p) == 0 {
		ch.others = append(ch.others, d)
		return nil
	}
	if depth == 0 || l.begun {
		return &incompleteError{l.String()}
	}
	ch.absent = append(ch.absent, d)
	return nil
}

func (ch *choice) offer(d v1.Descriptor, p v1.Platform) {
	ch.have = append(ch.have, p.String())
	if r := rank(ch.want, p); r > ch.rank {
		ch.best, ch.rank = d, r
	}
}
