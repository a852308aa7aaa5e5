package embed

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"sync"
)

// view is what a stack of layers looks like, by headers. It costs a reading of
// all of them, and few images need it.
type view struct{ root *viewNode }

// viewNode is a file of a view.
type viewNode struct {
	hdr  *tar.Header // nil: implied
	at   *Layer      // where its content is,
	n    int         // in which entry
	kids map[string]*viewNode
}

// scan is what a layer's tar lists, read at most once.
type scan struct {
	once    sync.Once
	entries []scanned
	err     error
}

type scanned struct {
	kind entryKind
	name string
	link string // of a hard link
	hdr  *tar.Header
	n    int
}

func newView(top *Layer) (*view, error) {
	var stack []*Layer
	for l := top; l != nil; l = l.below {
		stack = append(stack, l)
	}
	v := &view{root: &viewNode{}}
	for i := len(stack) - 1; i >= 0; i-- {
		entries, err := stack[i].scanned()
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", stack[i].diffID, err)
		}
		v.apply(stack[i], entries)
	}
	return v, nil
}

// apply removes what a layer hides, then adds what it has.
func (v *view) apply(l *Layer, entries []scanned) {
	for _, e := range entries {
		switch e.kind {
		case isOpaque:
			if dir := v.find(e.name); dir != nil {
				dir.kids = nil
			}
		case isWhiteout:
			if dir := v.find(path.Dir(e.name)); dir != nil {
				delete(dir.kids, path.Base(e.name))
			}
		}
	}
	for _, e := range entries {
		if e.kind != isNode {
			continue
		}
		if e.link != "" {
			if n := v.find(e.link); n.isFile() {
				v.put(e.name, n)
			}
			continue
		}
		v.put(e.name, &viewNode{hdr: e.hdr, at: l, n: e.n})
	}
}

// isFile reports whether a node can have another name.
func (n *viewNode) isFile() bool { return n != nil && n.hdr != nil && n.hdr.Typeflag != tar.TypeDir }

func (v *view) find(name string) *viewNode {
	n := v.root
	if name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		if n = n.kids[part]; n == nil {
			return nil
		}
	}
	return n
}

func (v *view) put(name string, n *viewNode) {
	if name == "." {
		n.kids = v.root.kids
		v.root = n
		return
	}
	dir := v.root
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		next := dir.kids[part]
		if next == nil || next.hdr != nil && next.hdr.Typeflag != tar.TypeDir {
			next = &viewNode{}
			dir.set(part, next)
		}
		dir = next
	}
	last := parts[len(parts)-1]
	if old := dir.kids[last]; old != nil && old.kids != nil && n.hdr.Typeflag == tar.TypeDir {
		n.kids = old.kids
	}
	dir.set(last, n)
}

func (n *viewNode) set(name string, kid *viewNode) {
	if n.kids == nil {
		n.kids = map[string]*viewNode{}
	}
	n.kids[name] = kid
}

// open calls fn with the content.
func (n *viewNode) open(fn func(io.Reader) error) error {
	found := false
	err := n.at.each(func(i int, hdr *tar.Header, r io.Reader) error {
		if i != n.n {
			return nil
		}
		found = true
		return fn(r)
	})
	if err == nil && !found {
		err = errors.New("the layer below has changed")
	}
	return err
}

// scanned lists the entries of the image layer.
func (l *Layer) scanned() ([]scanned, error) {
	l.scan.once.Do(func() {
		names := 0
		l.scan.err = l.each(func(i int, hdr *tar.Header, _ io.Reader) error {
			if names += len(hdr.Name); i >= maxEntries || names > maxNames {
				return fmt.Errorf("more than %d entries or %d bytes of names", maxEntries, maxNames)
			}
			if hdr.Typeflag == tar.TypeXGlobalHeader {
				return nil
			}
			name, err := cleanName(hdr.Name)
			if err != nil {
				return err
			}
			e := scanned{hdr: hdr, n: i}
			if e.kind, e.name, err = classify(name); err != nil || e.kind == isSkipped {
				return err
			}
			if e.kind == isNode && hdr.Typeflag == tar.TypeLink {
				if e.link, err = cleanName(hdr.Linkname); err != nil {
					return err
				}
			}
			l.scan.entries = append(l.scan.entries, e)
			return nil
		})
	})
	return l.scan.entries, l.scan.err
}

// each calls fn for all entries of the image layer, which has its diff ID if
// there is no error.
func (l *Layer) each(fn func(i int, hdr *tar.Header, content io.Reader) error) error {
	rc, err := l.image.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	sum := &summed{r: rc, h: sha256.New()}
	tr := tar.NewReader(sum)
	for i := 0; ; i++ {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			if err = fmt.Errorf("the tar is damaged: %w", err); sum.err == nil {
				err = explain(sum, err)
			}
			return err
		}
		if err := fn(i, hdr, tr); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, sum); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.h.Sum(nil)); got != l.diffID.Hex {
		return fmt.Errorf("wrong content: its diff ID is sha256:%s", got)
	}
	return nil
}

type summed struct {
	r   io.Reader
	h   hash.Hash
	err error // that r had
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.h.Write(p[:n])
	if err != io.EOF {
		s.err = err
	}
	return n, err
}
