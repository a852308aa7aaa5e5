package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"hooksmith/guest/atomicfile"
)

// replaceFile writes the file, unless it has these contents already.
func replaceFile(path string, contents []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, contents) {
		return nil
	}
	return atomicfile.Write(path, contents)
}

// overwriteFile is replaceFile for a file that containers have bound into them: it stays the same inode, or they would
// keep the old one for ever. The new text is written over the old in one call, with newlines for what the old was
// longer, and only then cut: a reader finds the old or the new text, never an empty or half a file.
func overwriteFile(path string, contents []byte) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return replaceFile(path, contents)
	}
	if err == nil && bytes.Equal(old, contents) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer f.Close()
	padding := bytes.Repeat([]byte{'\n'}, max(0, len(old)-len(contents)))
	if _, err := f.WriteAt(append(slices.Clone(contents), padding...), 0); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := f.Truncate(int64(len(contents))); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
