package rootfs

import (
	"errors"
	"io"
	"os"
)

// Unpacked gives fn the tree of one layer whose uncompressed tar open returns.
// The content is in a temporary file until fn returns.
func Unpacked(open func() (io.ReadCloser, error), fn func(*Tree) error) (err error) {
	f, err := os.CreateTemp("", "hooksmith-layer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	tar, err := open()
	if err != nil {
		return err
	}
	n, err := io.Copy(f, tar)
	if err = errors.Join(err, tar.Close()); err != nil {
		return err
	}
	layer, err := Index(f, n)
	if err != nil {
		return err
	}
	tree, err := Flatten(layer)
	if err != nil {
		return err
	}
	return fn(tree)
}
