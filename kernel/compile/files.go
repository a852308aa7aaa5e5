package compile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/docker/docker/api/types/container"
)

// maxFile bounds the files that ReadFile reads: configurations, maps.
const maxFile = 256 << 20

// ReadFile reads a file of the workspace. A relative path begins in the
// source's folder.
func (w *Workspace) ReadFile(ctx context.Context, name string) ([]byte, error) {
	r, err := w.ReadTree(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	tr := tar.NewReader(r)
	h, err := tr.Next()
	if err != nil {
		return nil, fmt.Errorf("reading %s in the container: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size > maxFile {
		return nil, fmt.Errorf("reading %s in the container: no file of at most %d bytes", name, maxFile)
	}
	return io.ReadAll(tr)
}

// WriteFile writes a file of the workspace. Its folder is made if it has to be.
func (w *Workspace) WriteFile(ctx context.Context, name string, data []byte) error {
	name = w.abs(name)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: name[1:], Mode: 0o644, Size: int64(len(data)), ModTime: time.Now().Truncate(time.Second)}); err != nil {
		return err
	}
	if _, err := tw.Write(data); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return w.copyTar(ctx, "/", io.NopCloser(&buf))
}

// ReadTree is a file or folder of the workspace as a tar, whose members begin
// with the last name of the path. The caller closes it.
func (w *Workspace) ReadTree(ctx context.Context, name string) (io.ReadCloser, error) {
	r, _, err := w.daemon.CopyFromContainer(ctx, w.id, w.abs(name))
	if err != nil {
		return nil, fmt.Errorf("reading %s in the container: %w", name, w.daemon.Explain(err))
	}
	return r, nil
}

func (w *Workspace) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(w.workDir(), name)
}

// copyTar unpacks a tar in the workspace and closes it. What the tar's reader
// says counts more than what the daemon makes of its end.
func (w *Workspace) copyTar(ctx context.Context, dir string, r io.ReadCloser) error {
	noted := &notedReader{r: r}
	err := w.daemon.CopyToContainer(ctx, w.id, dir, noted, container.CopyToContainerOptions{})
	closeErr := r.Close()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case noted.err != nil:
		return noted.err
	case isNoSpace(err):
		return noSpace(err, "the source", sourceSpace)
	case err != nil:
		return fmt.Errorf("copying into the container: %w", w.daemon.Explain(err))
	case !noted.ended:
		return errors.New("copying into the container: the daemon did not read all of it")
	}
	return closeErr
}

// notedReader remembers how its reader ended.
type notedReader struct {
	r     io.Reader
	err   error // other than io.EOF
	ended bool
}

func (n *notedReader) Read(b []byte) (int, error) {
	c, err := n.r.Read(b)
	switch {
	case err == io.EOF:
		n.ended = true
	case err != nil:
		n.err = err
	}
	return c, err
}
