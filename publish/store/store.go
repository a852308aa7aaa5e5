package store

import (
	"context"
	"errors"
	"io"
	"os"
)

// ErrUnsupported is returned for what a kind of store cannot do.
var ErrUnsupported = errors.ErrUnsupported

// Store holds objects under slash-separated names. All methods but Close may
// be called concurrently. Errors are fs.ErrNotExist and fs.ErrExist where that
// is what happened.
type Store interface {
	// Put makes an object of size bytes of content; readers see the old object
	// or the new one, whole. What an earlier Put of the same key (a hash of the
	// content, "" for none) left unfinished is taken up.
	Put(ctx context.Context, name, key string, size int64, content Content) error
	// Create makes a small object, unless there is one: fs.ErrExist.
	Create(ctx context.Context, name string, data []byte) error
	// Get reads n bytes from off on, all of them for n < 0.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// Copy makes one object of another inside the store; readers see the old
	// object or the new one. ErrUnsupported: the bytes have to be sent again.
	Copy(ctx context.Context, from, to string) error
	// Delete removes an object, and folders that are empty then. It is no error
	// if there is none.
	Delete(ctx context.Context, name string) error
	Close() error
}

// Turner is a store that can let many names point into one folder, all at the
// same moment.
type Turner interface {
	// Turn makes names mean the objects of these names below folder, and
	// removes the names in gone. ErrUnsupported: this one cannot.
	Turn(ctx context.Context, folder string, names, gone []string) error
}

// Locker is a store with locks that end with the process that holds them.
type Locker interface {
	// Lock returns fs.ErrExist if another process holds the lock.
	Lock(ctx context.Context, name string) (unlock func() error, err error)
}

// Content is what Put sends. It can be read from anywhere, again and by
// several goroutines.
type Content interface{ io.ReaderAt }

// Local is Content that is simply a file: the kernel can copy it. Count is
// told of bytes that did not go through ReadAt.
type Local interface {
	Content
	File() (f *os.File, count func(n int64))
}

// Measured is Content that counts, and holds back, what is read of it.
type Measured interface {
	Content
	// Quiet is the same for what is not sent.
	Quiet() Content
}

// quiet is content that is read here alone.
func quiet(c Content) Content {
	if m, ok := c.(Measured); ok {
		return m.Quiet()
	}
	return c
}

// reader is content as a stream.
func reader(c Content, size int64) *io.SectionReader { return io.NewSectionReader(c, 0, size) }

// multiCloser reads from one and closes others.
type multiCloser struct {
	io.Reader
	close func() error
}

func (m *multiCloser) Close() error { return m.close() }
