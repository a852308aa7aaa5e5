package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
)

var appFiles = map[string]string{
	"Dockerfile": "FROM scratch\nCOPY . /\n", "etc/conf": "a", "run.sh": "#!/bin/sh\n", "link": "-> run.sh",
	".dockerignore": "*.log\n/tmp\n!keep.log\n", "noise.log": "1", "keep.log": "2", "tmp/x": "3",
}

// TestFolderTag: what changes the image changes its tag, and nothing else.
func TestFolderTag(t *testing.T) {
	tag := func(t *testing.T, change func(dir string) error) string {
		root := t.TempDir()
		dir := folder(t, root, "hook-app", appFiles)
		if change != nil {
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
		}
		return oneFolder(t, root, "ghcr.io/me/").Ref
	}
	same := tag(t, nil)
	if !strings.HasPrefix(same, "ghcr.io/me/hook-app:") || !strings.HasSuffix(same, "-amd64") || len(same) != len("ghcr.io/me/hook-app:12345678-amd64") {
		t.Errorf("reference %q", same)
	}
	for _, tt := range []struct {
		name    string
		change  func(dir string) error
		differs bool
	}{
		{"the same again", nil, false},
		{"other times", func(dir string) error { return os.Chtimes(dir+"/run.sh", anHourAgo, anHourAgo) }, false},
		{"an ignored file", func(dir string) error { return os.WriteFile(dir+"/noise.log", []byte("x"), 0o644) }, false},
		{"a file in an ignored folder", func(dir string) error { return os.WriteFile(dir+"/tmp/y", nil, 0o644) }, false},
		{"a socket", func(dir string) error {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}, false},
		{"content", func(dir string) error { return os.WriteFile(dir+"/etc/conf", []byte("b"), 0o644) }, true},
		{"a file that an exception brings back", func(dir string) error { return os.WriteFile(dir+"/keep.log", []byte("b"), 0o644) }, true},
		{"mode", func(dir string) error { return os.Chmod(dir+"/run.sh", 0o755) }, true},
		{"mode of a folder", func(dir string) error { return os.Chmod(dir+"/etc", 0o700) }, true},
		{"set-user-id", func(dir string) error { return os.Chmod(dir+"/run.sh", 0o644|fs.ModeSetuid) }, true},
		{"target of a link", func(dir string) error {
			return errors.Join(os.Remove(dir+"/link"), os.Symlink("etc/conf", dir+"/link"))
		}, true},
		{"a link for a file", func(dir string) error {
			return errors.Join(os.Remove(dir+"/run.sh"), os.Symlink("etc/conf", dir+"/run.sh"))
		}, true},
		{"an empty folder", func(dir string) error { return os.Mkdir(dir+"/new", 0o755) }, true},
		{"a name", func(dir string) error { return os.Rename(dir+"/etc/conf", dir+"/etc/cong") }, true},
		{"Dockerfile", func(dir string) error { return os.WriteFile(dir+"/Dockerfile", []byte("FROM scratch\n"), 0o644) }, true},
		{".dockerignore", func(dir string) error { return os.WriteFile(dir+"/.dockerignore", nil, 0o644) }, true},
		{"Dockerfile.dockerignore comes first", func(dir string) error { return os.WriteFile(dir+"/Dockerfile.dockerignore", []byte("tmp\n"), 0o644) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tag(t, tt.change); (got != same) != tt.differs {
				t.Errorf("tag %s, of the unchanged folder %s", got, same)
			}
		})
	}
}

// TestFolderHash is the format, so that others can compute it.
func TestFolderHash(t *testing.T) {
	root := t.TempDir()
	dir := folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\n", "bin/run": "x", "l": "-> bin/run"})
	if err := errors.Join(os.Chmod(dir+"/bin", 0o755), os.Chmod(dir+"/bin/run", 0o755), os.Chmod(dir+"/Dockerfile", 0o644)); err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	lines := "-0644 " + sum("FROM scratch\n") + "  images/app/Dockerfile\n" +
		"d0755 " + sum("") + "  images/app/bin\n" +
		"-0755 " + sum("x") + "  images/app/bin/run\n" +
		"l " + sum("bin/run") + "  images/app/l\n"
	want := "docker.io/library/app:" + sum(lines)[:8] + "-amd64"
	if got := oneFolder(t, root, "").Ref; got != want {
		t.Errorf("reference %s, want %s", got, want)
	}
}

func TestReadFolders(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "b", map[string]string{"Dockerfile": "FROM scratch\n"})
	folder(t, root, "a", map[string]string{"Dockerfile": "FROM scratch\n"})
	folder(t, root, "no-dockerfile", map[string]string{"x": ""})
	folder(t, root, ".", map[string]string{"README": ""})
	got, err := ReadFolders(t.Context(), root, "quay.io/tinkerbell/hook-", amd64)
	if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
		t.Fatalf("%v, %v", got, err)
	}
	if !strings.HasPrefix(got[0].Ref, "quay.io/tinkerbell/hook-a:") || got[0].local {
		t.Errorf("%+v", got[0])
	}
	if none, err := ReadFolders(t.Context(), filepath.Join(root, "none"), "", amd64); err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
	for name, damage := range map[string]func(dir string) error{
		"neither file, folder nor symbolic link": func(dir string) error { return syscall.Mkfifo(dir+"/fifo", 0o644) },
		".dockerignore":                          func(dir string) error { return os.WriteFile(dir+"/.dockerignore", []byte("[a-\n"), 0o644) },
	} {
		root := t.TempDir()
		dir := folder(t, root, "app", map[string]string{"Dockerfile": ""})
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		folder(t, root, "other", map[string]string{"Dockerfile": ""})
		got, err := ReadFolders(t.Context(), root, "", amd64)
		if err != nil || len(got) != 2 {
			t.Fatalf("%v, %v", got, err)
		}
		s := sources(t, func(s *Sources) { s.Folders = got })
		_, err = s.Image(t.Context(), got[0].Ref)
		wantError(t, err, name, dir)
	}
	root = t.TempDir()
	folder(t, root, "Upper Case", map[string]string{"Dockerfile": ""})
	_, err = ReadFolders(t.Context(), root, "", amd64)
	wantError(t, err, "Upper Case", "cannot be the name of an image")
}

func TestContextTar(t *testing.T) {
	dir := folder(t, t.TempDir(), "app", appFiles)
	files, err := contextFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := writeContext(t.Context(), &buf, files); err != nil {
		t.Fatal(err)
	}
	var got []string
	for tr := tar.NewReader(&buf); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s belongs to %d:%d %s", h.Name, h.Uid, h.Gid, h.Uname)
		}
		got = append(got, h.Name+h.Linkname)
	}
	want := []string{".dockerignore", "Dockerfile", "etc/", "etc/conf", "keep.log", "linkrun.sh", "run.sh"}
	if !slices.Equal(got, want) {
		t.Errorf("context %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeContext(ctx, io.Discard, files); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestExceptionInIgnoredFolder: an exception brings a file back together with
// its folders.
func TestExceptionInIgnoredFolder(t *testing.T) {
	dir := folder(t, t.TempDir(), "app", map[string]string{
		"Dockerfile": "", ".dockerignore": "*\n!a/b/keep\n", "a/b/keep": "1", "a/b/drop": "2", "a/c/drop": "3", "drop": "4",
	})
	files, err := contextFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.name)
	}
	if want := []string{".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep"}; !slices.Equal(got, want) {
		t.Errorf("context %q, want %q", got, want)
	}
}

func TestDeclareArgs(t *testing.T) {
	const args = "ARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\n"
	for in, want := range map[string]string{
		"FROM --platform=${TARGETARCH} a\n":                                     args + "FROM --platform=${TARGETARCH} a\n",
		"# syntax=docker/dockerfile:1\n#escape = `\n# note\nFROM a:$TARGETOS\n": "# syntax=docker/dockerfile:1\n#escape = `\n" + args + "# note\nFROM a:$TARGETOS\n",
		"FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH\n":                        "",
		"": "",
	} {
		files, err := contextFiles(t.Context(), folder(t, t.TempDir(), "app", map[string]string{"Dockerfile": in, "x": "FROM $TARGETARCH"}))
		if err == nil {
			files, err = declareArgs(files)
		}
		if err != nil || string(files[0].text) != want || files[1].text != nil {
			t.Errorf("%q: %q, %v; want %q", in, files[0].text, err, want)
		}
	}
}

// field is a length-delimited protobuf field.
func field(n uint64, content ...[]byte) []byte {
	all := bytes.Join(content, nil)
	b := binary.AppendUvarint(nil, n<<3|bytesType)
	return append(binary.AppendUvarint(b, uint64(len(all))), all...)
}

func trace(parts ...[]byte) string {
	return fmt.Sprintf(`{"id":"moby.buildkit.trace","aux":%q}`, base64.StdEncoding.EncodeToString(bytes.Join(parts, nil)))
}

func TestFollowBuild(t *testing.T) {
	vertex := field(statusVertex, field(1, []byte("sha256:1")), field(vertexName, []byte("[2/2] RUN make")), field(vertexStarted, []byte{8, 1}))
	done := field(statusVertex, field(vertexName, []byte("[1/2] FROM x")), field(vertexStarted, []byte{8, 1}), field(vertexCompleted, []byte{8, 2}))
	log := field(statusLog, field(1, []byte("sha256:1")), []byte{3<<3 | varintType, 1}, field(logMessage, []byte("cc -o x\nmake: *** [all] Error 1\n")))
	for _, tt := range []struct {
		name, in string
		want     string // "": no error
	}{
		{"classic, well", `{"stream":"Step 1/1 : FROM x\n"}{"stream":" ---> 123\n"}{"aux":{"ID":"sha256:1"}}{"stream":"Successfully built"}`, ""},
		{"classic, error", `{"stream":"Step 1/2 : RUN make\n"}{"stream":"cc "}{"stream":"-o x\n"}{"errorDetail":{"code":1,"message":"returned 1"},"error":"returned 1"}`,
			"returned 1\nthe end of its output:\n  Step 1/2 : RUN make\n  cc -o x"},
		{"BuildKit, well", trace(vertex, log) + `{"id":"moby.image.id","aux":{"ID":"sha256:1"}}`, ""},
		{"BuildKit, error", trace(done, vertex) + trace(log) + `{"errorDetail":{"message":"exit code: 2"}}`,
			"exit code: 2\nthe end of its output:\n  [2/2] RUN make\n  cc -o x\n  make: *** [all] Error 1"},
		{"no output", `{"error":"daemon is tired"}`, "daemon is tired"},
		{"damaged trace", `{"id":"moby.buildkit.trace","aux":"!!"}{"id":"moby.buildkit.trace","aux":{}}{"error":"e"}`, "e"},
		{"not JSON", `<html>`, "reading the build's output: invalid character '<' looking for beginning of value"},
		{"cut", `{"stream":"x`, "reading the build's output: unexpected EOF"},
	} {
		err := followBuild(strings.NewReader(tt.in))
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	long := strings.Repeat(`{"stream":"`+strings.Repeat("x", 200)+`\n"}`, 5000) + `{"error":"e"}`
	if err := followBuild(strings.NewReader(long)); len(err.Error()) > tailLines*210+100 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func FuzzProtobuf(f *testing.F) {
	f.Add(field(1, field(3, []byte("x"))))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		eachField(b, func(_ uint64, v []byte) { n += len(v) })
		if n > len(b) {
			t.Errorf("%d bytes of fields in %d bytes", n, len(b))
		}
	})
}

// TestSession speaks to the session as BuildKit does: gRPC over HTTP/2 on a
// connection that the other side opened.
func TestSession(t *testing.T) {
	cfg := configfile.New("")
	cfg.AuthConfigs = map[string]types.AuthConfig{
		"ghcr.io":                     {Username: "ann", Password: "secret"},
		"https://index.docker.io/v1/": {Username: "hub", Password: "hubsecret"},
		"token.test":                  {Username: "x", IdentityToken: "identity"},
	}
	here, there := net.Pipe()
	srv := &http.Server{Handler: sessionHandler{cfg}, Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	l := &oneConn{conn: there, closed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return here, nil }}
	tr.Protocols.SetUnencryptedHTTP2(true)
	call := func(method string, frame []byte) (status string, answer []byte) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://session"+method, bytes.NewReader(frame))
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err = io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp.Status, err)
		}
		return resp.Trailer.Get("Grpc-Status"), answer
	}
	framed := func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	for _, tt := range []struct {
		name, method string
		request      []byte
		status       string
		answer       []byte
	}{
		{"health", methodHealth, framed(nil), "0", framed([]byte{8, 1})},
		{"credentials", methodCredentials, framed(field(1, []byte("ghcr.io"))), "0", framed(append(field(1, []byte("ann")), field(2, []byte("secret"))...))},
		{"Docker Hub", methodCredentials, framed(field(1, []byte("registry-1.docker.io"))), "0", framed(append(field(1, []byte("hub")), field(2, []byte("hubsecret"))...))},
		{"identity token", methodCredentials, framed(field(1, []byte("token.test"))), "0", framed(field(2, []byte("identity")))},
		{"nobody", methodCredentials, framed(field(1, []byte("quay.io"))), "0", framed(nil)},
		{"what we lack", "/moby.filesync.v1.Auth/GetTokenAuthority", framed(nil), "12", nil},
		{"no message", methodCredentials, nil, "3", nil},
		{"huge message", methodCredentials, []byte{0, 0xff, 0xff, 0xff, 0xff}, "3", nil},
		{"compressed message", methodCredentials, []byte{1, 0, 0, 0, 0}, "3", nil},
	} {
		status, answer := call(tt.method, tt.request)
		if status != tt.status || !bytes.Equal(answer, tt.answer) {
			t.Errorf("%s: status %q, answer %q; want %q, %q", tt.name, status, answer, tt.status, tt.answer)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
