package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"
	"syscall"
)

// Request is what a FileSystem decides by.
type Request struct {
	Client    netip.AddrPort // IPv4 never in its mapped form; no zone, see Interface
	Local     netip.Addr     // address that the request was sent to; zero if the socket does not tell
	Interface int            // index of the interface it came in on; 0 if the socket does not tell
	Name      string         // cleaned: slash-separated, relative, never leaves its root, "" for the root itself
	RawName   string         // as the client wrote it
	Mode      string         // "octet" or "netascii"
	Size      bool           // the client asks for the size (tsize); it may only want that
}

// FileSystem opens the file that one client asks for. The decision may differ from client to client.
//
// Errors choose the refusal: *Error as it is, fs.ErrNotExist "file not found", fs.ErrPermission "access denied",
// anything else an undefined error without details. Open is called on the transfer's own goroutine and should return
// when ctx ends. The server closes the File.
type FileSystem interface {
	Open(ctx context.Context, r Request) (File, error)
}

// File is the content of one transfer. Size is asked once; reads stay within it.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// FileSystemFunc makes a function a FileSystem.
type FileSystemFunc func(ctx context.Context, r Request) (File, error)

// Open calls f.
func (f FileSystemFunc) Open(ctx context.Context, r Request) (File, error) { return f(ctx, r) }

// Dir serves the regular files below root. Links that lead out of it are refused (os.Root). The caller keeps root open
// as long as the server runs.
func Dir(root *os.Root) FileSystem {
	return FileSystemFunc(func(_ context.Context, r Request) (File, error) { return openBelow(root, r.Name) })
}

func openBelow(root *os.Root, name string) (File, error) {
	if name == "" {
		return nil, fmt.Errorf("opening the root as a file: %w", fs.ErrPermission)
	}
	// O_NONBLOCK: a FIFO in the folder must not hold the transfer.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, confine(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: %w", name, fs.ErrPermission)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &diskFile{f, info.Size()}, nil
}

// confine gives errors of os.Root the sentinel that picks the right error code: a path through a file does not exist,
// a path that leaves the root (an unexported error of package os) is forbidden.
func confine(err error) error {
	var p *fs.PathError
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case errors.As(err, &p) && strings.Contains(p.Err.Error(), "escapes"), errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	}
	return err
}

type diskFile struct {
	*os.File
	size int64
}

func (f *diskFile) Size() int64 { return f.size }

func isNotFound(err error) bool  { return errors.Is(err, fs.ErrNotExist) }
func isForbidden(err error) bool { return errors.Is(err, fs.ErrPermission) }

// cleanName turns what a client wrote (leading slashes, backslashes of Windows loaders, doubled slashes of URL joins)
// into a relative slash path. ".." is resolved inside the root.
func cleanName(raw string) string {
	return strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(raw, `\`, "/")), "/")
}
