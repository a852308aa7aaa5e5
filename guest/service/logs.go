package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often a followed log is looked at. It is a person who waits.
const followEvery = 200 * time.Millisecond

// ending says when printing a log ends.
type ending int

const (
	once      ending = iota // at the end of what there is
	following               // with ctx
)

// print writes the log of name: the rotated file, then the current one.
func (a applet) print(ctx context.Context, name string, w io.Writer, end ending) error {
	path, err := a.logPath(name)
	if err != nil {
		return err
	}
	old, err := os.Open(path + ".1")
	if err == nil {
		_, err = io.Copy(w, old)
		old.Close()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s.1: %w", path, err)
	}
	return tail(ctx, path, w, end)
}

// tail copies path to w. When following it goes on, with the new file when the log has been rotated.
func tail(ctx context.Context, path string, w io.Writer, end ending) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { file.Close() }()
	for {
		if _, err := io.Copy(w, file); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if end == once {
			return nil
		}
		if next := successor(path, file); next != nil {
			// What was written between the copy and the rotation.
			_, err := io.Copy(w, file)
			file.Close()
			file = next
			if err != nil {
				return fmt.Errorf("reading %s: %w", path, err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// successor opens the file that has taken the place of the one being read, nil if none has.
func successor(path string, file *os.File) *os.File {
	now, err := os.Stat(path)
	if err != nil {
		return nil
	}
	then, err := file.Stat()
	if err != nil || os.SameFile(now, then) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}
