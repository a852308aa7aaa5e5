package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// tftpAsk is what a client says in its request.
type tftpAsk struct {
	blksize, window int           // 0: not said
	limit           int64         // octets that are taken
	peek            bool          // stop politely after the first octets
	patience        time.Duration // with a server that is silent; 0: tftpPatience
}

// tftpGot is what came.
type tftpGot struct {
	content []byte
	tsize   int64 // as announced, -1 if it was not
	blksize int   // in force
	window  int
	oack    bool
}

// TFTP's packets (RFC 1350, 2347).
const (
	opRRQ, opData, opAck, opError, opOACK = 1, 3, 4, 5, 6

	tftpPort       = 69
	plainBlock     = 512
	largestBlock   = 65464
	tftpPatience   = 6 * time.Second
	tftpTimeout    = 1200 * time.Millisecond // then the last packet is sent again
	tftpWhole      = 2 * time.Minute         // for a transfer, whatever its pace
	tftpHeaders    = 32                      // IP, UDP and TFTP before a block
	maxTFTPOptions = 16
)

// errSilent is no answer at all; errStalled is one that stops.
var (
	errSilent  = errors.New("no answer")
	errStalled = errors.New("the transfer stopped")
	errEndless = errors.New("more than announced or sensible")
)

// refusal is TFTP's ERROR packet.
type refusal struct {
	code uint16
	text string
}

func (e *refusal) Error() string { return fmt.Sprintf("error %d %s", e.code, e.text) }

// transfer is one read request under way.
type transfer struct {
	conn *net.UDPConn
	ask  tftpAsk
	got  tftpGot
	peer netip.AddrPort
	met  bool   // the server's port for this transfer is known
	last []byte // packet that is repeated after a silence
	next uint16 // block that is expected
	run  int    // blocks since the last ACK
}

// tftpGet reads a file. What came is returned with an error, too.
func tftpGet(ctx context.Context, server netip.AddrPort, file string, ask tftpAsk) (tftpGot, error) {
	ctx, cancel := context.WithTimeout(ctx, tftpWhole)
	defer cancel()
	none := tftpGot{tsize: -1, blksize: plainBlock, window: 1}
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return none, fmt.Errorf("socket for TFTP: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	t := &transfer{conn: conn, ask: ask, next: 1, peer: server, got: none}
	t.last = readRequest(file, ask)
	if err := t.repeat(); err != nil {
		return t.got, err
	}
	err = t.receive()
	if err != nil && t.met && !isRefusal(err) {
		t.send(errorPacket("thank you")) // the server need not go on
	}
	if errors.Is(err, errPeeked) {
		err = nil
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w after %s", errStalled, tftpWhole)
	}
	return t.got, err
}

var errPeeked = errors.New("enough was seen")

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

func readRequest(file string, ask tftpAsk) []byte {
	words := []string{file, "octet"}
	if ask.blksize > 0 {
		words = append(words, "tsize", "0", "blksize", strconv.Itoa(ask.blksize))
	}
	if ask.window > 0 {
		words = append(words, "windowsize", strconv.Itoa(ask.window))
	}
	return append([]byte{0, opRRQ}, strings.Join(words, "\x00")+"\x00"...)
}

func errorPacket(text string) []byte { return append([]byte{0, opError, 0, 0}, text+"\x00"...) }

func (t *transfer) send(p []byte) {
	_, _ = t.conn.WriteToUDPAddrPort(p, t.peer) // what is lost is repeated
}

func (t *transfer) repeat() error {
	_, err := t.conn.WriteToUDPAddrPort(t.last, t.peer)
	if err != nil {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return nil
}

// receive takes packets until the file is there.
func (t *transfer) receive() error {
	buf := make([]byte, 65536)
	for heard := time.Now(); ; {
		if time.Since(heard) > cmp.Or(t.ask.patience, tftpPatience) { // nothing new, whatever comes
			return t.silence()
		}
		if err := t.conn.SetReadDeadline(time.Now().Add(tftpTimeout)); err != nil {
			return errStalled
		}
		n, from, err := t.conn.ReadFromUDPAddrPort(buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			if t.run > 0 {
				t.acknowledge(t.next - 1)
			} else if err := t.repeat(); err != nil {
				return err
			}
			continue
		case err != nil:
			return errStalled
		case !t.fromPeer(from):
			continue
		}
		progress, done, err := t.packet(buf[:n])
		if done || err != nil {
			return err
		}
		if progress {
			heard = time.Now()
		}
	}
}

// silence says what it is that does not come.
func (t *transfer) silence() error {
	if !t.met {
		return errSilent
	}
	return errStalled
}

// fromPeer takes the port of the first answer for the transfer's (RFC 1350, TID).
func (t *transfer) fromPeer(from netip.AddrPort) bool {
	if from.Addr().Unmap() != t.peer.Addr() {
		return false
	}
	if !t.met {
		t.met, t.peer = true, netip.AddrPortFrom(t.peer.Addr(), from.Port())
	}
	return from.Port() == t.peer.Port()
}

// packet handles one; progress is something new in it.
func (t *transfer) packet(p []byte) (progress, done bool, err error) {
	if len(p) < 4 {
		return false, false, nil
	}
	switch binary.BigEndian.Uint16(p) {
	case opError:
		return false, true, &refusal{binary.BigEndian.Uint16(p[2:]), printable(p[4:])}
	case opOACK:
		if t.next != 1 || t.got.oack {
			return false, false, nil
		}
		if err := t.got.accept(p[2:], t.ask); err != nil {
			return false, true, err
		}
		t.acknowledge(0)
		return true, false, nil
	case opData:
		return t.data(binary.BigEndian.Uint16(p[2:]), p[4:])
	}
	return false, false, nil
}

func (t *transfer) acknowledge(block uint16) {
	t.last = binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
	t.run = 0
	t.send(t.last)
}

func (t *transfer) data(block uint16, content []byte) (progress, done bool, err error) {
	if block != t.next {
		if t.run > 0 && int16(block-t.next) > 0 { // one was lost: RFC 7440 wants the last good one
			t.acknowledge(t.next - 1)
		}
		return false, false, nil
	}
	if len(content) > t.got.blksize {
		return false, true, fmt.Errorf("%w: a block of %d octets, %d were agreed", errEndless, len(content), t.got.blksize)
	}
	t.got.content = append(t.got.content, content...)
	have := int64(len(t.got.content))
	last := len(content) < t.got.blksize
	t.next++
	t.run++
	if t.run >= t.got.window || last {
		t.acknowledge(block)
	}
	switch {
	case have > t.ask.limit:
		return true, true, fmt.Errorf("%w: more than %d octets", errEndless, t.ask.limit)
	case t.got.tsize > 0 && have > t.got.tsize:
		return true, true, fmt.Errorf("%w: %d octets were announced, more came", errEndless, t.got.tsize)
	case last && t.got.tsize > 0 && have < t.got.tsize:
		return true, true, fmt.Errorf("%w: %d octets were announced, %d came", errStalled, t.got.tsize, have)
	case !last && t.ask.peek && have >= 4*int64(t.got.blksize):
		return true, true, errPeeked
	}
	return true, last, nil
}

// accept reads the options of an OACK. A server must not give more than was asked.
func (g *tftpGot) accept(raw []byte, ask tftpAsk) error {
	g.oack = true
	words := bytes.Split(bytes.TrimSuffix(raw, []byte{0}), []byte{0})
	for i := 0; i+1 < len(words) && i < 2*maxTFTPOptions; i += 2 {
		n, err := strconv.ParseInt(string(words[i+1]), 10, 64)
		if err != nil || n < 0 {
			continue
		}
		switch strings.ToLower(string(words[i])) {
		case "blksize":
			if n < 8 || n > int64(ask.blksize) || n > largestBlock {
				return fmt.Errorf("%w: blksize %d granted, %d asked", errEndless, n, ask.blksize)
			}
			g.blksize = int(n)
		case "windowsize":
			if n < 1 || n > int64(ask.window) {
				return fmt.Errorf("%w: windowsize %d granted, %d asked", errEndless, n, ask.window)
			}
			g.window = int(n)
		case "tsize":
			g.tsize = n
		}
	}
	return nil
}
