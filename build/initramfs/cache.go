package initramfs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"hooksmith/build/rootfs"
)

// Cache keeps files by a key that names everything that they depend on
// (fetch.Cache). It makes each at most once, and keeps none whose mk fails. The
// Writer is an empty file, and an io.ReaderAt of it. Write calls Derive from
// several goroutines at once.
type Cache interface {
	Derive(ctx context.Context, key string, mk func(ctx context.Context, w io.Writer) error) (*os.File, error)
}

// cacheVersion is the version of a segment's bytes: a change of this package
// that gives other bytes for the same segment needs another one.
const cacheVersion = "8"

// fromCache returns the compressed segment that the cache has, or that write
// makes for it. In the cache the segment's SHA-256 stands behind its bytes.
func fromCache(ctx context.Context, p plan, key string, opt Options, write func(context.Context, rereadable) (Info, error)) (part, error) {
	made := false
	f, err := opt.Cache.Derive(ctx, key, func(ctx context.Context, w io.Writer) error {
		made = true
		f, ok := w.(rereadable)
		if !ok {
			return errors.New("the cache's new file cannot be read back")
		}
		info, err := write(ctx, f)
		if err != nil {
			return err
		}
		sum, err := hex.DecodeString(info.SHA256)
		if err == nil {
			_, err = w.Write(sum)
		}
		return err
	})
	if err != nil {
		return part{}, err
	}
	c := part{file: f, cached: !made, info: Info{Name: p.seg.Name, Unpacked: p.size, Entries: p.entries}}
	if err := c.readSum(); err != nil {
		return part{}, errors.Join(err, f.Close())
	}
	if !made && opt.Progress != nil {
		opt.Progress(p.size)
	}
	return c, nil
}

// readSum takes size and hash of a cached segment from its file.
func (p *part) readSum() error {
	st, err := p.file.Stat()
	if err != nil {
		return err
	}
	var sum [sha256.Size]byte
	p.info.Size = st.Size() - int64(len(sum))
	if p.info.Size <= 0 {
		return p.damaged()
	}
	if _, err := p.file.ReadAt(sum[:], p.info.Size); err != nil {
		return err
	}
	p.info.SHA256 = hex.EncodeToString(sum[:])
	return nil
}

var errDamaged = errors.New("damaged and is gone now: run the command again")

// damaged removes a cached segment that is not what was put there.
func (p *part) damaged() error {
	err := os.Remove(p.file.Name())
	if errors.Is(err, fs.ErrNotExist) { // another build was faster
		err = nil
	}
	return errors.Join(fmt.Errorf("its cached copy %s was %w", p.file.Name(), errDamaged), err)
}

// key names all that the bytes of a segment depend on: every record, the
// contents by their hash or their place, and how they are compressed.
func (p *plan) key(program string) (string, error) {
	h := sha256.New()
	var buf []byte
	a := &archiver{epoch: p.seg.Epoch}
	err := p.each(func(name string, n *rootfs.Inode, link linkOf) error {
		buf = append(binary.AppendUvarint(buf[:0], uint64(len(name))), name...)
		for _, v := range []uint64{
			uint64(n.Mode), uint64(n.UID), uint64(n.GID), uint64(a.modTime(n).Unix()),
			uint64(n.Size), uint64(n.Major), uint64(n.Minor), uint64(link.ino), uint64(link.names), uint64(len(n.Target)),
		} {
			buf = binary.AppendUvarint(buf, v)
		}
		buf = append(buf, n.Target...)
		if link.first && n.Size > 0 {
			var err error
			if buf, err = n.AppendContentID(buf); err != nil {
				return fmt.Errorf("%q: reading its content: %w", name, err)
			}
		}
		h.Write(buf)
		return nil
	})
	return fmt.Sprintf("initramfs segment %s\n%s\n%s level %d\n%x", cacheVersion, program, p.seg.Compression, p.seg.Level, h.Sum(nil)), err
}
