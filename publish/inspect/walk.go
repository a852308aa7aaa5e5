package inspect

import (
	"context"
	"fmt"
	"io"

	"hooksmith/build/initramfs"
)

// Walk calls fn for every record of an initramfs, in the order of the file, in
// any compression that the kernel knows. An Entry's Offset is in the file;
// content is valid until fn returns. The error names the file, and the offset
// and the record at which the kernel would stop; one of fn is in its chain.
func Walk(ctx context.Context, f *Artifact, fn func(e initramfs.Entry, content io.Reader) error) error {
	spans, err := split(f, f.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	shared := newBudget()
	for _, s := range spans {
		section := &ctxReader{ctx, io.NewSectionReader(f, s.start, s.end-s.start)}
		err := readSpan(section, s.start, func(e initramfs.Entry, content io.Reader) error {
			if err := shared.spend(e); err != nil {
				return err
			}
			e.Offset += s.start
			return fn(e, content)
		})
		if err != nil {
			return fmt.Errorf("%s: the part at offset %d: %w", f.Name, s.start, err)
		}
	}
	return nil
}
