package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"
)

// use is what a file is fetched for: what is required of the server differs.
type use int

const (
	byFirmware use = iota // a boot program: no redirect, a length, a type
	byIPXE                // a script or a boot program
	asHook                // kernel or initramfs: large
)

// file is what was fetched, and what is to be said about it.
type file struct {
	url      string
	content  []byte // whole, of small files
	size     int64
	sha256   string // of the whole content, if all of it was read
	took     time.Duration
	ok       bool
	text     string // in a few words
	findings []Finding
}

func (f *file) bad(code Code, do, format string, args ...any) {
	f.findings = append(f.findings, Finding{Code: code, Severity: Problem, Server: hostOf(f.url), Text: fmt.Sprintf(format, args...), Do: do})
}

func (f *file) doubt(code Code, do, format string, args ...any) {
	f.bad(code, do, format, args...)
	f.findings[len(f.findings)-1].Severity = Warning
}

// fetcher fetches each file once.
type fetcher struct {
	wire     *wire // for what it sees of fragments; may be nil
	mtu      int   // of the interface
	whole    bool  // kernel and initramfs are read to the end
	now      func() time.Time
	files    map[string]*file
	port     uint16        // of TFTP, for tests; 0: 69
	patience time.Duration // with TFTP servers, for tests; 0: tftpPatience
	trust    trust

	silent map[string]bool // hosts and ports that do not answer: they are not waited for again
}

// Limits of what is fetched.
const (
	maxProgram = 32 << 20 // octets of a boot program
	maxHook    = 8 << 30  // octets of a kernel or initramfs
	maxURL     = 2048
	maxFetches = 64
)

var errURL = errors.New("not a URL that machines load from")

// get fetches what machines load. The answer is never nil.
func (f *fetcher) get(ctx context.Context, address string, what use) *file {
	key := fmt.Sprint(what, " ", address)
	if known, ok := f.files[key]; ok {
		return known
	}
	got := &file{url: clean(address, maxURL)}
	if len(f.files) >= maxFetches {
		got.bad(NotWhole, "look at the servers one at a time", "more than %d files are named by the servers here; %s was not fetched", maxFetches, got.url)
		return got
	}
	f.files[key] = got
	start := time.Now()
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || len(address) > maxURL:
		got.bad(HTTPUnreachable, "name it as scheme://address/file", "%v: %s", errURL, got.url)
	case u.Scheme == "tftp":
		f.tftp(ctx, u, what, got)
	case u.Scheme == "http" || u.Scheme == "https":
		f.http(ctx, u, what, got)
	default:
		got.bad(HTTPUnreachable, "machines fetch by tftp, http and https", "%s: the scheme %s is none that this boot chain uses", got.url, clean(u.Scheme, 20))
	}
	got.took = time.Since(start)
	if ctx.Err() != nil {
		got.ok = false
		got.findings = []Finding{{Code: NotWhole, Severity: Problem, Text: "interrupted while fetching " + got.url, Do: "run it again"}}
	}
	return got
}

// lookup finds the address of a host by this host's resolver.
func lookup(ctx context.Context, host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap(), nil
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil || len(all) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has no address here: %w", clean(host, 100), err)
	}
	return all[0].Unmap(), nil
}

func (f *fetcher) tftpAt(host netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(host, cmp.Or(f.port, tftpPort))
}

// What EDK2 and iPXE ask for.
var (
	edk2Ask = tftpAsk{blksize: 1468, window: 4, limit: maxProgram}
	ipxeAsk = tftpAsk{blksize: 1432, limit: maxProgram, peek: true}
)

// tftp fetches as firmware does, then begins again as iPXE does.
func (f *fetcher) tftp(ctx context.Context, u *url.URL, what use, got *file) {
	host, err := lookup(ctx, u.Hostname())
	if err != nil {
		got.bad(TFTPUnreachable, "give machines an address instead of a name", "TFTP from %s: %v", u.Hostname(), err)
		return
	}
	if u.Port() != "" && u.Port() != "69" {
		got.doubt(TFTPUnreachable, "use port 69", "%s: only iPXE can ask another port than 69, and this was not tried", got.url)
		return
	}
	name := strings.TrimPrefix(u.Path, "/")
	if f.silent["tftp "+host.String()] {
		f.judgeTFTP(host, name, tftpGot{}, errSilent, got)
		return
	}
	ask, second := edk2Ask, ipxeAsk
	ask.patience, second.patience = f.patience, f.patience
	ask.peek = what == asHook
	before := f.wire.fragments(host)
	g, err := tftpGet(ctx, f.tftpAt(host), name, ask)
	if errors.Is(err, errStalled) && len(g.content) == 0 && g.oack {
		f.smaller(ctx, host, name, g, got)
		return
	}
	f.judgeTFTP(host, name, g, err, got)
	if !got.ok {
		return
	}
	if n := f.wire.fragments(host) - before; n > 0 || g.blksize+tftpHeaders > f.mtu {
		got.doubt(TFTPFragments, "have the TFTP server grant no more than the MTU less 32", "TFTP from %s: blocks of %d octets do not fit the path's MTU and come in fragments, which most boot ROMs do not put together", host, g.blksize)
	}
	if _, err := tftpGet(ctx, f.tftpAt(host), name, second); err != nil {
		got.doubt(TFTPBroken, "another TFTP server, or its newer version, may help", "TFTP from %s: %s comes with EDK2's options and not with iPXE's (blksize 1432): %v", host, clean(name, 100), err)
	}
}

// judgeTFTP says what the error of a transfer means.
func (f *fetcher) judgeTFTP(host netip.Addr, name string, g tftpGot, err error, got *file) {
	name = clean(name, 200)
	var refused *refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		got.bad(TFTPFile, "put the file where the TFTP server looks, or correct the boot file's name", "TFTP from %s: %q is refused: %v", host, name, refused)
		return
	case errors.Is(err, errSilent):
		f.silent["tftp "+host.String()] = true
		got.bad(TFTPUnreachable, "start a TFTP server there and let port 69/udp through, and the answers, which come from another port",
			"TFTP from %s: no answer to the request for %q", host, name)
		return
	default:
		got.bad(TFTPBroken, "look at the TFTP server's log; a firewall that drops answers from other ports than 69 looks the same", "TFTP from %s: %q: %v", host, name, err)
		return
	}
	got.content, got.size, got.ok = g.content, max(g.tsize, int64(len(g.content))), true
	got.text = fmt.Sprintf("%s, %d octets, blocks of %d", path.Base(name), got.size, g.blksize)
	if g.window > 1 {
		got.text += fmt.Sprintf(", window %d", g.window)
	}
	if !g.oack {
		got.doubt(TFTPBlockSize, "use a TFTP server with RFC 2348 (hooksmith serve, dnsmasq, tftpd-hpa)", "TFTP from %s: blocks of 512 octets only: the server takes no options; loading takes three times as long", host)
	}
}

// smaller finds the largest blocks that arrive where those of 1468 do not.
func (f *fetcher) smaller(ctx context.Context, host netip.Addr, name string, first tftpGot, got *file) {
	for _, size := range []int{1024, 512} {
		g, err := tftpGet(ctx, f.tftpAt(host), name, tftpAsk{blksize: size, limit: maxProgram, patience: f.patience})
		if err != nil {
			continue
		}
		f.judgeTFTP(host, name, g, nil, got)
		got.bad(TFTPMTU, "set the same MTU on all ports of the path (1500), or have the TFTP server grant smaller blocks",
			"TFTP from %s: blocks of %d octets are lost on the way, those of %d arrive: the MTU is smaller somewhere", host, first.blksize, size)
		return
	}
	f.judgeTFTP(host, name, first, errStalled, got)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
