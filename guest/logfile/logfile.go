// Package logfile writes log files that cannot fill the memory that HookOS runs from.
//
// In go bytes, out come PATH and, once that has been full, PATH.1 with what was before: at most twice the limit.
package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// DefaultLimit is the size at which a log is rotated.
const DefaultLimit = 4 << 20

// File is a log with rotation. It is safe for concurrent use.
type File struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open appends to the log at path, making its folder. A limit of 0 is DefaultLimit. The caller closes it.
func Open(path string, limit int64) (*File, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening the log %s: %w", path, err)
	}
	l := &File{path: path, limit: limit}
	return l, l.open()
}

func (l *File) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("opening the log: %w", err)
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write appends p, in the next file if it does not fit in this one. A p larger than the limit is written whole.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, fmt.Errorf("writing the log %s: %w", l.path, os.ErrClosed)
	}
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// rotate moves the full file aside. When that fails the file is emptied instead: the limit must hold.
func (l *File) rotate() error {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		if err := l.file.Truncate(0); err != nil {
			return fmt.Errorf("rotating the log %s: %w", l.path, err)
		}
		l.size = 0
		return nil
	}
	l.file.Close()
	l.file = nil
	return l.open()
}

// Close ends the log; later writes fail.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
