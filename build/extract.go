package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// extract keeps one file of an image, such as its kernel, in the cache. What
// machines boot is held against its hash each time that it is taken from there,
// and taken out of the image again if it is damaged. The file is closed with the
// layers.
func (b *builder) extract(ctx context.Context, key string, open func() (io.ReadCloser, error)) (*os.File, error) {
	key, sumKey := "image file 2\n"+key, "image file sum 2\n"+key
	for again := false; ; again = true {
		f, err := b.extracted(ctx, key, open)
		if err != nil {
			return nil, err
		}
		sum, err := b.extractedSum(ctx, sumKey, f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		have, err := hashFile(ctx, f)
		if err == nil && have == sum {
			b.layers.adopt(f)
			return f, nil
		}
		if err = errors.Join(err, f.Close(), b.opt.Cache.Forget(key), b.opt.Cache.Forget(sumKey)); err != nil || again {
			return nil, errors.Join(fmt.Errorf("its copy in the cache, %s, is damaged", f.Name()), err)
		}
		b.opt.Log.Warn("a cached file of an image is damaged, and is taken out again", "file", f.Name())
	}
}

func (b *builder) extracted(ctx context.Context, key string, open func() (io.ReadCloser, error)) (*os.File, error) {
	return b.opt.Cache.Derive(ctx, key, func(ctx context.Context, w io.Writer) error {
		r, err := open()
		if err != nil {
			return err
		}
		_, err = copyContext(ctx, w, r)
		return errors.Join(err, r.Close())
	})
}

// extractedSum is the hash, in hex, of a file as it was when it was taken out.
func (b *builder) extractedSum(ctx context.Context, key string, f *os.File) (string, error) {
	sum, err := b.opt.Cache.Derive(ctx, key, func(ctx context.Context, w io.Writer) error {
		sum, err := hashFile(ctx, f)
		if err == nil {
			_, err = io.WriteString(w, sum)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(sum)
	return string(text), errors.Join(err, sum.Close())
}

func hashFile(ctx context.Context, f *os.File) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = copyContext(ctx, h, io.NewSectionReader(f, 0, st.Size()))
	return hex.EncodeToString(h.Sum(nil)), err
}
