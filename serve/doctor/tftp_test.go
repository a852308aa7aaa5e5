package doctor

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
)

// tftpServer answers each request by a function that plays a server; reply sends from the transfer's own port.
func tftpServer(t *testing.T, play func(request []byte, conn *net.UDPConn, client netip.AddrPort)) *fetcher {
	t.Helper()
	listening := loopback(t)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, client, err := listening.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				return
			}
			request := slices.Clone(buf[:n])
			go func() { defer conn.Close(); play(request, conn, client) }()
		}
	}()
	return at(listening)
}

func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func at(conn *net.UDPConn) *fetcher {
	f := newFetcher()
	f.mtu = 65536
	f.port = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return f
}

func oack(words ...string) []byte {
	return append([]byte{0, opOACK}, strings.Join(words, "\x00")+"\x00"...)
}

func data(block uint16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opData}, block), content...)
}

// The library's server gives what is asked: with options, and without the window.
func TestTFTP(t *testing.T) {
	t.Parallel()
	conn := loopback(t)
	server := tftp.NewServer(func(name string, r io.ReaderFrom) error {
		if strings.HasPrefix(name, "missing") {
			return io.ErrUnexpectedEOF
		}
		r.(tftp.OutgoingTransfer).SetSize(int64(len(program)))
		_, err := r.ReadFrom(bytes.NewReader(program))
		return err
	}, nil)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(conn) }() // ends by Shutdown
	t.Cleanup(func() { server.Shutdown(); <-served })
	f := at(conn)
	got := f.get(t.Context(), "tftp://127.0.0.1/52-54-00/a%20program", byIPXE)
	if !got.ok || !bytes.Equal(got.content, program) || len(got.findings) > 0 {
		t.Errorf("%d octets, %+v", len(got.content), got.findings)
	}
	got = f.get(t.Context(), "tftp://127.0.0.1/vmlinuz", asHook)
	if !got.ok || got.size != int64(len(program)) {
		t.Errorf("%+v", got)
	}
	if got := f.get(t.Context(), "tftp://127.0.0.1/missing", byIPXE); !slices.Equal(codesOf(got.findings), []Code{TFTPFile}) {
		t.Errorf("%+v", got.findings)
	}
}

// Every fault of a TFTP server has its code, and takes a bounded time.
func TestTFTPFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		name string
		play func(request []byte, conn *net.UDPConn, client netip.AddrPort)
		want Code
	}{
		{"silent", func([]byte, *net.UDPConn, netip.AddrPort) {}, TFTPUnreachable},
		{"no options", plainTFTP, TFTPBlockSize},
		{"large blocks are lost", lossyTFTP, TFTPMTU},
		{"all blocks are lost", func(_ []byte, c *net.UDPConn, to netip.AddrPort) {
			_, _ = c.WriteToUDPAddrPort(oack("blksize", "1468"), to)
		}, TFTPBroken},
		{"more than asked", func(_ []byte, c *net.UDPConn, to netip.AddrPort) {
			_, _ = c.WriteToUDPAddrPort(oack("blksize", "60000"), to)
		}, TFTPBroken},
		{"a window that nobody asked for", func(_ []byte, c *net.UDPConn, to netip.AddrPort) {
			_, _ = c.WriteToUDPAddrPort(oack("windowsize", "9999"), to)
		}, TFTPBroken},
		{"blocks larger than agreed", func(_ []byte, c *net.UDPConn, to netip.AddrPort) {
			_, _ = c.WriteToUDPAddrPort(data(1, make([]byte, 9000)), to)
		}, TFTPBroken},
		{"endless", endlessTFTP("4000"), TFTPBroken},
		{"the same block again and again", sameBlock, TFTPBroken},
		{"nonsense", func(_ []byte, c *net.UDPConn, to netip.AddrPort) {
			for range 20 {
				_, _ = c.WriteToUDPAddrPort([]byte{0, 9, 1, 1}, to)
				_, _ = c.WriteToUDPAddrPort([]byte{7}, to)
			}
		}, TFTPBroken},
	} {
		cases[tt.name] = func(t *testing.T) {
			f := tftpServer(t, tt.play)
			f.patience = 4 * time.Second
			got := f.get(t.Context(), "tftp://127.0.0.1/ipxe.efi", byIPXE)
			if !slices.Contains(codesOf(got.findings), tt.want) {
				t.Errorf("%+v, want %s", got.findings, tt.want)
			}
		}
	}
	together(t, cases)
}

// A file without an announced size ends at the limit.
func TestTFTPEndless(t *testing.T) {
	t.Parallel()
	f := tftpServer(t, endlessTFTP(""))
	got, err := tftpGet(t.Context(), f.tftpAt(netip.MustParseAddr("127.0.0.1")), "x", tftpAsk{blksize: 1468, limit: 1 << 20})
	if err == nil || len(got.content) > 1<<20+1468 {
		t.Errorf("%d octets, %v", len(got.content), err)
	}
}

// together runs cases that mostly wait beside each other.
func together(t *testing.T, cases map[string]func(*testing.T)) {
	var running sync.WaitGroup
	for name, f := range cases {
		running.Go(func() { t.Run(name, f) })
	}
	running.Wait()
}

// plainTFTP knows RFC 1350 only.
func plainTFTP(_ []byte, conn *net.UDPConn, client netip.AddrPort) {
	sendBlocks(conn, client, plainBlock)
}

// sendBlocks is lockstep. What is lost is sent again.
func sendBlocks(conn *net.UDPConn, client netip.AddrPort, size int) {
	buf := make([]byte, 100)
	for at, block := 0, uint16(1); at <= len(program); block++ {
		end := min(at+size, len(program))
		for {
			_, _ = conn.WriteToUDPAddrPort(data(block, program[at:end]), client)
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			n, err := conn.Read(buf)
			if n >= 4 && binary.BigEndian.Uint16(buf) == opError || err != nil && block > 1 && end == len(program) {
				return
			}
			if n >= 4 && binary.BigEndian.Uint16(buf[2:]) == block {
				break
			}
		}
		at += size
	}
}

// lossyTFTP grants any size, and only blocks of at most 1024 octets arrive.
func lossyTFTP(request []byte, conn *net.UDPConn, client netip.AddrPort) {
	words := bytes.Split(request, []byte{0})
	size := string(words[slices.IndexFunc(words, func(w []byte) bool { return string(w) == "blksize" })+1])
	_, _ = conn.WriteToUDPAddrPort(oack("blksize", size), client)
	if size == "1024" {
		buf := make([]byte, 100)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Read(buf) // ACK 0
		sendBlocks(conn, client, 1024)
	}
}

// endlessTFTP sends blocks for ever, whatever it announced.
func endlessTFTP(tsize string) func([]byte, *net.UDPConn, netip.AddrPort) {
	return func(_ []byte, conn *net.UDPConn, client netip.AddrPort) {
		words := []string{"blksize", "1468"}
		if tsize != "" {
			words = append(words, "tsize", tsize)
		}
		_, _ = conn.WriteToUDPAddrPort(oack(words...), client)
		buf := make([]byte, 100)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			n, err := conn.Read(buf)
			if err != nil || n >= 2 && buf[1] == opError {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(data(binary.BigEndian.Uint16(buf[2:])+1, make([]byte, 1468)), client)
		}
	}
}

// sameBlock never goes on, and never is silent.
func sameBlock(_ []byte, conn *net.UDPConn, client netip.AddrPort) {
	for range 300 {
		if _, err := conn.WriteToUDPAddrPort(data(1, make([]byte, plainBlock)), client); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond) // what such a server does
	}
}
