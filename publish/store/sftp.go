package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// sftpWindow is how much of a partial file may have holes: requests of a
// concurrent write arrive in any order.
const sftpWindow = 4 << 20

// remote is a folder behind an SFTP server.
type remote struct {
	u   *url.URL
	a   Access
	dir string

	mu     sync.Mutex
	ssh    *ssh.Client
	client *sftp.Client
}

// openSFTP opens sftp://USER@HOST:PORT/PATH; /~/PATH is below the home folder.
func openSFTP(ctx context.Context, u *url.URL, a Access) (*remote, error) {
	r := &remote{u: u, a: a, dir: path.Clean("/" + u.Path)}
	if len(u.Path) > 2 && u.Path[:3] == "/~/" {
		r.dir = path.Clean(u.Path[3:])
	}
	c, err := r.conn(ctx)
	if err != nil {
		return nil, err
	}
	if a.Existing {
		return r, nil
	}
	return r, r.mkdir(c, r.dir)
}

// conn is the connection, made again if it was lost.
func (r *remote) conn(ctx context.Context) (*sftp.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	s, err := dialSSH(ctx, r.u, r.a)
	if err != nil {
		return nil, err
	}
	c, err := sftp.NewClient(s, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true), sftp.MaxConcurrentRequestsPerFile(64))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	r.ssh, r.client = s, c
	return c, nil
}

// with runs op on the connection; an error that is not the server's answer
// ends the connection, so that the next try makes a new one.
func (r *remote) with(ctx context.Context, op func(c *sftp.Client) error) error {
	c, err := r.conn(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.drop(c) })
	defer stop()
	err = op(c)
	var answer *sftp.StatusError
	switch {
	case ctx.Err() != nil:
		return errors.Join(ctx.Err(), err)
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrPermission), errors.Is(err, ErrUnsupported):
		return err
	case errors.As(err, &answer) && answer.FxCode() != sftp.ErrSSHFxConnectionLost && answer.FxCode() != sftp.ErrSSHFxNoConnection:
		return explainSFTP(err)
	}
	r.drop(c)
	return err
}

func (r *remote) drop(c *sftp.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != c {
		return
	}
	_ = r.ssh.Close() // first: it ends what c waits for
	_ = c.Close()
	r.client, r.ssh = nil, nil
}

// explainSFTP: the protocol's version 3 has one code, "Failure", for a full
// disk and much else. What an answer was is not worth many tries.
func explainSFTP(err error) error {
	var answer *sftp.StatusError
	if errors.As(err, &answer) && answer.FxCode() == sftp.ErrSSHFxFailure {
		return final{fmt.Errorf("%w (the server does not say more; a full disk or quota is the usual reason)", err)}
	}
	return final{err}
}

func (r *remote) path(name string) string { return path.Join(r.dir, name) }

func (r *remote) mkdir(c *sftp.Client, dir string) error {
	if err := c.MkdirAll(dir); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	return nil
}

// Put writes beside and renames. A partial file of the same key is continued.
func (r *remote) Put(ctx context.Context, name, key string, size int64, content Content) error {
	return r.with(ctx, func(c *sftp.Client) error {
		to := r.path(name)
		if err := r.mkdir(c, path.Dir(to)); err != nil {
			return err
		}
		part := beside(to, key)
		if err := r.writePart(c, part, key, size, content); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		return c.PosixRename(part, to)
	})
}

func (r *remote) writePart(c *sftp.Client, part, key string, size int64, content Content) (err error) {
	var off int64
	if info, statErr := c.Stat(part); statErr == nil && key != "" && info.Size() <= size {
		off = max(0, info.Size()-sftpWindow)
	}
	f, err := c.OpenFile(part, os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if off == 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	// Chunks keep the requests in flight inside sftpWindow.
	const chunk = sftpWindow / 2
	for ; off < size; off += chunk {
		n := min(chunk, size-off)
		if _, err := f.ReadFrom(&sized{io.NewSectionReader(content, off, n), n}); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		var answer *sftp.StatusError
		if !errors.As(err, &answer) || answer.FxCode() != sftp.ErrSSHFxOpUnsupported {
			return err
		}
	}
	return nil
}

// sized tells pkg/sftp the length, without which it writes one packet at a time.
type sized struct {
	io.Reader
	n int64
}

func (s *sized) Size() int64 { return s.n }

// Create makes a whole file beside and links it, which fails if there is one.
func (r *remote) Create(ctx context.Context, name string, data []byte) error {
	return r.with(ctx, func(c *sftp.Client) error {
		to := r.path(name)
		if err := r.mkdir(c, path.Dir(to)); err != nil {
			return err
		}
		part := beside(to, "")
		if err := r.writePart(c, part, "", int64(len(data)), bytes.NewReader(data)); err != nil {
			return err
		}
		defer func() { _ = c.Remove(part) }()
		err := c.Link(part, to)
		if err == nil {
			return nil
		}
		if _, statErr := c.Lstat(to); statErr == nil {
			return fs.ErrExist
		}
		var answer *sftp.StatusError
		if !errors.As(err, &answer) || answer.FxCode() != sftp.ErrSSHFxOpUnsupported {
			return err
		}
		if err := c.Rename(part, to); err != nil { // version 3 refuses to rename over a file
			if _, statErr := c.Lstat(to); statErr == nil {
				return fs.ErrExist
			}
			return err
		}
		return nil
	})
}

// Get opens a file.
func (r *remote) Get(ctx context.Context, name string, off, n int64) (rc io.ReadCloser, err error) {
	err = r.with(ctx, func(c *sftp.Client) error {
		f, err := c.Open(r.path(name))
		if err != nil {
			return err
		}
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return errors.Join(err, f.Close())
		}
		var rd io.Reader = &ahead{f: f, lost: func() { r.drop(c) }}
		if n >= 0 {
			rd = io.LimitReader(rd, n)
		}
		rc = &multiCloser{rd, f.Close}
		return nil
	})
	return rc, err
}

// ahead reads large pieces, which pkg/sftp asks for concurrently.
type ahead struct {
	f    *sftp.File
	lost func()
	buf  []byte
	rest []byte
	err  error
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buf == nil {
			a.buf = make([]byte, 1<<20)
		}
		n, err := io.ReadFull(a.f, a.buf)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			a.lost()
		}
		a.rest, a.err = a.buf[:n], err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	if n == 0 {
		return 0, a.err
	}
	return n, nil
}

// Copy makes a hard link; the protocol has no copy.
func (r *remote) Copy(ctx context.Context, from, to string) error {
	return r.with(ctx, func(c *sftp.Client) error {
		if err := r.mkdir(c, path.Dir(r.path(to))); err != nil {
			return err
		}
		part := beside(r.path(to), "")
		if err := c.Link(r.path(from), part); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return errors.Join(ErrUnsupported, err)
		}
		return c.PosixRename(part, r.path(to))
	})
}

// Delete removes a file, or an empty folder.
func (r *remote) Delete(ctx context.Context, name string) error {
	return r.with(ctx, func(c *sftp.Client) error {
		if name[len(name)-1] == '/' {
			parts, _ := c.ReadDir(r.path(name))
			for _, f := range parts {
				if strings.HasSuffix(f.Name(), ".part") { // uploads that were cut off
					_ = c.Remove(path.Join(r.path(name), f.Name()))
				}
			}
			_ = c.RemoveDirectory(r.path(name)) // not if something of others is in it
			return nil
		}
		if err := c.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Turn renames one symbolic link that all names go through, as Folder does.
func (r *remote) Turn(ctx context.Context, folder string, names, gone []string) error {
	return r.with(ctx, func(c *sftp.Client) error {
		if err := r.mkdir(c, path.Dir(r.path(Current))); err != nil {
			return err
		}
		for _, name := range names { // before anything is changed
			if info, err := c.Lstat(r.path(name)); err == nil && info.IsDir() {
				return inTheWay(r.path(name))
			}
		}
		if err := r.link(c, path.Join("..", folder), Current); err != nil {
			return err
		}
		for _, name := range names {
			want := path.Join(Current, name)
			if at, err := c.ReadLink(r.path(name)); err == nil && at == want {
				continue
			}
			if err := r.link(c, want, name); err != nil {
				return err
			}
		}
		for _, name := range gone {
			if err := c.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

func (r *remote) link(c *sftp.Client, target, name string) error {
	part := beside(r.path(name), "")
	if err := c.Symlink(target, part); err != nil {
		return errors.Join(ErrUnsupported, err)
	}
	if err := c.PosixRename(part, r.path(name)); err != nil {
		_ = c.Remove(part)
		return err
	}
	return nil
}

// Close ends the connection.
func (r *remote) Close() error {
	r.mu.Lock()
	c := r.client
	r.mu.Unlock()
	if c != nil {
		r.drop(c)
	}
	return nil
}
