package web

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/ipxe"
)

// Handler returns the handler for the boot network. It never redirects:
// firmware does not follow.
func (s *Server) Handler() http.Handler {
	s.init()
	return http.HandlerFunc(s.answer)
}

// answer is the whole of a request.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.state.requests.Add(1)
	// 1. What is asked for?
	t, err := parsePath(r.URL.Path)
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, "bad path")
		return
	}
	// 2. Is it ours?
	var b ipxe.Binary
	if t.kind == binary {
		ok := false
		if s.Binaries != nil {
			b, ok = s.Binaries.Lookup(t.name)
		}
		if !ok {
			t.kind = other
		}
	}
	if t.kind == other {
		s.fail(w, r, http.StatusNotFound, "not found")
		return
	}
	// 3. Nothing is ever written, or read from a body.
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, r, http.StatusMethodNotAllowed, "only GET and HEAD")
		return
	}
	if r.ContentLength != 0 {
		s.fail(w, r, http.StatusRequestEntityTooLarge, "a request here has no body")
		return
	}
	// 4. Who asks, and the answer.
	s.dispatch(newSender(w, s.state.limits), r, t, b)
}

func (s *Server) dispatch(w *sender, r *http.Request, t target, b ipxe.Binary) {
	s.state.handlers.add(1)
	defer s.state.handlers.add(-1)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	c := s.identify(r, t.mac)
	switch t.kind {
	case autoScript:
		s.autoScript(w, r, c)
	case bootScript, autoexecScript:
		s.entryScript(w, r, c, t.kind)
	case pxelinux:
		s.pxelinux(w, r, c)
	case binary:
		s.binary(w, r, c, b)
	case artifact:
		s.artifact(w, r, c, t)
	}
}

// fail answers with an error. What remains of a body is not waited for.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	out, ok := w.(*sender)
	if !ok {
		out = newSender(w, s.state.limits)
	}
	if status == http.StatusNotFound {
		s.state.notFound.Add(1)
	}
	if r.ContentLength != 0 {
		_ = out.control.SetReadDeadline(time.Now().Add(time.Second))
		out.Header().Set("Connection", "close")
	}
	http.Error(out, text, status)
}

// artifact answers below /hook/.
func (s *Server) artifact(w *sender, r *http.Request, c client, t target) {
	a := s.state.artifacts
	if a.path == "" {
		s.fail(w, r, http.StatusNotFound, "this server has no artifacts")
		return
	}
	who := asker{
		ip: c.ip, head: r.Method == http.MethodHead, rest: r.Header.Get("Range") != "",
		fresh: strings.Contains(strings.ToLower(r.Header.Get("Cache-Control")), "no-cache"),
	}
	f, err := a.open(t.name, who)
	switch {
	case errors.Is(err, errIsFolder) || t.name == "." && err != nil:
		s.index(w, r, t.name)
	case err != nil:
		s.noArtifact(w, r, c, t, err)
	default:
		defer f.close()
		s.file(w, r, c, t, f)
	}
}

// noArtifact is the answer if there is no such file. Next to an iPXE that
// stands among the artifacts, its autoexec.ipxe is ours.
func (s *Server) noArtifact(w *sender, r *http.Request, c client, t target, err error) {
	if path.Base(t.name) == "autoexec.ipxe" {
		s.entryScript(w, r, c, autoexecScript)
		return
	}
	detail := "not in the artifacts folder"
	if !errors.Is(err, fs.ErrNotExist) {
		detail = "cannot be read: " + err.Error()
	}
	if r.Method == http.MethodGet && s.state.noise.allow() {
		s.log().Warn("http file "+detail, "mac", c.mac, "ip", c.ip, "file", t.name)
		e := c.event(event.HTTPAbort)
		e.File, e.Detail = r.URL.Path, detail
		s.sink(e)
	}
	s.fail(w, r, http.StatusNotFound, printable(t.name, 200)+": not found")
}

// file sends an artifact.
func (s *Server) file(w *sender, r *http.Request, c client, t target, f *opened) {
	tr := &transfer{server: s, client: c, file: r.URL.Path, size: f.id.size}
	if f.former {
		s.state.former.Add(1)
		tr.detail = "of the former build, which this machine had begun to boot"
	}
	if tag := f.tag(r.Context(), conditional(r)); tag != "" {
		w.Header().Set("ETag", tag)
	}
	s.send(w, r, tr, path.Base(t.name), f.modTime, f.content)
}

// conditional reports whether the answer depends on the ETag. Only then is its
// computation waited for.
func conditional(r *http.Request) bool {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Range"} {
		if strings.Contains(r.Header.Get(name), `"`) {
			return true
		}
	}
	return false
}

// send lets net/http do what RFC 9110 says about ranges and conditions; with a
// *os.File as content, it ends in sendfile.
func (s *Server) send(w *sender, r *http.Request, tr *transfer, name string, modTime time.Time, content io.ReadSeeker) {
	w.Header().Set("Content-Type", contentType(name))
	if r.Method == http.MethodGet {
		w.begin = func(status int) { tr.begin(status, w.Header()) }
		w.more = tr.more
		tr.expected = -1
		if r.ProtoMajor == 1 {
			tr.conn, _ = r.Context().Value(connKey{}).(*tracked)
		}
		defer tr.end(w)
	}
	http.ServeContent(w, r, name, modTime, content)
}

// contentType is by name. EDK2's HTTP boot goes by the type first: an unknown
// one it does not start.
func contentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".efi":
		return "application/efi"
	case ".iso":
		return "application/vnd.efi-iso"
	case ".img":
		return "application/vnd.efi-img"
	case ".json":
		return "application/json"
	case ".txt", ".lock", ".yaml", ".yml", ".ipxe", ".cfg", ".md", ".asc":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
