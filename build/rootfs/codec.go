package rootfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// The form of a persisted index, all numbers as varints:
//
//	indexMagic, size of the tar, number of entries
//	per entry: kind, path, then
//	  a hard link: its target
//	  a node: flags, mode, uid, gid, seconds, nanoseconds, and by flags
//	    size and offset, SHA-256, target, device, extended attributes
//	CRC-32C of all before, 4 bytes
//
// The magic ends in the version: a change of the form, of what Index accepts
// or of what it makes of an entry needs another one.
const indexMagic = "hooksmith layer index 1\n"

// Flags say which fields of a node follow.
const (
	hasContent = 1 << iota
	hasSum
	hasTarget
	hasDevice
	hasXattrs
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MarshalBinary returns the index in a form that Load reads, with the hashes
// of the contents if Hash was called. Equal layers give equal bytes.
func (l *Layer) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 128+96*len(l.entries))
	b = append(b, indexMagic...)
	b = binary.AppendUvarint(b, uint64(l.size))
	b = binary.AppendUvarint(b, uint64(len(l.entries)))
	for i := range l.entries {
		e := &l.entries[i]
		b = append(b, byte(e.kind))
		b = appendString(b, e.path)
		switch e.kind {
		case kindLink:
			b = appendString(b, e.link)
		case kindNode:
			b = e.inode.appendTo(b)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (n *Inode) flags() (f uint64) {
	if n.Size > 0 {
		f |= hasContent
	}
	if n.sum != nil {
		f |= hasSum
	}
	if n.Target != "" {
		f |= hasTarget
	}
	if n.Major != 0 || n.Minor != 0 {
		f |= hasDevice
	}
	if len(n.Xattrs) > 0 {
		f |= hasXattrs
	}
	return f
}

func (n *Inode) appendTo(b []byte) []byte {
	f := n.flags()
	for _, v := range []uint64{f, uint64(n.Mode), uint64(n.UID), uint64(n.GID)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, n.ModTime.Unix())
	b = binary.AppendUvarint(b, uint64(n.ModTime.Nanosecond()))
	if f&hasContent != 0 {
		b = binary.AppendUvarint(b, uint64(n.Size))
		b = binary.AppendUvarint(b, uint64(n.off))
	}
	if f&hasSum != 0 {
		b = append(b, n.sum[:]...)
	}
	if f&hasTarget != 0 {
		b = appendString(b, n.Target)
	}
	if f&hasDevice != 0 {
		b = binary.AppendUvarint(b, uint64(n.Major))
		b = binary.AppendUvarint(b, uint64(n.Minor))
	}
	if f&hasXattrs != 0 {
		b = binary.AppendUvarint(b, uint64(len(n.Xattrs)))
		for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
			b = appendString(b, name)
			b = appendString(b, n.Xattrs[name])
		}
	}
	return b
}

// Load returns the layer whose index MarshalBinary wrote, for the same tar,
// without reading the tar. An index that is damaged, of another version or of
// a larger tar is an error: the caller then calls Index.
func Load(r io.ReaderAt, index []byte) (*Layer, error) {
	l, err := decode(r, index)
	if err == nil {
		err = l.probe()
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// LoadLater is Load for a tar that open brings when a content is first read
// from it, if ever.
func LoadLater(open func() (io.ReaderAt, error), index []byte) (*Layer, error) {
	return decode(&later{open: open}, index)
}

func decode(r io.ReaderAt, index []byte) (*Layer, error) {
	body, ok := strings.CutPrefix(string(index), indexMagic)
	if !ok || len(body) < crc32.Size {
		return nil, errors.New("layer index is of another version or no index; index the layer again")
	}
	end := len(index) - crc32.Size
	if crc32.Checksum(index[:end], castagnoli) != binary.LittleEndian.Uint32(index[end:]) {
		return nil, errors.New("layer index is damaged: its checksum differs; index the layer again")
	}
	d := &decoder{in: body[:len(body)-crc32.Size]}
	l, err := d.layer(r)
	if err != nil {
		return nil, fmt.Errorf("layer index is damaged at byte %d: %w", end-len(d.in), err)
	}
	return l, nil
}

// probe reads the last byte that the index needs.
func (l *Layer) probe() error {
	var one [1]byte
	if l.size == 0 {
		return nil
	}
	if n, err := l.src.r.ReadAt(one[:], l.size-1); n == 0 {
		return fmt.Errorf("layer is shorter than the %d bytes of its index: %w", l.size, err)
	}
	return nil
}

// decoder takes an index apart. After an error everything it returns is zero.
type decoder struct {
	in  string // what is left
	err error
}

var errShort = errors.New("it ends within an entry")

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.in = ""
}

func (d *decoder) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(d.in) && i < binary.MaxVarintLen64; i++ {
		c := d.in[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.in = d.in[i+1:]
			return v
		}
	}
	d.fail(errShort)
	return 0
}

func (d *decoder) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.fail(fmt.Errorf("number %d is out of range", v))
		return 0
	}
	return uint32(v)
}

// int63 returns a number that is not negative as an int64.
func (d *decoder) int63() int64 {
	v := d.uvarint()
	if v > 1<<63-1 {
		d.fail(fmt.Errorf("number %d is out of range", v))
		return 0
	}
	return int64(v)
}

// text returns n bytes, a part of the index itself.
func (d *decoder) text(n uint64) string {
	if n > uint64(len(d.in)) {
		d.fail(errShort)
		return ""
	}
	s := d.in[:n]
	d.in = d.in[n:]
	return s
}

func (d *decoder) string() string { return d.text(d.uvarint()) }

func (d *decoder) layer(r io.ReaderAt) (*Layer, error) {
	l := &Layer{src: &source{r: r}, size: d.int63()}
	count := d.uvarint()
	if count > maxEntries || count > uint64(len(d.in)) {
		return nil, fmt.Errorf("it has %d entries", count)
	}
	l.entries = make([]entry, count)
	for i := range l.entries {
		e := &l.entries[i]
		if err := d.entry(e, l); err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.path, err)
		}
	}
	if d.in != "" {
		return nil, errors.New("something follows the last entry")
	}
	return l, d.err
}

func (d *decoder) entry(e *entry, l *Layer) error {
	e.kind = entryKind(d.uint32())
	e.path = d.string()
	if d.err == nil && (e.kind >= kindSkip || !isClean(e.path)) {
		return errors.New("it is not one that a layer has")
	}
	switch e.kind {
	case kindLink:
		if e.link = d.string(); d.err == nil && !isClean(e.link) {
			return errors.New("it is a hard link to no path")
		}
	case kindNode:
		d.inode(&e.inode, l.src)
		if d.err == nil && !e.inode.sound(e.path) {
			return errors.New("its fields contradict each other")
		}
		if d.err == nil {
			return e.inode.check(l.size)
		}
	}
	return d.err
}

func isClean(p string) bool {
	clean, err := cleanPath(p)
	return err == nil && clean == p
}

// sound reports whether fields and type go together, which Index sees to by
// the way it makes an inode.
func (n *Inode) sound(path string) bool {
	switch n.Type() {
	case ModeFile, ModeDir, ModeLink, ModeFifo, ModeChar, ModeBlock:
	default:
		return false
	}
	return n.Mode&^(ModeType|modePerm) == 0 &&
		(n.Type() == ModeFile || n.Size == 0 && n.sum == nil) &&
		(n.Type() == ModeLink || n.Target == "") &&
		(n.IsDir() || path != ".")
}

func (d *decoder) inode(n *Inode, src *source) {
	f := d.uvarint()
	n.Mode, n.UID, n.GID = d.uint32(), int(d.uint32()), int(d.uint32())
	n.ModTime = time.Unix(d.varint(), int64(d.uint32())).UTC()
	if f&hasContent != 0 {
		if n.Size, n.off = d.int63(), d.int63(); n.Size > 0 {
			n.data = src
		}
	}
	if f&hasSum != 0 {
		if s := d.text(32); len(s) == 32 {
			n.sum = (*[32]byte)([]byte(s))
		}
	}
	if f&hasTarget != 0 {
		n.Target = d.string()
	}
	if f&hasDevice != 0 {
		n.Major, n.Minor = d.uint32(), d.uint32()
	}
	if f&hasXattrs == 0 {
		return
	}
	count := d.uvarint()
	n.Xattrs = make(map[string]string)
	for ; count > 0 && d.err == nil; count-- {
		name := d.string()
		n.Xattrs[name] = d.string()
	}
}
