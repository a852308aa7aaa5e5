package web

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// autoScript is the machine's script. Whatever is wrong is a script too, with
// status 200: iPXE shows nothing of an error but a number.
func (s *Server) autoScript(w *sender, r *http.Request, c client) {
	e := c.event(event.Script)
	e.File, e.Arch = r.URL.Path, archOf(r)
	var text string
	text, e.Kind, e.Detail = s.scriptFor(r, c)
	e.Bytes, e.Size = int64(len(text)), int64(len(text))
	if r.Method == http.MethodGet {
		s.state.scripts.Add(1)
		s.state.artifacts.booting(c.ip)
		s.sink(e)
		s.log().Info("script", "mac", c.mac, "ip", c.ip, "what", e.Detail)
	}
	sendText(w, r, text)
}

// scriptFor decides which script a machine gets, and says why.
func (s *Server) scriptFor(r *http.Request, c client) (text string, kind event.Kind, why string) {
	scripts := s.scripts(r)
	m := c.machine
	switch {
	case scripts == nil:
		return ipxe.MessageScript("STOPPED: this boot server has no scripts configured"), event.Script, "no scripts are configured"
	case m == nil && c.mac == "":
		// iPXE knows what we do not: it comes again with the MAC address in the path.
		text, err := ipxe.Entry{Base: s.base(r, c)}.BootScript()
		if err != nil {
			return ipxe.MessageScript("STOPPED: " + err.Error()), event.Script, err.Error()
		}
		return text, event.Script, "asks the machine for its MAC address"
	case m == nil && s.Unknown == Auto:
		m = &hardware.Machine{MAC: c.mac}
	case m == nil:
		return unknownScript(c.mac), event.Unknown, "no hardware record; its screen says so"
	}
	result, err := scripts.For(m)
	if err != nil {
		return ipxe.MessageScript("STOPPED: no script for "+m.MAC+": "+err.Error(), "hardware record: "+m.Source), event.Script, "no script: " + err.Error()
	}
	return result.Script, event.Script, result.Origin
}

// unknownScript tells the people in front of the machine what to do.
func unknownScript(mac string) string {
	return ipxe.MessageScript(
		"STOPPED: this machine is not in the boot server's hardware data",
		"its MAC address is "+mac,
		"add it to the hardware file; a row for hardware.csv, with the addresses still to be filled in:",
		hardware.CSVHeader(),
		hardware.CSVRow(hardware.Machine{MAC: mac}, nil),
		"the boot server reads the file at once; then start this machine again",
	)
}

// scripts are those for the network that the client is in.
func (s *Server) scripts(r *http.Request) *ipxe.Scripts {
	if s.Scripts == nil {
		return nil
	}
	return s.Scripts(local(r).Addr())
}

// entryScript is boot.ipxe or autoexec.ipxe.
func (s *Server) entryScript(w *sender, r *http.Request, c client, k kind) {
	entry := ipxe.Entry{Base: s.base(r, c), VLANs: s.vlans()}
	render, what := entry.BootScript, "boot.ipxe"
	if k == autoexecScript {
		render, what = entry.AutoexecScript, "autoexec.ipxe"
	}
	text, err := render()
	if err != nil {
		s.log().Error("script", "what", what, "error", err)
		text = ipxe.MessageScript("STOPPED: " + err.Error())
	}
	if r.Method == http.MethodGet {
		s.state.scripts.Add(1)
		e := c.event(event.Script)
		e.File, e.Arch, e.Detail = r.URL.Path, archOf(r), what
		e.Bytes, e.Size = int64(len(text)), int64(len(text))
		s.sink(e)
	}
	sendText(w, r, text)
}

// vlans are those that machines are in.
func (s *Server) vlans() []int {
	if s.Hardware == nil {
		return nil
	}
	var ids []int
	for _, m := range s.Hardware.All() {
		if m.VLAN != 0 {
			ids = append(ids, m.VLAN)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// pxelinux is the record's own configuration for PXELINUX and what reads its
// format.
func (s *Server) pxelinux(w *sender, r *http.Request, c client) {
	if c.machine == nil || c.machine.Netboot.PXELinux == "" || c.machine.Netboot.Allow == hardware.Off {
		s.fail(w, r, http.StatusNotFound, "no pxelinux configuration for this machine")
		return
	}
	sendText(w, r, c.machine.Netboot.PXELinux)
}

// sendText sends what is made for this request.
func sendText(w *sender, r *http.Request, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// binary sends an iPXE binary.
func (s *Server) binary(w *sender, r *http.Request, c client, b ipxe.Binary) {
	if c.machine != nil && c.machine.Netboot.Allow == hardware.Off {
		s.fail(w, r, http.StatusForbidden, "netboot is not allowed for this machine")
		return
	}
	f, err := s.Binaries.Open(b.Name)
	if err != nil {
		s.log().Error("iPXE binary", "file", b.Name, "error", err)
		s.fail(w, r, http.StatusNotFound, b.Name+": not found")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		s.fail(w, r, http.StatusInternalServerError, b.Name+": cannot be read")
		return
	}
	content, ok := f.(io.ReadSeeker)
	if !ok {
		data, err := io.ReadAll(io.LimitReader(f, b.Size))
		if err != nil {
			s.fail(w, r, http.StatusInternalServerError, b.Name+": cannot be read")
			return
		}
		content = bytes.NewReader(data)
	}
	if tag := s.binaryTag(r, b, f, identityOf(info)); tag != "" {
		w.Header().Set("ETag", tag)
	}
	tr := &transfer{server: s, client: c, file: r.URL.Path, size: info.Size()}
	s.send(w, r, tr, b.Name, info.ModTime(), content)
}

// binaryTag hashes a file on disk as it is now: it may have been replaced since
// the binaries were inspected. What is in memory does not change. A large one,
// which no iPXE is, has no tag.
func (s *Server) binaryTag(r *http.Request, b ipxe.Binary, f any, id identity) string {
	file, ok := f.(*os.File)
	if !ok {
		return `"` + b.SHA256 + `"`
	}
	if id.size > smallFile {
		return ""
	}
	d := s.state.artifacts.digests.of(job{id: id, open: func() (*os.File, func(), error) { return file, func() {}, nil }}, now)
	o := opened{digest: d}
	return o.tag(r.Context(), conditional(r))
}

// archOf is what iPXE says of itself in the query.
func archOf(r *http.Request) string { return printable(r.URL.Query().Get("arch"), 32) }
