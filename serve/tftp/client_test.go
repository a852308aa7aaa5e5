package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// strict is a TFTP client that checks every packet: sender, block number, length, content. It loses, doubles and reorders
// packets in both directions by a seeded generator.
type strict struct {
	server  netip.AddrPort
	file    string
	mode    string // "octet" if empty
	options []option
	want    []byte
	seed    uint64
	drop    float64
	double  float64
	reorder float64
	chatty  bool                 // EDK2: acknowledges every unexpected block
	onData  func(c *strict) bool // after each acknowledgement; false: vanish

	conn   *net.UDPConn
	rng    *rand.Rand
	queue  [][]byte
	held   []byte
	peer   netip.AddrPort
	blk    int
	window int

	oack            map[string]string
	got             int  // bytes
	again           bool // the port was used before
	asked           int  // requests sent
	blocks, repeats int  // DATA packets as they came from the wire, and those of them seen before
	seen            uint64
}

var errVanish = errors.New("vanished")

func (c *strict) get() error {
	if c.conn == nil {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.here(), 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
		c.conn = conn
		conn.SetReadBuffer(4 << 20)
	}
	if c.mode == "" {
		c.mode = "octet"
	}
	c.rng = rand.New(rand.NewPCG(c.seed, 1))
	c.blk, c.window = defaultBlock, 1
	first, err := c.ask()
	if err != nil {
		return err
	}
	next, inWindow, gap := uint64(1), 0, false
	p := first
	if opcode(first) == opOACK {
		if err := c.take(first); err != nil {
			return err
		}
		c.ack(0)
		p = nil
	}
	silences := 0
	for {
		if p == nil {
			const wait = 200 * time.Millisecond
			if p, err = c.read(wait); err != nil {
				if silences++; silences > int(patience/wait) {
					return fmt.Errorf("silence at block %d", next)
				}
				c.ack(next - 1)
				inWindow, gap = 0, false
				continue
			}
		}
		silences = 0
		abs, final, err := c.check(p, next)
		p = nil
		switch {
		case err != nil:
			return err
		case abs == 0: // a copy of the OACK
			c.ack(0)
			continue
		case abs != next:
			if c.chatty || (abs > next && !gap && c.window > 1) {
				c.ack(next - 1)
				inWindow = 0
			}
			gap = abs > next
			continue
		}
		gap = false
		next++
		inWindow++
		if final || inWindow == c.window {
			c.ack(abs)
			inWindow = 0
			if c.onData != nil && !c.onData(c) {
				return errVanish
			}
		}
		if final {
			if c.got != len(c.want) {
				return fmt.Errorf("%d bytes instead of %d", c.got, len(c.want))
			}
			return nil
		}
	}
}

func (c *strict) here() netip.Addr {
	if c.server.Addr().Is6() {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// rrq renders a request.
func rrq(op uint16, name, mode string, options []option) []byte {
	p := binary.BigEndian.AppendUint16(nil, op)
	p = append(append(append(append(p, name...), 0), mode...), 0)
	for _, o := range options {
		p = append(append(append(append(p, o.name...), 0), o.value...), 0)
	}
	return p
}

// ask sends the request until something comes back.
func (c *strict) ask() ([]byte, error) {
	const wait = 300 * time.Millisecond
	for range patience / wait {
		c.asked++
		c.transmit(rrq(opRead, c.file, c.mode, c.options), c.server)
		p, err := c.read(wait)
		for err == nil && c.again && c.leftOver(p) {
			c.peer = netip.AddrPort{}
			p, err = c.read(wait)
		}
		if err != nil {
			continue
		}
		if e, ok := parseError(p); ok {
			return nil, e
		}
		return p, nil
	}
	return nil, errors.New("no answer to the request")
}

// leftOver reports whether a packet cannot be the answer to the request: on a port that is used again, a slow server's
// repetition may come after the end of the transfer before.
func (c *strict) leftOver(p []byte) bool {
	if len(c.options) > 0 {
		return opcode(p) == opData
	}
	return opcode(p) == opOACK || opcode(p) == opData && len(p) >= 4 && binary.BigEndian.Uint16(p[2:]) != 1
}

// take reads the OACK: only what was asked for, and in range.
func (c *strict) take(p []byte) error {
	granted, err := parseOptions(p[2:])
	if err != nil {
		return err
	}
	c.oack = map[string]string{}
	for _, o := range granted {
		asked := ""
		for _, a := range c.options {
			if a.name == o.name {
				asked = a.value
			}
		}
		n, _ := strconv.Atoi(o.value)
		m, _ := strconv.Atoi(asked)
		if asked == "" || o.name != "tsize" && n > m {
			return fmt.Errorf("granted %q for %q", o, asked)
		}
		c.oack[o.name] = o.value
		switch o.name {
		case "blksize":
			c.blk = n
		case "windowsize":
			c.window = n
		}
	}
	return nil
}

// check verifies a packet and gives its block number without wrapping.
func (c *strict) check(p []byte, next uint64) (abs uint64, final bool, err error) {
	if e, ok := parseError(p); ok {
		return 0, false, e
	}
	if opcode(p) == opOACK {
		return 0, false, nil
	}
	if opcode(p) != opData || len(p) < 4 {
		return 0, false, fmt.Errorf("packet %q", p[:min(len(p), 60)])
	}
	d := int16(binary.BigEndian.Uint16(p[2:]) - uint16(next))
	abs = next + uint64(int64(d))
	c.blocks++
	if abs <= c.seen {
		c.repeats++
	}
	c.seen = max(c.seen, abs)
	off := int(abs-1) * c.blk
	if abs < 1 || off > len(c.want) {
		return 0, false, fmt.Errorf("block %d while %d was next", abs, next)
	}
	content := c.want[off:min(len(c.want), off+c.blk)]
	if !bytes.Equal(p[4:], content) {
		return 0, false, fmt.Errorf("block %d: wrong content (%d bytes, want %d)", abs, len(p)-4, len(content))
	}
	if abs == next {
		c.got += len(content)
	}
	return abs, len(content) < c.blk, nil
}

func (c *strict) ack(n uint64) {
	c.transmit([]byte{0, opAck, byte(n >> 8), byte(n)}, c.peer)
}

func (c *strict) transmit(p []byte, to netip.AddrPort) {
	if c.rng.Float64() < c.drop {
		return
	}
	c.conn.WriteToUDPAddrPort(p, to)
	if c.rng.Float64() < c.double {
		c.conn.WriteToUDPAddrPort(p, to)
	}
}

// read returns the next packet that gets through.
func (c *strict) read(wait time.Duration) ([]byte, error) {
	for {
		if len(c.queue) > 0 {
			p := c.queue[0]
			c.queue = c.queue[1:]
			return p, nil
		}
		c.conn.SetReadDeadline(time.Now().Add(wait))
		buf := make([]byte, c.blk+600)
		n, from, err := c.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if c.held != nil {
				p := c.held
				c.held = nil
				return p, nil
			}
			return nil, err
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !c.peer.IsValid() {
			c.peer = from
		}
		if from != c.peer && c.again {
			continue // of the transfer before
		}
		if from != c.peer {
			return nil, fmt.Errorf("packet from %v, not %v", from, c.peer)
		}
		c.receive(buf[:n])
	}
}

func (c *strict) receive(p []byte) {
	switch x := c.rng.Float64(); {
	case x < c.drop:
	case x < c.drop+c.double:
		c.queue = append(c.queue, p, p)
	case x < c.drop+c.double+c.reorder && c.held == nil:
		c.held = p
		return
	default:
		c.queue = append(c.queue, p)
	}
	if c.held != nil {
		c.queue = append(c.queue, c.held)
		c.held = nil
	}
}
