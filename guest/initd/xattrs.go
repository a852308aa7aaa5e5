package initd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// xattr is a line of the manifest of extended attributes, which cpio cannot carry: JSON, one object a line, all in
// base64 as encoding/json has it, because names need not be UTF-8.
type xattr struct {
	Path  []byte `json:"path"`
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

// applyXattrs sets the attributes of a manifest on the files below root. Without a manifest there is nothing to do.
func applyXattrs(root, manifest string) error {
	file, err := os.Open(filepath.Join(root, manifest))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var errs []error
	for records := json.NewDecoder(file); ; {
		var x xattr
		err := records.Decode(&x)
		if errors.Is(err, io.EOF) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("reading %s: %w", manifest, err))...)
		}
		path := filepath.Join(root, filepath.Clean("/"+string(x.Path)))
		if err := unix.Lsetxattr(path, string(x.Name), x.Value, 0); err != nil && len(errs) < 10 {
			errs = append(errs, fmt.Errorf("setting %q of %q: %w", x.Name, x.Path, err))
		}
	}
}
