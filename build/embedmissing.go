package build

import (
	"context"
	"fmt"

	"github.com/distribution/reference"

	"hooksmith/build/images"
	"hooksmith/embed"
)

// explainMissing adds to the error of an image that was not found what its
// user can do: with an export that was cut, and with a digest, such as a
// bundle's, that is not what the tag stands for.
func (p *Plan) explainMissing(ctx context.Context, w embed.Want, err error) error {
	if images.IsPlatform(err) || ctx.Err() != nil {
		return err
	}
	if w.Export != "" {
		return fmt.Errorf("%w (or write %s again with hooksmith embed export)", err, w.Export)
	}
	named, parseErr := reference.ParseNormalizedNamed(w.Source)
	if parseErr != nil || w.Digest == "" || !images.IsMiss(err) { // who did not answer would be waited for again
		return err
	}
	tag, ok := named.(reference.Tagged)
	if !ok {
		return err
	}
	ref := reference.TrimNamed(named).String() + ":" + tag.Tag()
	img, tagErr := p.foreign.source.Image(ctx, ref)
	if tagErr != nil || img == nil {
		return err
	}
	digest := ""
	if h, hashErr := img.Digest(); hashErr == nil {
		digest = h.String()
	}
	if pin, ok := p.pinOf(ref); ok {
		digest = pin.Digest // of the index, as bundles and docker say it
	}
	if digest == "" || digest == w.Digest {
		return err
	}
	return fmt.Errorf("%w; %s is there, but with the digest %s, not %s: correct the digest where it is wrong, or, if the tag is, bring the right image to the registry", err, ref, digest, w.Digest)
}
