package embed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// TestTranslate: what overlayfs gets to see of a layer. The lower layer is
// the same in all cases.
func TestTranslate(t *testing.T) {
	lower := layerOf(
		folder("./", mode(0o711)),
		folder("tmp/", mode(0o1777)), regular("tmp/old", "old"),
		folder("etc/", owner(3, 4), xattr("user.x", "y")), regular("etc/passwd", "root", mode(0o600), owner(5, 6)),
		regular("etc/caps", "caps", xattr("security.capability", "\x01\x00")),
		symlink("etc/link", "passwd"), folder("usr/"), folder("usr/lib/"), symlink("lib", "usr/lib"),
	)
	for _, tt := range []struct {
		name    string
		entries []entrySpec
		want    []string // of the upper layer's diff
		err     string
	}{
		{name: "plain", entries: []entrySpec{
			folder("./", mode(0o700)), folder("a/", owner(1, 2)), regular("a/suid", "x", mode(0o4755), owner(7, 8)), symlink("a/s", "/etc"),
			spec(tar.Header{Typeflag: tar.TypeFifo, Name: "a/fifo", Mode: 0o600}, "", nil),
			spec(tar.Header{Typeflag: tar.TypeChar, Name: "a/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, "", nil),
		}, want: []string{
			"5  0700 0:0", "5 a/ 0755 1:2", `0 a/suid 4755 7:8 "x"`, "2 a/s 0777 0:0 -> /etc", "6 a/fifo 0600 0:0", "3 a/null 0666 0:0",
		}},
		{name: "capability", entries: []entrySpec{regular("ping", "x", xattr("security.capability", "\x01\x02\x00"))},
			want: []string{`0 ping 0644 0:0 "x" security.capability="\x01\x02\x00"`}},
		{name: "deleted", entries: []entrySpec{folder("tmp/", mode(0o1777)), whiteout("tmp/.wh.old")},
			want: []string{"5 tmp/ 1777 0:0", "3 tmp/old 0000 0:0"}},
		{name: "deleted in an implied directory", entries: []entrySpec{whiteout("tmp/.wh.old")},
			want: []string{"3 tmp/old 0000 0:0", "5 tmp/ 1777 0:0"}},
		{name: "implied directories look like those below", entries: []entrySpec{regular("etc/new/x", "1")},
			want: []string{`0 etc/new/x 0644 0:0 "1"`, `5 etc/ 0755 3:4 user.x="y"`, "5 etc/new/ 0755 0:0"}},
		{name: "opaque", entries: []entrySpec{folder("etc/", mode(0o750)), whiteout("etc/.wh..wh..opq"), regular("etc/x", "1")},
			want: []string{"5 etc/ 0750 0:0", `0 etc/x 0644 0:0 "1"`, `5 etc/ 0750 0:0 trusted.overlay.opaque="y"`}},
		{name: "opaque root", entries: []entrySpec{whiteout(".wh..wh..opq"), folder("etc/")},
			want: []string{"5 etc/ 0755 0:0", "3 lib 0000 0:0", "3 tmp 0000 0:0", "3 usr 0000 0:0", `5 etc/ 0755 0:0 trusted.overlay.opaque="y"`}},
		{name: "hidden and there again", entries: []entrySpec{folder("etc/"), regular("etc/passwd", "2"), whiteout("etc/.wh.passwd")},
			want: []string{"5 etc/ 0755 0:0", `0 etc/passwd 0644 0:0 "2"`}},
		{name: "directory hidden and there again", entries: []entrySpec{whiteout(".wh.etc"), folder("etc/"), regular("etc/x", "1")},
			want: []string{"5 etc/ 0755 0:0", `0 etc/x 0644 0:0 "1"`, `5 etc/ 0755 0:0 trusted.overlay.opaque="y"`}},
		{name: "directory replaced by a file", entries: []entrySpec{regular("d/x", "1"), whiteout("d/.wh.y"), regular("d", "file")},
			want: []string{`0 d/x 0644 0:0 "1"`, `0 d 0644 0:0 "file"`}},
		{name: "a file twice, with the same content", entries: []entrySpec{regular("f", "1"), regular("./f", "1", owner(1, 2))},
			want: []string{`0 f 0644 0:0 "1"`, `0 f 0644 1:2 "1"`}},
		{name: "hard links", entries: []entrySpec{folder("a/"), regular("a/f", "1"), hardlink("g", "/a/f"), hardlink("a/h", "./g")},
			want: []string{"5 a/ 0755 0:0", `0 a/f 0644 0:0 "1"`, "1 g 0000 0:0 -> a/f", "1 a/h 0000 0:0 -> g"}},
		{name: "hard link to a lower layer", entries: []entrySpec{folder("etc/"), hardlink("copy", "etc/caps")},
			want: []string{"5 etc/ 0755 0:0", `0 etc/caps 0644 0:0 "caps" security.capability="\x01\x00"`, "1 copy 0000 0:0 -> etc/caps"}},
		{name: "hard link to a lower symbolic link", entries: []entrySpec{folder("etc/"), hardlink("copy", "etc/link")},
			want: []string{"5 etc/ 0755 0:0", "2 etc/link 0777 0:0 -> passwd", "1 copy 0000 0:0 -> etc/link"}},
		{name: "hard link to what the layer deletes", entries: []entrySpec{folder("etc/"), hardlink("copy", "etc/passwd"), whiteout("etc/.wh.passwd")},
			want: []string{"5 etc/ 0755 0:0", `0 etc/passwd 0600 5:6 "root"`, "1 copy 0000 0:0 -> etc/passwd", "3 etc/passwd 0000 0:0"}},
		{name: "symbolic links of the layer are followed", entries: []entrySpec{symlink("x", "/y/z"), regular("x/f", "1")},
			want: []string{"2 x 0777 0:0 -> /y/z", `0 y/z/f 0644 0:0 "1"`, "5 y/ 0755 0:0", "5 y/z/ 0755 0:0"}},
		{name: "AUFS", entries: []entrySpec{whiteout(".wh..wh.plnk/1.2"), whiteout(".wh..wh.aufs")}},
		{name: "leaving", entries: []entrySpec{regular("a/../../x", "")}, err: "leaves the root"},
		{name: "link leaving", entries: []entrySpec{hardlink("x", "../etc/shadow")}, err: "leaves the root"},
		{name: "link to nothing", entries: []entrySpec{hardlink("x", "etc/none")}, err: "there is no such file"},
		{name: "link to a directory", entries: []entrySpec{hardlink("x", "etc")}, err: "no such file"},
		{name: "loop", entries: []entrySpec{symlink("x", "x"), regular("x/f", "")}, err: "more than 40 symbolic links"},
		{name: "below a file", entries: []entrySpec{regular("f", ""), regular("f/g", "")}, err: `below "f"`},
		{name: "overlayfs's own", entries: []entrySpec{folder("d/", xattr("trusted.overlay.redirect", "/"))}, err: "overlayfs's own"},
		{name: "unknown type", entries: []entrySpec{spec(tar.Header{Typeflag: 'Z', Name: "x"}, "", nil)}, err: "type 'Z'"},
		{name: "a file twice", entries: []entrySpec{regular("f", "1"), regular("./f", "2")}, err: `entry "./f": the layer has this path twice, with different content`},
		{name: "a file, then a directory", entries: []entrySpec{regular("f", "1"), folder("f/")}, err: "twice"},
		{name: "a file, then a link to its own name", entries: []entrySpec{regular("f", "1"), symlink("f", "g")}, err: "twice"},
		{name: "a directory, then a file", entries: []entrySpec{folder("d/"), regular("d/x", "1"), regular("d", "")}, err: "twice"},
		{name: "whiteout of nothing", entries: []entrySpec{whiteout(".wh.")}, err: "hides no name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := storeOf(t, lower, layerOf(tt.entries...))
			if tt.err != "" {
				_, err := s.Layers[1].WriteTo(io.Discard)
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "sha256:") {
					t.Fatalf("error %v, want one about %q that names the layer", err, tt.err)
				}
				return
			}
			if got := content(t, s.Layers[1]); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestTarSplit: dockerd makes the layer's very bytes again of tar-split.json.gz
// and the files on disk, and the file is the one that docker itself writes.
func TestTarSplit(t *testing.T) {
	plain := tarOf(folder("a/"), regular("a/f", strings.Repeat("content ", 1000)), hardlink("g", "a/f"), whiteout("a/.wh.x"),
		regular("e", ""), regular(strings.Repeat("long/", 60)+"name", "x", xattr("security.capability", "\x01\x00")), regular("caf\xe9", "latin"))
	twice := tarOf(folder("a/"), regular("a/f", "1"), folder("a/"), regular("a/f", "1", owner(1, 2)), regular("e", ""), regular("e", "2"))
	for name, data := range map[string][]byte{
		"plain": plain, "padded": append(slices.Clone(plain), make([]byte, 9000)...), "unfinished": plain[:len(plain)-1024],
		"paths twice": twice,
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			rec := newRecorder(bytes.NewReader(data))
			for tr := tar.NewReader(rec); ; {
				hdr, err := tr.Next()
				if err == io.EOF {
					break
				}
				if err == nil {
					err = rec.entry(hdr, func() error {
						var err error
						files[hdr.Name], err = io.ReadAll(tr)
						return err
					})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			split, sum, err := rec.finish()
			if err != nil || digestOf(data) != "sha256:"+hex.EncodeToString(sum) {
				t.Fatalf("sum %x, error %v", sum, err)
			}
			if got := assemble(t, split, files); !bytes.Equal(got, data) {
				t.Errorf("put together again: %d bytes, want %d", len(got), len(data))
			}
			if name == "paths twice" {
				return // docker refuses to load them
			}
			if got, want := gunzip(t, split), dockers(t, data); !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	return must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(b)))))
}

type inMemory map[string][]byte

func (m inMemory) Get(name string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m[name])), nil
}

// assemble does what docker save does.
func assemble(t *testing.T, split []byte, files map[string][]byte) []byte {
	t.Helper()
	rc := asm.NewOutputTarStream(inMemory(files), storage.NewJSONUnpacker(bytes.NewReader(gunzip(t, split))))
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dockers is what docker takes down of a tar.
func dockers(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	r, err := asm.NewInputTarStream(bytes.NewReader(data), storage.NewJSONPacker(&b), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBadLayers: what is wrong with a layer is told, with its diff ID.
func TestBadLayers(t *testing.T) {
	good := tarOf(regular("f", strings.Repeat("x", 5000)))
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"truncated":    {good[:3000], "unexpected EOF"},
		"no tar":       {bytes.Repeat([]byte("<html>"), 200), "damaged"},
		"other bytes":  {append(slices.Clone(good), 0), "wrong content"},
		"negative uid": {tarOf(regular("f", "", owner(-1, 0))), "does not fit"},
	} {
		l := static.NewLayer(good, types.DockerUncompressedLayer)
		if name == "negative uid" {
			l = static.NewLayer(tt.data, types.DockerUncompressedLayer)
		}
		s := storeOf(t, l)
		s.Layers[0].image = static.NewLayer(tt.data, types.DockerUncompressedLayer)
		rc := must(s.Layers[0].Uncompressed())
		_, err := io.Copy(io.Discard, rc)
		rc.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.Layers[0].diffID.String()) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

// TestSize: docker counts what the layer has in the end, and a file with several
// names once.
func TestSize(t *testing.T) {
	for name, tt := range map[string]struct {
		layer v1.Layer
		want  string
	}{
		"names":            {layerOf(regular("a", "12345"), hardlink("b", "a"), symlink("c", "abc")), "8"},
		"another file":     {layerOf(regular("l/x", "12345"), symlink("k", "l"), folder("k/x")), "1"},
		"another folder":   {layerOf(regular("d/a", "12345"), regular("e", "12"), symlink("d", "e")), "3"},
		"one name remains": {layerOf(regular("d/a", "12345"), hardlink("b", "d/a"), symlink("d", "e")), "6"},
	} {
		var out bytes.Buffer
		must(storeOf(t, tt.layer).Layers[0].WriteTo(&out))
		got := ""
		for tr := tar.NewReader(&out); ; {
			h, err := tr.Next()
			if err != nil {
				break
			}
			if strings.HasSuffix(h.Name, "/size") {
				got = string(must(io.ReadAll(tr)))
			}
		}
		if got != tt.want {
			t.Errorf("%s: size %s, want %s", name, got, tt.want)
		}
	}
}

// judgedLayer is a layer whose source says at its end that it is damaged.
type judgedLayer struct{ v1.Layer }

var errJudged = errors.New("copy it again")

func (l judgedLayer) Uncompressed() (io.ReadCloser, error) {
	rc, err := l.Layer.Uncompressed()
	return judgedContent{rc}, err
}

type judgedContent struct{ io.ReadCloser }

func (c judgedContent) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err == io.EOF {
		err = errJudged
	}
	return n, err
}

// TestDamagedLayers: what looks like a wrong tar is a damaged copy if its source
// says so, which knows it only at the end; a full disk is a full disk.
func TestDamagedLayers(t *testing.T) {
	good := tarOf(regular("f", strings.Repeat("x", 5000)), regular("g", ""), folder("h"))
	bad := slices.Clone(good)
	bad[6144] ^= 1 // the header of g
	l := storeOf(t, static.NewLayer(good, types.DockerUncompressedLayer), layerOf(regular("i/j", ""))).Layers
	l[0].image = judgedLayer{static.NewLayer(bad, types.DockerUncompressedLayer)}
	for i := range l {
		if _, err := l[i].WriteTo(io.Discard); !errors.Is(err, errJudged) {
			t.Errorf("layer %d: %v", i, err)
		}
	}
	if err := l[0].WriteEntries(tar.NewWriter(fullDisk{})); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("onto a full disk: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestHostileView: a lower layer that is not right is an error of that one, and
// no panic where another one looks at it.
func TestHostileView(t *testing.T) {
	l := storeOf(t,
		layerOf(regular("d/x", "1"), regular("e/y", "2")),
		layerOf(whiteout("d/.wh..wh..opq"), hardlink("e", "d"), hardlink("r", "."), hardlink("r/s", ".")),
		layerOf(regular("q/z", "3"), regular("e/q/r", "4")),
	).Layers
	if _, err := l[2].WriteTo(io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := l[1].WriteTo(io.Discard); err == nil {
		t.Error("a hard link to a directory was taken")
	}
}

// TestVerifiedBySource: content is hashed here unless its source does it, and
// for the same hash.
func TestVerifiedBySource(t *testing.T) {
	good := tarOf(regular("f", strings.Repeat("x", 5000)))
	s := storeOf(t, static.NewLayer(good, types.DockerUncompressedLayer))
	l := s.Layers[0]
	for name, tt := range map[string]struct {
		by    v1.Hash
		fails bool
	}{"this hash": {l.diffID, false}, "another": {v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, true}} {
		l.image = verifiedLayer{static.NewLayer(append(slices.Clone(good), 0), types.DockerUncompressedLayer), tt.by}
		if _, err := l.WriteTo(io.Discard); (err != nil) != tt.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// verifiedLayer claims that its content has a hash.
type verifiedLayer struct {
	v1.Layer
	by v1.Hash
}

func (l verifiedLayer) Uncompressed() (io.ReadCloser, error) {
	rc, err := l.Layer.Uncompressed()
	return verifiedContent{rc, l.by}, err
}

type verifiedContent struct {
	io.ReadCloser
	by v1.Hash
}

func (c verifiedContent) Verifies() v1.Hash { return c.by }
