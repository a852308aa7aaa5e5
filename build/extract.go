package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// extract keeps one file of an image, such as its kernel, in the cache. What
// machines boot is held against its hash each time that it is taken from there,
// and taken out of the image again if it is damaged. The file is closed with the
// layers.
func (b *builder) extract(ctx context.Context, key string, open func() (io.ReadCloser, error)) (*os.File, error) {
	for again := false; ; again = true {
		f, err := b.extracted(ctx, key, open)
		if err != nil {
			return nil, err
		}
		sum, sumFile, err := b.extractedSum(ctx, key, f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		have, err := hashFile(ctx, f)
		if err == nil && have == sum {
			b.layers.adopt(f)
			return f, nil
		}
		if err = errors.Join(err, f.Close(), removeIfThere(f.Name()), removeIfThere(sumFile)); err != nil || again {
			return nil, errors.Join(fmt.Errorf("its copy in the cache, %s, is damaged", f.Name()), err)
		}
		b.opt.Log.Warn("a cached file of an image is damaged, and is taken out again", "file", f.Name())
	}
}

func (b *builder) extracted(ctx context.Context, key string, open func() (io.ReadCloser, error)) (*os.File, error) {
	return b.opt.Cache.Derive(ctx, "image file 2\n"+key, func(ctx context.Context, w io.Writer) error {
		r, err := open()
		if err != nil {
			return err
		}
		_, err = copyContext(ctx, w, r)
		return errors.Join(err, r.Close())
	})
}

// extractedSum is the hash, in hex, of a file as it was when it was taken out,
// and where the cache has that.
func (b *builder) extractedSum(ctx context.Context, key string, f *os.File) (hash, file string, err error) {
	sum, err := b.opt.Cache.Derive(ctx, "image file sum 2\n"+key, func(ctx context.Context, w io.Writer) error {
		sum, err := hashFile(ctx, f)
		if err == nil {
			_, err = io.WriteString(w, sum)
		}
		return err
	})
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(sum)
	return string(text), sum.Name(), errors.Join(err, sum.Close())
}

// removeIfThere removes a file. What was just made goes by a name that it has
// lost since, and of two who find a damaged one the other may be faster.
func removeIfThere(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
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
