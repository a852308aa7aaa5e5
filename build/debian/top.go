package debian

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxCertificates bounds all certificates of ca-certificates together.
const maxCertificates = 16 << 20

// topLayer is the uppermost layer of an image: generated files, and whiteouts
// for what the image does without. lower are the layers of the packages, in
// the plan's order; they are read only if their content matters, for
// certificates and for drop patterns with wildcards.
func (p *Plan) topLayer(lower []*Layer) *Layer {
	return newLayer(nil, "hooksmith-top-"+p.digest, func() (io.ReadCloser, error) {
		files, err := p.topFiles(lower)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", p.Definition.Name, err)
		}
		next := func() (*tar.Header, io.Reader, error) {
			if len(files) == 0 {
				return nil, nil, io.EOF
			}
			f := files[0]
			files = files[1:]
			h, err := f.header()
			return h, strings.NewReader(f.Contents), err
		}
		return &tarStream{next: next, what: "generating image " + p.Definition.Name}, nil
	})
}

// topFiles returns the entries of the top layer, sorted by path. What the
// definition says wins over what packages' scripts would do, and that over
// the skeleton.
func (p *Plan) topFiles(lower []*Layer) ([]File, error) {
	files := map[string]File{}
	for _, list := range [][]File{skeleton(p.Arch), p.postinst(), p.content.files} {
		for _, f := range list {
			files[f.Path] = f
		}
	}
	if _, given := files[certsPath]; !given && p.has("ca-certificates") {
		pem, err := certificates(lower[p.find("ca-certificates")])
		if err != nil {
			return nil, err
		}
		files[certsPath] = File{Path: certsPath, Contents: pem}
	}
	hidden, err := p.hidden(lower)
	if err != nil {
		return nil, err
	}
	for at := range hidden {
		if _, replaced := files[at]; !replaced && !belowAny(at, hidden) {
			dir, base := path.Split(at)
			files[at] = File{Path: dir + ".wh." + base}
		}
	}
	out := make([]File, 0, len(files))
	for _, f := range files {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// header is the tar entry of a generated file.
func (f File) header() (*tar.Header, error) {
	mode, err := f.mode()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: mode, Uid: f.UID, Gid: f.GID, ModTime: epoch, Size: int64(len(f.Contents))}
	switch {
	case f.Directory:
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	case f.Symlink != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Symlink, 0o777
	}
	return h, err
}

// certificates is update-ca-certificates: all certificates in one file,
// sorted by name.
func certificates(l *Layer) (string, error) {
	pem := map[string][]byte{}
	total := 0
	err := walkLayer(l, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || !strings.HasPrefix(h.Name, "usr/share/ca-certificates/") || path.Ext(h.Name) != ".crt" {
			return nil
		}
		b, err := readAllBounded(r, int64(maxCertificates-total), h.Name)
		pem[h.Name] = append(bytes.TrimRight(b, "\n"), '\n')
		total += len(b)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("collecting certificates: %w", err)
	}
	if len(pem) == 0 {
		return "", fmt.Errorf("package %s has no certificates below usr/share/ca-certificates", l.Package)
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(pem)) {
		out.Write(pem[name])
	}
	return out.String(), nil
}

// hidden returns the paths that the image does without. Patterns without
// wildcards are taken as they are: hiding what is not there does no harm, and
// no package needs to be unpacked to know.
func (p *Plan) hidden(lower []*Layer) (map[string]bool, error) {
	out := map[string]bool{}
	var wild globs
	if !p.keepsDocumentation() {
		out[path.Dir(path.Dir(copyrightFiles))] = true // all that is left there
	}
	for _, pattern := range p.content.drop {
		if name, ok := isLiteral(pattern); ok {
			out[name] = true
		} else {
			wild = append(wild, pattern)
		}
	}
	if len(wild) == 0 {
		return out, nil
	}
	for _, l := range lower {
		err := walkLayer(l, func(h *tar.Header, _ io.Reader) error {
			if name := strings.TrimSuffix(h.Name, "/"); wild.match(name) {
				out[name] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// belowAny reports whether a folder above the path is hidden as a whole: to
// hide something in it would bring the folder back.
func belowAny(at string, hidden map[string]bool) bool {
	for dir := path.Dir(at); dir != "."; dir = path.Dir(dir) {
		if hidden[dir] {
			return true
		}
	}
	return false
}

func (p *Plan) keepsDocumentation() bool {
	return slices.ContainsFunc(p.content.keep, func(g string) bool { return strings.HasPrefix(g, "usr/share/doc/") })
}

// walkLayer calls visit for each entry of a layer.
func walkLayer(l *Layer, visit func(*tar.Header, io.Reader) error) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = visit(h, tr)
		}
		if err != nil {
			return err
		}
	}
}
