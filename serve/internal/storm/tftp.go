package storm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// tftpGet fetches a file with windows (RFC 7440), goes back on loss, and drops
// the content.
func tftpGet(ctx context.Context, local netip.Addr, server netip.AddrPort, file string, blockSize, window int) (int64, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(1 << 20)
	request := strings.Join([]string{"\x00\x01" + file, "octet", "tsize", "0", "blksize", strconv.Itoa(blockSize),
		"windowsize", strconv.Itoa(window), ""}, "\x00")
	t := &download{conn: conn, to: server, last: []byte(request), blockSize: 512, window: 1}
	return t.run(ctx)
}

// download is a transfer under way.
type download struct {
	conn      *net.UDPConn
	to        netip.AddrPort // the server's port for this transfer, after its first packet
	last      []byte         // our last packet, sent again when it stays silent
	known     bool           // to is known
	blockSize int            // granted
	window    int
	block     int // the last in sequence
	pending   int // since our last acknowledgement
	bytes     int64
}

func (d *download) run(ctx context.Context) (int64, error) {
	if err := d.send(d.last); err != nil {
		return 0, err
	}
	buf := make([]byte, 65536)
	for tries := 0; ; {
		if err := ctx.Err(); err != nil {
			return d.bytes, err
		}
		_ = d.conn.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := d.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && tries < 30 {
			tries++
			if err := d.send(d.last); err != nil {
				return d.bytes, err
			}
			continue
		}
		if err != nil {
			return d.bytes, err
		}
		if from.Addr() != d.to.Addr() || d.known && from != d.to || n < 4 {
			continue
		}
		d.to, d.known, tries = from, true, 0
		if done, err := d.packet(buf[:n]); done || err != nil {
			return d.bytes, err
		}
	}
}

func (d *download) send(p []byte) error {
	d.last = p
	_, err := d.conn.WriteToUDPAddrPort(p, d.to)
	return err
}

func (d *download) acknowledge() error {
	d.pending = 0
	return d.send(binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(d.block)))
}

// packet acts on one packet; done is after the last block.
func (d *download) packet(p []byte) (done bool, err error) {
	switch binary.BigEndian.Uint16(p) {
	case 6:
		if d.block == 0 {
			d.options(strings.Split(string(p[2:]), "\x00"))
			return false, d.acknowledge()
		}
	case 5:
		return true, fmt.Errorf("error %d: %q", binary.BigEndian.Uint16(p[2:]), p[4:])
	case 3:
		if binary.BigEndian.Uint16(p[2:]) != uint16(d.block+1) {
			if d.pending > 0 { // a gap: have it go back, once
				return false, d.acknowledge()
			}
			return false, nil
		}
		d.block++
		d.pending++
		d.bytes += int64(len(p) - 4)
		done = len(p)-4 < d.blockSize
		if done || d.pending == d.window {
			return done, d.acknowledge()
		}
	}
	return false, nil
}

func (d *download) options(words []string) {
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		switch {
		case err != nil || n < 1:
		case strings.EqualFold(words[i], "blksize"):
			d.blockSize = n
		case strings.EqualFold(words[i], "windowsize"):
			d.window = n
		}
	}
}
