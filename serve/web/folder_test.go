package web

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/serve/event"
)

// build puts a build in place as hooksmith build does: files, then hook.json.
func build(t testing.TB, dir string, seed uint64) (kernel, initramfs []byte) {
	t.Helper()
	kernel, initramfs = noiseOf(2*seed, 200000), noiseOf(2*seed+1, 2<<20)
	put(t, dir, "vmlinuz-x86_64", kernel)
	put(t, dir, "initramfs-x86_64", initramfs)
	put(t, dir, "hook.json", manifest(seed, kernel, initramfs))
	return kernel, initramfs
}

func manifest(seed uint64, kernel, initramfs []byte) []byte {
	line := func(name string, content []byte) string {
		return fmt.Sprintf(`{"name":%q,"aliases":[],"size":%d,"sha256":"%x"}`, name, len(content), sha256.Sum256(content))
	}
	return fmt.Appendf(nil, `{"schema":1,"builds":[{"build_id":"%040d","artifacts":[%s,%s]}]}`, seed,
		line("vmlinuz-x86_64", kernel), line("initramfs-x86_64", initramfs))
}

// slow reads a little of a download and leaves the rest waiting.
func slow(t *testing.T, addr, path string) (first []byte, rest func() []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
	head := make([]byte, 2048)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(head, []byte("\r\n\r\n"))
	return body, func() []byte {
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		return append(body, all...)
	}
}

// A machine that has fetched the kernel of one build gets its initramfs,
// whatever was put in place meanwhile; others get the new build.
func TestBuildIsSwitchedBetweenFiles(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "large", noiseOf(5, 32<<20))
	oldKernel, oldInitramfs := build(t, s.Artifacts, 10)
	addr := start(t, s)
	c := browser(t)
	kernelURL, initramfsURL := "http://"+addr+"/hook/vmlinuz-x86_64", "http://"+addr+"/hook/initramfs-x86_64"
	fetch := func(what, url string, want []byte, headers ...string) {
		t.Helper()
		if _, body := get(t, c, "GET", url, headers...); !bytes.Equal(body, want) {
			t.Errorf("%s: not the expected build", what)
		}
	}
	fetch("kernel", kernelURL, oldKernel)
	_, rest := slow(t, addr, "/hook/large")
	put(t, s.Artifacts, "large", noiseOf(6, 32<<20))
	newKernel, newInitramfs := build(t, s.Artifacts, 11)
	if !bytes.Equal(rest(), noiseOf(5, 32<<20)) {
		t.Error("a running download is not that of its file")
	}
	fetch("initramfs, begun", initramfsURL, oldInitramfs)
	fetch("initramfs, retried", initramfsURL, oldInitramfs)
	fetch("past what was begun", initramfsURL, newInitramfs, "Cache-Control: no-cache")
	sum := sha256.Sum256(oldInitramfs)
	fetch("resumed", initramfsURL, oldInitramfs[1000:], "Range: bytes=1000-", `If-Range: "`+hex.EncodeToString(sum[:])+`"`)
	if _, body := get(t, c, "GET", "http://"+addr+"/hook/hook.json"); !bytes.Equal(body, manifest(11, newKernel, newInitramfs)) {
		t.Error("hook.json is always the present one")
	}
	if s.Stats().FormerBuild < 3 || !l.has("former build") {
		t.Errorf("%+v", s.Stats())
	}
	fetch("kernel, next boot", kernelURL, newKernel)
	fetch("initramfs, next boot", initramfsURL, newInitramfs)

	fetch("kernel", kernelURL, newKernel)
	kernel3, initramfs3 := build(t, s.Artifacts, 12)
	get(t, c, "GET", "http://"+addr+"/auto.ipxe") // a boot begins with the script
	fetch("initramfs after the script", initramfsURL, initramfs3)
	fetch("kernel after the script", kernelURL, kernel3)
}

// Half of a build is not served: until hook.json says that all is there, or
// nothing moves any more, the files of before are.
func TestHalfABuild(t *testing.T) {
	s, _ := newServer(t)
	kernel, _ := build(t, s.Artifacts, 20)
	addr := start(t, s)
	clock := &fakeClock{now: time.Now()}
	s.init().artifacts.mu.Lock()
	s.state.artifacts.now = clock.get
	s.state.artifacts.mu.Unlock()
	c := browser(t)
	fetch := func() []byte {
		_, body := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64")
		return body
	}
	if !bytes.Equal(fetch(), kernel) {
		t.Fatal("the build at first")
	}
	byHand := noiseOf(99, 1000)
	clock.set(time.Now())
	put(t, s.Artifacts, "vmlinuz-x86_64", byHand)
	if !bytes.Equal(fetch(), kernel) {
		t.Error("half of a build is served")
	}
	clock.set(time.Now().Add(time.Hour))
	if !bytes.Equal(fetch(), byHand) {
		t.Error("a file put in by hand is not taken up")
	}
	st := s.ArtifactStatus()
	if len(st.Problems) == 0 || !strings.Contains(strings.Join(st.Problems, "\n"), "vmlinuz-x86_64 has 1000 bytes, hook.json says 200000") {
		t.Errorf("%+v", st)
	}
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// The folder itself may be a link that is turned to another build.
func TestFolderIsALink(t *testing.T) {
	s, _ := newServer(t)
	one, two := t.TempDir(), t.TempDir()
	build(t, one, 30)
	kernel, initramfs := build(t, two, 31)
	link := filepath.Join(t.TempDir(), "hook")
	if err := os.Symlink(one, link); err != nil {
		t.Fatal(err)
	}
	s.Artifacts = link
	addr := start(t, s)
	c := browser(t)
	get(t, c, "GET", "http://"+addr+"/hook/hook.json")
	if err := os.Symlink(two, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	_, k := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64")
	_, i := get(t, c, "GET", "http://"+addr+"/hook/initramfs-x86_64")
	if !bytes.Equal(k, kernel) || !bytes.Equal(i, initramfs) {
		t.Error("not what the link leads to")
	}
}

func TestFolderIsMissing(t *testing.T) {
	s, _ := newServer(t)
	dir := s.Artifacts
	s.Artifacts = filepath.Join(dir, "later")
	addr := start(t, s)
	c := browser(t)
	if resp, _ := get(t, c, "GET", "http://"+addr+"/hook/"); resp.StatusCode != 404 {
		t.Errorf("%s", resp.Status)
	}
	if st := s.ArtifactStatus(); st.Error == "" {
		t.Errorf("%+v", st)
	}
	if err := os.Mkdir(s.Artifacts, 0o755); err != nil {
		t.Fatal(err)
	}
	kernel, _ := build(t, s.Artifacts, 40)
	if _, body := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64"); !bytes.Equal(body, kernel) {
		t.Error("the folder came later and is not served")
	}
	none, _ := newServer(t)
	none.Artifacts = ""
	addr = start(t, none)
	if resp, _ := get(t, c, "GET", "http://"+addr+"/hook/"); resp.StatusCode != 404 || none.ArtifactStatus().Error == "" {
		t.Errorf("%s", resp.Status)
	}
}

// What is said of a file beside it is compared with the file.
func TestClaims(t *testing.T) {
	s, l := newServer(t)
	kernel, initramfs := noiseOf(1, 200000), noiseOf(2, 2<<20)
	put(t, s.Artifacts, "vmlinuz-x86_64", kernel)
	put(t, s.Artifacts, "initramfs-x86_64", initramfs)
	put(t, s.Artifacts, "checksum.txt", fmt.Appendf(nil, "%x  vmlinuz-x86_64\n%x *initramfs-x86_64\nnonsense\n",
		sha512.Sum512(kernel), sha512.Sum512(nil)))
	start(t, s)
	until(t, "the wrong initramfs is named", func() bool { return len(s.ArtifactStatus().Problems) == 1 })
	if p := s.ArtifactStatus().Problems[0]; !strings.HasPrefix(p, "initramfs-x86_64 does not have the content") {
		t.Error(p)
	}
	until(t, "it is logged", func() bool { return l.has("initramfs-x86_64 does not have the content") })
	want := fmt.Sprintf("%x", sha256.Sum256(kernel))
	until(t, "the kernel's hash is known", func() bool {
		return slices.ContainsFunc(s.ArtifactStatus().Files, func(f FileStatus) bool { return f.Name == "vmlinuz-x86_64" && f.SHA256 == want })
	})
}

// Kernel and initramfs that a machine gets fit, while one build after the other
// is put in place.
func TestManyMachinesWhileBuildsChange(t *testing.T) {
	s, _ := newServer(t)
	s.TrustedProxies = append(s.TrustedProxies, loopback)
	var mu sync.Mutex
	pairs := map[[32]byte][32]byte{}
	next := func(seed uint64) {
		kernel, initramfs := noiseOf(2*seed, 200000), noiseOf(2*seed+1, 2<<20)
		mu.Lock()
		pairs[sha256.Sum256(kernel)] = sha256.Sum256(initramfs)
		mu.Unlock()
		build(t, s.Artifacts, seed)
	}
	next(50)
	addr := start(t, s)
	stop := make(chan struct{})
	var builder, machines sync.WaitGroup
	builder.Go(func() {
		for seed := uint64(51); seed < 100; seed++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(seed%5) * 15 * time.Millisecond):
				next(seed)
			}
		}
	})
	for m := range 8 {
		machines.Go(func() {
			c := browser(t)
			from := fmt.Sprintf("X-Forwarded-For: 10.0.1.%d", m)
			for range 4 {
				_, kernel := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64", from)
				_, initramfs := get(t, c, "GET", "http://"+addr+"/hook/initramfs-x86_64", from)
				mu.Lock()
				want, ok := pairs[sha256.Sum256(kernel)]
				mu.Unlock()
				if !ok || want != sha256.Sum256(initramfs) {
					t.Errorf("machine %d: kernel of a build: %v; initramfs is another's", m, ok)
				}
			}
		})
	}
	machines.Wait()
	if s.Stats().FormerBuild == 0 {
		t.Log("no machine was between two builds this time")
	}
	close(stop)
	builder.Wait()
}

func TestDownloadEvents(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "big.iso", noiseOf(9, 32<<20))
	addr := start(t, s)
	c := browser(t)
	get(t, c, "HEAD", "http://"+addr+"/hook/vmlinuz-x86_64")
	get(t, c, "GET", "http://"+addr+"//hook/vmlinuz-x86_64")
	until(t, "a download is told of", func() bool { _, ok := l.find(event.HTTPDone, "//hook/vmlinuz-x86_64"); return ok })
	e, _ := l.find(event.HTTPDone, "//hook/vmlinuz-x86_64")
	if e.MAC != "52:54:00:aa:aa:aa" || e.IP != "127.0.0.1" || e.Bytes != 300000 || e.Size != 300000 || e.Duration <= 0 {
		t.Errorf("%+v", e)
	}
	get(t, c, "GET", "http://"+addr+"/52-54-00-12-34-56/undionly.kpxe")
	if e, ok := l.find(event.HTTPStart, "/52-54-00-12-34-56/undionly.kpxe"); !ok || e.MAC != knownMAC {
		t.Errorf("%+v", e)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /hook/big.iso HTTP/1.0\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	until(t, "an abort is told of", func() bool { _, ok := l.find(event.HTTPAbort, "/hook/big.iso"); return ok })
	e, _ = l.find(event.HTTPAbort, "/hook/big.iso")
	if e.Bytes < 1<<20 || e.Bytes >= e.Size || e.Size != 32<<20 || !strings.Contains(e.Detail, "broke at ") {
		t.Errorf("%+v", e)
	}
	// Small enough to be wholly in the kernel's buffers when the machine dies.
	put(t, s.Artifacts, "small.iso", noiseOf(9, 2<<20))
	conn, err = net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(65536)
	fmt.Fprint(conn, "GET /hook/small.iso HTTP/1.0\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	until(t, "what was only buffered is no download", func() bool { _, ok := l.find(event.HTTPAbort, "/hook/small.iso"); return ok })
	if e, _ := l.find(event.HTTPAbort, "/hook/small.iso"); e.Bytes <= 0 || e.Bytes >= 1<<20 {
		t.Errorf("%+v", e)
	}
	get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-aarch64")
	if e, ok := l.find(event.HTTPAbort, "/hook/vmlinuz-aarch64"); !ok || e.Detail != "not in the artifacts folder" {
		t.Errorf("%+v", e)
	}
}

// A BMC that reads an ISO in thousands of parts is one download.
func TestParts(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "a.iso", noiseOf(9, 1<<20))
	addr := start(t, s)
	c := &http.Client{}
	for i := range 50 {
		get(t, c, "GET", "http://"+addr+"/hook/a.iso", fmt.Sprintf("Range: bytes=%d-%d", i*2048, i*2048+2047))
	}
	c.CloseIdleConnections()
	until(t, "the handlers have ended", func() bool { return s.Stats().Files == 50 })
	s.state.mounts.flush(0)
	e, ok := l.find(event.HTTPDone, "/hook/a.iso")
	if !ok || e.Bytes != 50*2048 || e.Detail != "in 50 parts" {
		t.Errorf("%+v", e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) > 60 {
		t.Errorf("%d events", len(l.events))
	}
}
