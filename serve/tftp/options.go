package tftp

import (
	"strconv"
	"time"
)

// Bounds of the options, from their RFCs.
const (
	defaultBlock = 512
	minBlock     = 8     // RFC 2348
	maxBlock     = 65464 // RFC 2348
	maxTimeout   = 255   // seconds, RFC 2349
)

// terms are what one transfer runs by.
type terms struct {
	block   int
	window  int
	timeout time.Duration // asked for by the client; 0: the server adapts
	granted []option      // for the OACK; empty: no OACK, the first DATA answers
}

// bounds are the server's side of the negotiation.
type bounds struct {
	block  int   // largest block that the path takes
	window int   // largest window
	size   int64 // -1: unknown (netascii), tsize is omitted
}

// negotiate grants what is known and in range and omits the rest, as RFC 2347 asks.
func negotiate(asked []option, b bounds) terms {
	t := terms{block: defaultBlock, window: 1}
	for _, o := range asked {
		n, ok := number(o.value)
		if !ok {
			continue
		}
		switch o.name {
		case "blksize":
			if n < minBlock {
				continue
			}
			t.block = int(min(n, uint64(b.block)))
			n = uint64(t.block)
		case "windowsize":
			if n < 1 || n > 65535 {
				continue
			}
			t.window = int(min(n, uint64(b.window)))
			n = uint64(t.window)
		case "timeout":
			if n < 1 || n > maxTimeout {
				continue
			}
			t.timeout = time.Duration(n) * time.Second
		case "tsize":
			if b.size < 0 {
				continue
			}
			n = uint64(b.size)
		default:
			continue
		}
		t.granted = append(t.granted, option{o.name, strconv.FormatUint(n, 10)})
	}
	return t
}
