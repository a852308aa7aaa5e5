package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What BuildKit writes beside an image (in-toto attestations in an image
// manifest of their own, which names the image by annotation).
const (
	attestationOf  = "vnd.docker.reference.digest"
	inTotoType     = "application/vnd.in-toto+json"
	predicateType  = "in-toto.io/predicate-type"
	spdxPredicate  = "https://spdx.dev/Document"
	maxAttestation = 64 << 20
	maxAttestedBy  = 16
)

// SPDX returns the SPDX documents, JSON, that are attested for img in the index
// that it was taken from, in their order there. An image from a place without
// an index, or of another package, has none.
func SPDX(ctx context.Context, img v1.Image) ([]json.RawMessage, error) {
	i, ok := img.(*image)
	if !ok {
		return nil, nil
	}
	if len(i.attested) > maxAttestedBy {
		return nil, fmt.Errorf("its index has %d attestations of it, more than the %d that are sane", len(i.attested), maxAttestedBy)
	}
	var docs []json.RawMessage
	for _, d := range i.attested {
		if s, ok := i.content.(sparse); ok && lacks(ctx, s, d) != nil {
			continue
		}
		more, err := spdxOf(ctx, i.content, d)
		if err != nil {
			return nil, fmt.Errorf("attestation %s: %w", d.Digest, err)
		}
		docs = append(docs, more...)
	}
	return docs, nil
}

func spdxOf(ctx context.Context, c content, d v1.Descriptor) (docs []json.RawMessage, err error) {
	m, err := readManifest(ctx, c, d)
	if err != nil {
		return nil, err
	}
	if m.image == nil {
		return nil, errors.New("it is an index, want a manifest")
	}
	for _, l := range m.image.Layers {
		if string(l.MediaType) != inTotoType || l.Annotations[predicateType] != spdxPredicate {
			continue
		}
		raw, err := readBlob(ctx, c, l, maxAttestation)
		if err != nil {
			return nil, fmt.Errorf("statement %s: %w", l.Digest, err)
		}
		var statement struct {
			Type      string          `json:"predicateType"`
			Predicate json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(raw, &statement); err != nil {
			return nil, fmt.Errorf("statement %s is not JSON: %w", l.Digest, err)
		}
		if strings.HasPrefix(statement.Type, spdxPredicate) && len(statement.Predicate) > 0 {
			docs = append(docs, statement.Predicate)
		}
	}
	return docs, nil
}
