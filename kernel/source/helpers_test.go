package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/zstd"

	"hooksmith/kernel/source"
)

// member is one of a tar; kind 0 is a file, or a folder if the name ends in "/".
type member struct {
	name, body, link string
	kind             byte
	mode             int64
}

func makefile(version string) string {
	v := strings.SplitN(version, ".", 3)
	return fmt.Sprintf("# SPDX-License-Identifier: GPL-2.0\nVERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\nEXTRAVERSION =\nNAME = Test\n", v[0], v[1], v[2])
}

// tree is a small kernel below a folder.
func tree(top, version string) []member {
	return []member{
		{name: top + "/"}, {name: top + "/COPYING", body: "GPL"}, {name: top + "/Makefile", body: makefile(version)},
		{name: top + "/scripts/"}, {name: top + "/scripts/run.sh", body: "#!/bin/sh", mode: 0o775},
		{name: top + "/scripts/link", link: "../COPYING", kind: tar.TypeSymlink},
	}
}

func makeTar(t testing.TB, members []member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Linkname: m.link, Mode: m.mode, ModTime: time.Unix(1e9, 0), Uid: 1000}
		switch {
		case m.kind != 0:
		case strings.HasSuffix(m.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o775
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(m.body))
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": m.body}}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return out.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// by runs a compressor of this machine.
func by(t testing.TB, program string, b []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	cmd := exec.CommandContext(t.Context(), program, "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// read returns the members of what a source gives: "name mode body" or
// "name -> link".
func read(t testing.TB, open func(context.Context) (io.ReadCloser, error)) ([]string, error) {
	t.Helper()
	r, err := open(t.Context())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r)
			return out, err
		}
		if err != nil {
			return out, err
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return out, err
		}
		line := fmt.Sprintf("%s %o %s", h.Name, h.Mode, body)
		if h.Linkname != "" {
			line = h.Name + " -> " + h.Linkname
		}
		out = append(out, line)
	}
}

// fetcher is the network without a cache.
type fetcher struct{ requests []string }

func (f *fetcher) get(ctx context.Context, url string) ([]byte, error) {
	f.requests = append(f.requests, url)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: server answered %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func (f *fetcher) Fetch(ctx context.Context, urls []string, sum string, _ int64) (*os.File, error) {
	b, err := f.get(ctx, urls[0])
	if err != nil {
		return nil, err
	}
	if sha(b) != sum {
		return nil, fmt.Errorf("%s: another file than expected", urls[0])
	}
	file, err := os.CreateTemp("", "hooksmith-source-test-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(b); err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

func (f *fetcher) Latest(ctx context.Context, urls []string, _ int64) ([]byte, error) {
	return f.get(ctx, urls[0])
}

// now is the time of the tests.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// newKey makes a key that was made at a time and is valid for a while, 0: for
// ever.
func newKey(t testing.TB, name string, made time.Time, valid time.Duration) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@test", &packet.Config{
		Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(valid / time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func public(t testing.TB, keys ...*openpgp.Entity) []byte {
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func sign(t testing.TB, key *openpgp.Entity, content []byte, at time.Time) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, key, bytes.NewReader(content), &packet.Config{Time: func() time.Time { return at }}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func clearSign(t testing.TB, key *openpgp.Entity, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, &packet.Config{Time: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// kernelOrg serves files by path.
func kernelOrg(t testing.TB, files map[string][]byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := files[r.URL.Path]; ok {
			_, _ = w.Write(b)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func keyring(t testing.TB, data ...[]byte) *source.Keyring {
	t.Helper()
	k := &source.Keyring{}
	for i, d := range data {
		if err := k.Add(fmt.Sprintf("key%d", i), d); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// wantError fails unless err is there and has all of parts.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}
