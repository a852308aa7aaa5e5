package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"hooksmith/serve/dhcp"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/tftp"
)

// tftpFiles is what TFTP gives to whom: boot binaries under any folder (their
// URL has the machine's MAC address in it), the scripts that they run first,
// pxelinux configurations, and what lies in the artifacts' folder.
type tftpFiles struct {
	binaries  map[string][]byte // by base name
	artifacts tftp.FileSystem   // nil: none
	boots     *boots
}

// traceSuffix is the trace context that Tinkerbell's DHCP appends to names.
var traceSuffix = regexp.MustCompile(`-00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// memoryFile is a file that is a text or a binary in memory.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

// loadBinaries reads all binaries: 2 MB that every machine wants at once.
func loadBinaries(all *ipxe.Binaries) (map[string][]byte, error) {
	content := map[string][]byte{}
	for _, b := range all.All() {
		f, err := all.Open(b.Name)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", b.Name, err)
		}
		content[b.Name], err = io.ReadAll(io.LimitReader(f, b.Size))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", b.Name, err)
		}
	}
	return content, nil
}

// Open implements tftp.FileSystem.
func (t *tftpFiles) Open(ctx context.Context, r tftp.Request) (tftp.File, error) {
	mac, _ := macInPath(r.Name)
	if mac == "" {
		mac = t.boots.macOf(r.Client.Addr())
	}
	base := traceSuffix.ReplaceAllString(path.Base(r.Name), "")
	if base == dhcp.LoopFile {
		return memoryFile{bytes.NewReader([]byte(dhcp.LoopScript(mac)))}, nil
	}
	if text, err := t.script(base, r.Local); text != "" || err != nil {
		return memoryFile{bytes.NewReader([]byte(text))}, err
	}
	if content, ok := t.binaries[base]; ok {
		if m, known := t.boots.hardware.Lookup(mac); known && m.Netboot.Allow == hardware.Off {
			return nil, &tftp.Error{Code: tftp.CodeAccess, Message: "netboot is not allowed for this machine"}
		}
		return memoryFile{bytes.NewReader(content)}, nil
	}
	if t.artifacts == nil {
		return nil, fs.ErrNotExist
	}
	r.Name = strings.TrimPrefix(r.Name, "hook/")
	return t.artifacts.Open(ctx, r)
}

// script makes what is a text; "" is none.
func (t *tftpFiles) script(base string, local netip.Addr) (string, error) {
	switch base {
	case "autoexec.ipxe":
		return t.boots.entry(local).AutoexecScript()
	case "boot.ipxe", "auto.ipxe": // which goes on by HTTP
		return t.boots.entry(local).BootScript()
	}
	// pxelinux.cfg/01-52-54-00-12-34-56: 01 is Ethernet.
	if hyphens, ok := strings.CutPrefix(base, "01-"); ok {
		if mac, err := hardware.NormalizeMAC(hyphens); err == nil {
			if m, known := t.boots.hardware.Lookup(mac); known {
				return m.Netboot.PXELinux, nil
			}
		}
	}
	return "", nil
}

// macInPath finds a MAC address among the folders of a path.
func macInPath(name string) (string, bool) {
	for folder := range strings.SplitSeq(path.Dir(name), "/") {
		if mac, err := hardware.NormalizeMAC(folder); err == nil {
			return mac, true
		}
	}
	return "", false
}
