package embed

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// recorder reads a layer's tar and takes down what dockerd needs to make the
// same bytes again of the files on disk (vbatts/tar-split, tar/storage): all
// that is not content, and for each content its name, size and checksum. It
// also hashes everything, if nobody else does.
//
// tar.Reader reads no further than it has to, so that what passes while it
// looks for the next header is headers and padding.
type recorder struct {
	r       io.Reader
	sum     hash.Hash    // nil: not needed
	raw     bytes.Buffer // since the last entry
	content isoSum
	passing passing

	out   bytes.Buffer
	gz    *gzip.Writer
	json  *json.Encoder
	count int
	seen  map[string]noted // by clean name
	err   error            // of reading, or of what is taken down
}

// passing is what a recorder does with the bytes that pass.
type passing int

const (
	isKept   passing = iota // keeps them as they are
	isSummed                // sums them up
	isBoth                  // does both
)

// noted is what was taken down of a name.
type noted struct {
	isDir bool
	size  int64
	sum   [8]byte // of the content
}

// Bounds of what is kept in memory of a layer.
const (
	maxSplit   = 256 << 20 // tar-split.json.gz; 0.4 MB for 200 MB is usual
	maxSegment = 1 << 20
)

func newRecorder(r io.Reader) *recorder {
	rec := &recorder{r: r, sum: sha256.New(), seen: map[string]noted{}}
	rec.gz = gzip.NewWriter(&rec.out)
	rec.json = json.NewEncoder(rec.gz)
	return rec
}

// splitEntry is storage.Entry of vbatts/tar-split.
type splitEntry struct {
	Type     int    `json:"type"`
	Name     string `json:"name,omitempty"`
	NameRaw  []byte `json:"name_raw,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Payload  []byte `json:"payload"`
	Position int    `json:"position"`
}

const (
	splitFile    = 1
	splitSegment = 2
)

func (rec *recorder) Read(p []byte) (int, error) {
	if rec.err != nil {
		return 0, rec.err
	}
	n, err := rec.r.Read(p)
	if err != nil && err != io.EOF {
		rec.err = err
	}
	if rec.sum != nil {
		rec.sum.Write(p[:n])
	}
	if rec.passing != isKept {
		_, _ = rec.content.Write(p[:n])
	}
	if rec.passing == isSummed {
		return n, err
	}
	rec.raw.Write(p[:n])
	if rec.raw.Len() >= maxSegment { // padding without end, or a sparse file
		rec.flush()
	}
	return n, err
}

// flush writes the bytes that are no content.
func (rec *recorder) flush() {
	if rec.raw.Len() > 0 {
		rec.add(splitEntry{Type: splitSegment, Payload: rec.raw.Bytes()})
		rec.raw.Reset()
	}
}

func (rec *recorder) add(e splitEntry) {
	e.Position = rec.count
	rec.count++
	if err := rec.json.Encode(e); err != nil && rec.err == nil {
		rec.err = err
	}
	if rec.out.Len() > maxSplit && rec.err == nil {
		rec.err = fmt.Errorf("its headers take more than %d bytes", maxSplit)
	}
}

// entry takes down a header that was read, whose content copies takes. The
// content of a sparse file is not what the tar has, so the tar's bytes are
// kept.
func (rec *recorder) entry(hdr *tar.Header, copies func() error) error {
	rec.flush()
	name := path.Clean(strings.TrimLeft(hdr.Name, "/")) // where it lands
	was, twice := rec.seen[name]
	switch {
	case hdr.Typeflag == tar.TypeXGlobalHeader:
		return copies()
	case twice:
		return rec.repeated(was, hdr, copies)
	case isSparse(hdr):
		return copies()
	}
	e := splitEntry{Type: splitFile, Size: contentSize(hdr)}
	if utf8.ValidString(hdr.Name) {
		e.Name = hdr.Name
	} else {
		e.NameRaw = []byte(hdr.Name)
	}
	sum, err := rec.summed(isSummed, copies)
	if e.Size > 0 {
		e.Payload = sum[:]
	}
	rec.seen[name] = noted{hdr.Typeflag == tar.TypeDir, e.Size, sum}
	rec.add(e)
	return err
}

// repeated takes down a name that comes once more. Docker refuses all such
// layers ("duplicates of file paths not supported"), because its tar-split has
// a name once. Here the bytes of what is repeated are kept, which is right if
// the file on disk still has the content that was taken down for its name.
func (rec *recorder) repeated(was noted, hdr *tar.Header, copies func() error) error {
	sum, err := rec.summed(isBoth, copies)
	same := was.size == contentSize(hdr) && was.sum == sum && !isSparse(hdr)
	if err == nil && (was.size > 0 && !same || was.isDir && hdr.Typeflag != tar.TypeDir) {
		return errors.New("the layer has this path twice, with different content: docker refuses such layers " +
			"(\"duplicates of file paths not supported\"), so the image has to be built with one entry for each path")
	}
	return err
}

// summed returns the checksum of the content that copies takes.
func (rec *recorder) summed(p passing, copies func() error) (sum [8]byte, err error) {
	rec.content.reset()
	rec.passing = p
	err = copies()
	rec.passing = isKept
	return [8]byte(rec.content.sum()), err
}

// contentSize is how many bytes follow a header.
func contentSize(hdr *tar.Header) int64 {
	switch hdr.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return 0
	}
	return hdr.Size
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// finish reads what follows the tar's end, and returns tar-split.json.gz and
// the SHA-256 of all, if that is needed.
func (rec *recorder) finish() (split, sum []byte, err error) {
	rec.flush()
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{rec}, make([]byte, copyBuffer)); err != nil {
		return nil, nil, err
	}
	rec.flush()
	if err := rec.gz.Close(); err != nil {
		return nil, nil, err
	}
	if rec.sum != nil {
		sum = rec.sum.Sum(nil)
	}
	return rec.out.Bytes(), sum, rec.err
}
