package debian

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxStanza bounds one stanza; the largest of trixie is 76 KB.
const maxStanza = 1 << 20

// nameSet is what an Index is asked to keep.
type nameSet struct {
	exact    map[string]bool
	prefixes []string
}

func newNameSet(names []string) nameSet {
	s := nameSet{exact: map[string]bool{}}
	for _, n := range names {
		if prefix, ok := strings.CutSuffix(n, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.exact[n] = true
		}
	}
	return s
}

func (s nameSet) has(name []byte) bool {
	if s.exact[string(name)] {
		return true
	}
	for _, p := range s.prefixes {
		if bytes.HasPrefix(name, []byte(p)) {
			return true
		}
	}
	return false
}

// scanned is what scanPackages finds.
type scanned struct {
	stanzas [][]byte // of the wanted packages
	names   []byte   // all names, each followed by a newline
}

// scanPackages runs over a Packages file without parsing it: stanzas end with
// an empty line and name their package in the first field. Only stanzas of
// wanted packages are copied; parsing all 70,000 would take seconds.
func scanPackages(r io.Reader, want nameSet) (scanned, error) {
	var out scanned
	take := func(stanza []byte) {
		name := stanzaName(stanza)
		if len(name) == 0 {
			return
		}
		out.names = append(append(out.names, name...), '\n')
		if want.has(name) {
			out.stanzas = append(out.stanzas, bytes.Clone(stanza))
		}
	}
	buf := make([]byte, 0, 256<<10)
	for {
		if len(buf) == cap(buf) {
			if cap(buf) > maxStanza {
				return out, fmt.Errorf("a stanza is longer than %d bytes", maxStanza)
			}
			buf = slices.Grow(buf, cap(buf))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			stanza, after, found := bytes.Cut(rest, []byte("\n\n"))
			if !found {
				break
			}
			take(stanza)
			rest = after
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		if err == io.EOF {
			take(buf)
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// stanzaName returns the value of the Package field.
func stanzaName(stanza []byte) []byte {
	const field = "Package:"
	stanza = bytes.TrimLeft(stanza, "\n")
	if !bytes.HasPrefix(stanza, []byte(field)) {
		i := bytes.Index(stanza, []byte("\n"+field))
		if i < 0 {
			return nil
		}
		stanza = stanza[i+1:]
	}
	line, _, _ := bytes.Cut(stanza[len(field):], []byte("\n"))
	return bytes.TrimSpace(line)
}
