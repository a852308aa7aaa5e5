package check

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"path"
)

// isoMagic begins the 1024 bytes of kernel arguments that Smee overwrites
// while it streams the image (tinkerbell smee: isoMagicString).
const isoMagic = "464vn90e7rbj08xbwdjejmdf4it17c5z"

// iso checks a hookIsoURL: Smee streams it to a BMC, range by range.
func (c *checker) iso(ctx context.Context, u *url.URL, files *local) error {
	web := newClient(c.opt.Stall)
	defer web.close()
	if u.Scheme == "https" {
		c.certificate(ctx, u)
	}
	p := &probe{checker: c, web: web, id: "iso", name: path.Base(u.Path), url: u, files: files, iso: true}
	if err := p.run(ctx); err != nil {
		return err
	}
	stored, ok := files.names[p.name]
	if !ok {
		return nil
	}
	f, err := os.Open(stored)
	if err != nil {
		return err
	}
	defer f.Close()
	c.isoFormat(f)
	return c.isoArguments(f)
}

// isoFormat looks for the volume descriptors (ECMA-119, El Torito).
func (c *checker) isoFormat(f io.ReaderAt) {
	const id, title, sector = "iso.format", "ISO image", 2048
	var volume, boot [64]byte
	_, err := f.ReadAt(volume[:], 16*sector)
	_, err2 := f.ReadAt(boot[:], 17*sector)
	switch {
	case err != nil || string(volume[1:6]) != "CD001":
		c.add(id, title, Fail, "publish the .iso file", "it is no ISO 9660 image")
	case err2 != nil || !bytes.HasPrefix(boot[7:], []byte("EL TORITO SPECIFICATION")):
		c.add(id, title, Fail, "make it with a boot catalogue", "it cannot be booted: there is no El Torito record")
	default:
		c.add(id, title, Pass, "", "ISO 9660 with El Torito")
	}
}

// isoArguments looks for the place that Smee patches.
func (c *checker) isoArguments(f io.Reader) error {
	const id, title = "iso.arguments", "place for Smee's kernel arguments"
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(f, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if bytes.Contains(buf, []byte(isoMagic)) {
			c.add(id, title, Pass, "", "found")
			return nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			c.add(id, title, Fail, "use an image made for Tinkerbell: its kernel command line is the placeholder that Smee replaces", "the placeholder is not in the image: machines would not know their server")
			return nil
		}
		if err != nil {
			return err
		}
		buf = append(buf[:0], buf[len(buf)-len(isoMagic):]...)
	}
}
