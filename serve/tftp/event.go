package tftp

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Kind says what an Event reports.
type Kind uint8

// The kinds, in the order in which one request can produce them. A request that is answered ends in exactly one of
// Refused, Probe, Finished or Aborted.
const (
	Refused  Kind = iota // answered with an error: not found, access, write, malformed
	Started              // the first packet of the answer was sent
	Progress             // about once a second
	Probe                // the client only wanted the size and ended the transfer after the OACK: no failure
	Finished             // the last block was acknowledged
	Aborted              // ended before that: see Code, Message, FromClient
)

func (k Kind) String() string {
	return [...]string{"refused", "started", "progress", "probe", "finished", "aborted"}[k]
}

// Event tells what happened to one request.
type Event struct {
	Kind        Kind
	Client      netip.AddrPort
	Local       netip.Addr // zero if unknown
	Interface   int        // 0 if unknown
	File        string     // cleaned name
	Size        int64      // of the file; -1 if not known yet
	Bytes       int64      // acknowledged, on the wire
	BlockSize   int
	Window      int
	Duration    time.Duration // since the request
	RTT         time.Duration // smoothed round trip; 0 until measured
	Retransmits int           // blocks sent again
	Timeouts    int           // times that the client was silent for a whole retransmit interval
	Code        ErrorCode     // of Refused and Aborted
	Message     string        // of Refused, Probe and Aborted: the client's words or ours
	FromClient  bool          // the client sent Code and Message
}

// report hands an event to the observer and, if it is one for people, to the log.
func (c *config) report(e Event) {
	if c.observe != nil {
		c.observe(e)
	}
	level := slog.LevelDebug
	switch e.Kind {
	case Aborted:
		level = slog.LevelWarn
	case Finished, Refused:
		level = slog.LevelInfo
	case Progress:
		return
	}
	attrs := []any{"client", e.Client, "file", e.File, "size", e.Size}
	if e.Kind != Refused {
		attrs = append(attrs, "bytes", e.Bytes, "blksize", e.BlockSize, "windowsize", e.Window, "duration", e.Duration,
			"retransmits", e.Retransmits, "timeouts", e.Timeouts)
	}
	if e.Message != "" {
		attrs = append(attrs, "code", e.Code, "message", e.Message, "from_client", e.FromClient)
	}
	c.log.Log(context.Background(), level, "tftp "+e.Kind.String(), attrs...)
}
